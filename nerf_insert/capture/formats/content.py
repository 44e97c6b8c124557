"""What a format is translated into, and how camera axes and photographs are found on the way."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from nerf_insert.capture.photo_files import folders_below, may_hold_photographs
from nerf_insert.errors import InputError
from nerf_insert.io.decoding import SUFFIXES

OPENCV_TO_OPENGL = np.diag([1.0, -1.0, -1.0, 1.0])  # of a camera's axes, from the right


@dataclass
class Content:
    """The content of a transforms.json that says the same as another format's files."""

    meta: dict[str, Any]
    folder: Path  # what names of photographs are relative to
    source: Path  # the file, for messages
    notes: list[str] = field(default_factory=list)  # what people should know about how it was read
    default_split: str = "fraction"  # nerfstudio's, for this format


def photographs_in(folder: Path) -> list[Path]:
    """Return the photographs that lie directly in a folder, in the order of their names' text."""
    return [path for path in files_in(folder, "*") if path.suffix.lower() in SUFFIXES]


def files_in(folder: Path, *patterns: str) -> list[Path]:
    """Return the files below a folder that fit a pattern, sorted by name.

    Folders, pipes and broken links are left out, and hidden files: a Mac writes ._NAME beside every NAME.
    """
    found = sorted(path for pattern in patterns for path in folder.glob(pattern))
    return [path for path in found if not path.name.startswith(".") and os.path.isfile(path)]


def beginning(file: Path, size: int) -> bytes:
    """Return the first bytes of a file, nothing of one that cannot be read."""
    try:
        with open(file, "rb") as stream:
            return stream.read(size)
    except OSError:
        return b""


def folders_of_photographs(folder: Path) -> dict[Path, list[Path]]:
    """Return all folders below one that hold photographs, not masks or depth maps, with these."""
    folders = [f for f in folders_below(folder) if may_hold_photographs(f, folder)]
    return {f: found for f in folders if (found := photographs_in(f))}


def numbers(values: Sequence[Any], count: int, what: str) -> np.ndarray:
    """Return `count` finite float64 numbers.

    Raises:
        InputError: They are not; `what` names them.
    """
    try:
        array = np.array([float(value) for value in values])
    except (TypeError, ValueError):
        raise InputError(f"{what} should be {count} numbers") from None
    if len(array) != count or not np.isfinite(array).all():
        raise InputError(f"{what} should be {count} finite numbers")
    return array


def rotation_of(quaternion: Float[np.ndarray, " 4"], what: str) -> Float[np.ndarray, "3 3"]:
    """Return the rotation [3, 3] of a quaternion x, y, z, w of any length but zero.

    Raises:
        InputError: It is zero or not finite; `what` names it.
    """
    from scipy.spatial.transform import Rotation

    if not 0 < np.linalg.norm(quaternion) < np.inf:
        raise InputError(f"{what} is no rotation: its quaternion is {' '.join(f'{v:g}' for v in quaternion)}")
    return Rotation.from_quat(quaternion).as_matrix()


def frame(name: str, c2w: np.ndarray, lens: dict[str, Any]) -> dict[str, Any]:
    """Return one entry of "frames". `c2w` [4, 4] has OpenGL's axes; `lens` the intrinsics."""
    return {"file_path": name, "transform_matrix": c2w.tolist(), **lens}


def matrix(rotation: np.ndarray, translation: np.ndarray) -> np.ndarray:
    """Return [R | t] as a 4x4 matrix."""
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = rotation, translation
    return pose
