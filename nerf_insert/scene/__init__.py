"""Scene folders and recipes."""
