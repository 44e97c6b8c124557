"""`python -m nerf_insert` is `nerf-insert`."""

import sys

from nerf_insert.cli import main

if __name__ == "__main__":
    sys.exit(main())
