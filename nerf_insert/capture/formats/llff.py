"""LLFF's poses_bounds.npy: one row a photograph, in the order of their names' text.

A row holds a 3x5 matrix, camera-to-world with the axes down, right, back, then height, width and focal length
in pixels; and two depths, which are not used. https://github.com/Fyusion/LLFF
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from nerf_insert.capture.formats.content import Content, folders_of_photographs, frame, matrix
from nerf_insert.capture.photo_files import SMALLER_COPY
from nerf_insert.errors import InputError

NAME = "poses_bounds.npy"


def find(folder: Path) -> Path | None:
    """Return the poses_bounds.npy of a folder."""
    return folder / NAME if (folder / NAME).is_file() else None


def read(file: Path, folder: Path) -> Content:
    """Read the poses and pair them with the photographs.

    Raises:
        InputError: The file is damaged, or there is no folder with that many photographs.
    """
    try:
        rows = np.load(file, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{file} cannot be read: {error}") from None
    if rows.ndim != 2 or rows.shape[1] not in (15, 17) or not np.isfinite(rows[:, :15]).all():
        shape = "x".join(map(str, rows.shape))
        raise InputError(
            f"{file} should hold rows of 17 finite numbers (LLFF's poses and bounds), it is {shape}"
        )
    poses = rows[:, :15].reshape(-1, 3, 5).astype(np.float64)
    photographs, notes = choose_folder(folder, len(poses), file)
    frames = []
    for pose, path in zip(poses, photographs, strict=True):
        down, right, back, center, (height, width, focal) = pose.T
        rotation = np.stack([right, -down, back], 1)
        lens = {"fl_x": focal, "fl_y": focal, "w": float(width), "h": float(height)}
        name = path.relative_to(folder).as_posix()
        frames.append(frame(name, matrix(rotation, center), lens))
    return Content({"frames": frames}, folder, file, notes, default_split="interval")


def choose_folder(folder: Path, count: int, file: Path) -> tuple[list[Path], list[str]]:
    """Return the photographs that the rows belong to: of the largest copy with as many as there are rows."""
    found = folders_of_photographs(folder)
    fitting = {home: paths for home, paths in found.items() if len(paths) == count}
    if not fitting:
        have = ", ".join(f"{len(paths)} in {home.name}" for home, paths in found.items()) or "none at all"
        raise InputError(
            f"{file} has {count} poses, but no folder beside it has as many photographs ({have}): LLFF pairs "
            "them by their order alone, restore those that are missing"
        )

    def rank(home: Path) -> tuple[int, int, str]:
        copy = SMALLER_COPY.match(home.name)
        return (len(home.relative_to(folder).parts), int(copy.group(1)) if copy else 1, home.name)

    home = min(fitting, key=rank)
    notes = [f"the photographs are those of {home.name}"] if home.name not in ("images", folder.name) else []
    return fitting[home], notes
