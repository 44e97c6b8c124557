"""RealityCapture's (RealityScan's) "Internal/External camera parameters" CSV, in its own z-up coordinates.

https://dev.epicgames.com/community/learning/knowledge-base/vzwB/capturing-reality-realitycapture-xmp-camera-math
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from nerf_insert.capture.formats.content import Content, beginning, files_in, frame, matrix, numbers
from nerf_insert.capture.photo_files import PhotoFinder
from nerf_insert.errors import InputError
from nerf_insert.io.files import read_text
from nerf_insert.io.images import oriented_size

COLUMNS = ("x", "y", "alt", "heading", "pitch", "roll", "f", "px", "py")
LENS = {"k1": "k1", "k2": "k2", "k3": "k3", "k4": "k4", "p1": "t1", "p2": "t2"}


def find(folder: Path) -> Path | None:
    """Return the first CSV file of a folder with RealityCapture's columns."""
    for file in files_in(folder, "*.csv"):
        head = beginning(file, 4000).partition(b"\n")[0].decode(errors="replace").lower()
        if "name" in head and {"heading", "pitch", "roll", "alt"} <= set(head.strip().split(",")):
            return file
    return None


def read(file: Path, folder: Path) -> Content:
    """Read all cameras. Intrinsics belong to the upright photographs.

    Raises:
        InputError: The file is damaged, or lacks the intrinsics.
    """
    rows = list(csv.DictReader(read_text(file).lstrip("\ufeff").splitlines(), skipinitialspace=True))
    rows = [{(key or "").lstrip("#").strip().lower(): value for key, value in row.items()} for row in rows]
    lacking = [name for name in ("name", *COLUMNS) if not rows or rows[0].get(name) is None]
    if lacking:
        raise InputError(
            f"{file} lacks {', '.join(lacking)}: export RealityCapture's registration as "
            "'Internal/External camera parameters'"
        )
    finder = PhotoFinder(folder, [row["name"] for row in rows])
    frames = []
    for row in rows:
        name = row["name"]
        path = finder.path(name)
        if not path.exists():
            frames.append(frame(name, matrix_of(row, file), {}))
            continue
        width, height = oriented_size(path)
        side = max(width, height)
        focal, right, down = numbers([row[c] for c in ("f", "px", "py")], 3, f"f, px, py of {name} in {file}")
        lens = {"fl_x": focal * side / 36, "fl_y": focal * side / 36}  # millimeters of 35 mm film
        lens |= {"cx": width / 2 + right * side, "cy": height / 2 + down * side, "w": width, "h": height}
        lens |= {
            ours: float(numbers([row.get(theirs) or 0], 1, f"{theirs} of {name} in {file}")[0])
            for ours, theirs in LENS.items()
        }
        shown = path.relative_to(folder).as_posix() if path.is_relative_to(folder) else str(path)
        frames.append(frame(shown, matrix_of(row, file), lens))
    return Content({"frames": frames}, folder, file)


def matrix_of(row: dict[str, str], file: Path) -> np.ndarray:
    """Return the pose [4, 4] of a row: heading clockwise from north, pitch, roll, in degrees."""
    from scipy.spatial.transform import Rotation

    values = numbers([row[name] for name in COLUMNS[:6]], 6, f"the pose of {row['name']} in {file}")
    heading, pitch, roll = values[3:]
    rotation = Rotation.from_euler("ZXY", [-heading, pitch, roll], degrees=True).as_matrix()
    return matrix(rotation, values[:3])
