"""One module per command; see nerf_insert.cli.main for what a command module has."""
