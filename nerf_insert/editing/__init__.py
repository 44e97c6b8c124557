"""The edit: session, schedule, painting, loop, preview."""
