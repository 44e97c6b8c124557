"""The bundled sample capture: a table in a room, a rocket to insert, a mug to remove.

World coordinates are meters, z up, the origin in the middle of the table's top. Views are named
000 to 055; `data/make_sample.py` rendered them and says what each folder holds.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from nerf_insert.errors import RunError


def sample_path() -> Path:
    """Return the folder of the sample capture, with transforms.json in it.

    Raises:
        RunError: The installation lacks it.
    """
    package = Path(str(files("nerf_insert"))).resolve()
    folders = [package / "data" / "sample", package.parent / "data" / "sample"]  # installed, checked out
    for folder in folders:
        if (folder / "transforms.json").is_file():
            return folder
    raise RunError(f"the sample capture is missing from this installation: no {folders[0]}; install it again")
