"""The command line, `nerf-insert COMMAND ...`."""
