"""One module per command; `nerf_insert.cli.main` says what a command module has."""
