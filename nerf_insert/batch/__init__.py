"""Many edits, trainings and renders as one list, on this machine or on a Ray cluster."""
