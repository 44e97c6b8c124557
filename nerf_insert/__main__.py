"""`python -m nerf_insert` is `nerf-insert`."""

import sys

from nerf_insert.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
