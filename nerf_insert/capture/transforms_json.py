"""transforms.json and its relatives: checked, and cleaned for nerfstudio.

nerfstudio's dataparsers trust these files and fail with asserts; here every common mistake gets a message
that names the file and the frame. The result is a list of frames whose images exist, each with its own
complete intrinsics and an absolute path. `where` is how messages name the frame that is read.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from nerf_insert.errors import InputError
from nerf_insert.io.files import read_json
from nerf_insert.io.images import image_size

LENS = ("k1", "k2", "k3", "k4", "p1", "p2")  # nerfstudio's order of OpenCV's distortion parameters
PERSPECTIVE = ("SIMPLE_PINHOLE", "PINHOLE", "SIMPLE_RADIAL", "RADIAL", "OPENCV")
FISHEYE = ("OPENCV_FISHEYE",)
SUFFIXES = (".png", ".jpg", ".jpeg", ".JPG", ".JPEG", ".PNG", ".webp")
SPLITS = ("train", "val", "test")
RIGID = 5e-3  # how far a rotation may be from orthonormal: files written with three decimals pass


@dataclass(frozen=True)
class Frame:
    """One posed frame. `c2w` is camera-to-world, [4, 4], OpenGL axes, in the file's own coordinates."""

    name: str  # file_path as the file has it
    path: Path  # the image
    c2w: np.ndarray
    intrinsics: dict[str, float]  # fl_x, fl_y, cx, cy, w, h: pixels
    distortion: list[float]  # LENS
    mask: Path | None = None

    def to_dict(self) -> dict:
        """Return the frame as nerfstudio's dataparser reads it."""
        own = {"file_path": str(self.path), "transform_matrix": self.c2w.tolist()}
        return own | self.intrinsics | {"distortion_params": self.distortion}


@dataclass(frozen=True)
class Listing:
    """The frames of a capture, all of one camera model, and which of them each split names."""

    source: Path
    frames: list[Frame]
    camera_model: str
    splits: dict[str, set[str]] = field(default_factory=dict)  # "train", "val", "test": names of frames
    missing: list[str] = field(default_factory=list)  # names of frames whose image does not exist

    def to_dict(self) -> dict:
        """Return the content of a transforms.json for nerfstudio's dataparser."""
        return {"camera_model": self.camera_model, "frames": [frame.to_dict() for frame in self.frames]}


def read_transforms(source: Path) -> Listing:
    """Read a transforms.json.

    Raises:
        InputError: The message names the file and the frame at fault.
    """
    meta = read_json(source)
    return list_frames(meta, source.parent, source)


def read_blender(folder: Path) -> Listing:
    """Read transforms_train.json and, where they exist, _val and _test, each its own split.

    Raises:
        InputError: The message names the file and the frame at fault.
    """
    listings = {
        split: read_transforms(folder / f"transforms_{split}.json")
        for split in SPLITS
        if split == "train" or (folder / f"transforms_{split}.json").exists()
    }
    frames = {frame.name: frame for listing in listings.values() for frame in listing.frames}
    return Listing(
        source=folder / "transforms_train.json",
        frames=list(frames.values()),
        camera_model=listings["train"].camera_model,
        splits={split: {frame.name for frame in listing.frames} for split, listing in listings.items()},
        missing=[name for listing in listings.values() for name in listing.missing],
    )


def list_frames(meta: Any, folder: Path, source: Path) -> Listing:
    """Check all frames of a transforms.json.

    Args:
        meta: The content of the file.
        folder: The folder that paths in it are relative to.
        source: The file, for messages.

    Raises:
        InputError: The message names the file and the frame at fault.
    """
    if not isinstance(meta, dict):
        raise InputError(
            f'{source} is not a list of camera poses: it should be an object with "frames" in it'
        )
    frames = meta.get("frames")
    if not isinstance(frames, list) or not frames:
        raise InputError(f'{source} has no frames: "frames" should list the photographs and their poses')
    found, missing, by_path = [], [], {}
    for index, entry in enumerate(frames):
        where = f"frame {index} of {source}"
        if not isinstance(entry, dict):
            raise InputError(f"{where} is not an object with file_path and transform_matrix")
        name = entry.get("file_path")
        if not isinstance(name, str) or not name.strip():
            raise InputError(f'{where} has no "file_path", the name of its photograph')
        where = f"frame {index} ({name}) of {source}"
        path = find_image(folder, name)
        if path in by_path:
            raise InputError(f"{where} names the same photograph as an earlier frame ({by_path[path]})")
        by_path[path] = name
        if "transform_matrix" not in entry:
            raise InputError(f'{where} has no "transform_matrix", its camera-to-world pose')
        if path.exists():
            found.append(read_frame(meta, entry, path, folder, where))
        else:
            missing.append(name)
    return Listing(
        source, found, camera_model(meta, frames, source), read_splits(meta, folder, by_path, source), missing
    )


def find_image(folder: Path, name: str) -> Path:
    """Return the absolute path of a frame's image, whose name may lack its suffix; it need not exist."""
    path = Path(os.path.abspath(folder / name))
    if "\\" in name and not path.exists():  # written on Windows
        path = Path(os.path.abspath(folder / name.replace("\\", "/")))
    if path.exists() or path.suffix in SUFFIXES:
        return path
    return next((full for suffix in SUFFIXES if (full := Path(f"{path}{suffix}")).exists()), path)


def read_frame(meta: dict, entry: dict, path: Path, folder: Path, where: str) -> Frame:
    """Read one frame, with everything that a camera needs, from its own entry and the shared one.

    Raises:
        InputError: Something is missing or wrong.
    """
    mask = entry.get("mask_path")
    if mask is not None:
        mask = Path(os.path.abspath(folder / str(mask)))
        if not mask.exists():
            raise InputError(f"{where}: its mask {mask} does not exist; restore it or remove mask_path")
    size = None if "w" in {**meta, **entry} and "h" in {**meta, **entry} else image_size(path)
    return Frame(
        name=entry["file_path"],
        path=path,
        c2w=read_pose(entry["transform_matrix"], where),
        intrinsics=read_intrinsics(meta, entry, size, where),
        distortion=read_distortion(meta, entry, where),
        mask=mask,
    )


def read_pose(matrix: Any, where: str) -> np.ndarray:
    """Read a rigid camera-to-world matrix from nested lists, 3x4 or 4x4.

    Returns:
        The matrix [4, 4], its rotation made exactly orthonormal.

    Raises:
        InputError: It is no matrix of finite numbers, or not rigid.
    """
    try:
        pose = np.array(matrix, dtype=np.float64)
    except (TypeError, ValueError):
        raise InputError(f"{where}: transform_matrix is not a matrix of numbers") from None
    if pose.shape not in ((3, 4), (4, 4)):
        shape = "x".join(str(n) for n in pose.shape) or "a number"
        raise InputError(f"{where}: transform_matrix should be 4x4 or 3x4, it is {shape}")
    if not np.isfinite(pose).all():
        raise InputError(f"{where}: transform_matrix has values that are not finite (NaN or infinity)")
    if pose.shape == (4, 4) and np.abs(pose[3] - [0, 0, 0, 1]).max() > 1e-6:
        raise InputError(f"{where}: the last row of transform_matrix should be 0 0 0 1 (is it transposed?)")
    rotation = pose[:3, :3]
    left, stretch, right = np.linalg.svd(rotation)
    if np.abs(stretch - 1).max() > RIGID:
        raise InputError(
            f"{where}: transform_matrix is not a rigid pose: its first three columns should be a rotation, "
            f"they scale by {stretch.min():.4g} to {stretch.max():.4g}; scale positions only"
        )
    if np.linalg.det(rotation) < 0:
        raise InputError(
            f"{where}: transform_matrix is mirrored (determinant -1); cameras look along -z, +y up (OpenGL)"
        )
    if np.abs(stretch - 1).max() > 1e-6:
        rotation = left @ right  # the nearest rotation
    return np.block([[rotation, pose[:3, 3:]], [np.zeros((1, 3)), np.ones((1, 1))]])


def read_intrinsics(meta: dict, entry: dict, size: tuple[int, int] | None, where: str) -> dict[str, float]:
    """Read fl_x, fl_y, cx, cy, w, h in pixels. As in nerfstudio, shared values win over a frame's own.

    Args:
        meta: The shared values.
        entry: The frame's own.
        size: (width, height) to use where none is given; None where one is given.
        where: How messages name the frame.

    Raises:
        InputError: A value is missing or impossible.
    """

    def get(key: str, otherwise: float | None = None) -> float:
        """The number under a key."""
        value = meta.get(key, entry.get(key, otherwise))
        if value is None:
            raise InputError(
                f'{where} lacks "{key}": give fl_x, fl_y, cx, cy, w, h (all in pixels) or camera_angle_x'
            )
        return number(value, key, where)

    width, height = get("w", size and size[0]), get("h", size and size[1])
    if width < 1 or height < 1:
        raise InputError(f"{where}: the image's size is given as {width:g}x{height:g} pixels")
    focal: dict[str, float] = {}
    for axis, extent in (("x", width), ("y", height)):
        if f"camera_angle_{axis}" in {**meta, **entry} and f"fl_{axis}" not in {**meta, **entry}:
            angle = get(f"camera_angle_{axis}")
            if not 0 < angle < math.pi:
                raise InputError(
                    f"{where}: camera_angle_{axis} is {angle:g}, it should be radians between 0 and pi"
                )
            focal[axis] = extent / 2 / math.tan(angle / 2)
        else:
            focal[axis] = get("fl_x") if axis == "x" else get("fl_y", focal["x"])
    for axis, value in focal.items():
        if value <= 0:
            raise InputError(
                f"{where}: the focal length fl_{axis} is {value:g}, it should be positive (pixels)"
            )
    values = {"fl_x": focal["x"], "fl_y": focal["y"], "cx": get("cx", width / 2), "cy": get("cy", height / 2)}
    return {**values, "w": int(width), "h": int(height)}


def read_distortion(meta: dict, entry: dict, where: str) -> list[float]:
    """Read the distortion of one frame, in LENS order, from `distortion_params` or the single names.

    Shared values win over the frame's own.

    Raises:
        InputError: A value is no finite number, or there are not six of them.
    """
    shared = any(key in meta for key in (*LENS, "distortion_params"))
    given = meta if shared else entry
    if "distortion_params" not in given:
        return [number(given.get(key, 0.0), key, where) for key in LENS]
    values = given["distortion_params"]
    if not isinstance(values, list) or len(values) != len(LENS):
        raise InputError(f"{where}: distortion_params should be six numbers, {', '.join(LENS)}")
    return [number(value, "distortion_params", where) for value in values]


def number(value: Any, key: str, where: str) -> float:
    """Read a finite number.

    Raises:
        InputError: The value is none.
    """
    try:
        result = float(value)
    except (TypeError, ValueError):
        raise InputError(f"{where}: {key} should be a number, it is {value!r}") from None
    if not math.isfinite(result):
        raise InputError(f"{where}: {key} is {result}, it should be finite")
    return result


def camera_model(meta: dict, frames: Iterable[dict], source: Path) -> str:
    """Return the one camera model of all frames, by nerfstudio's name.

    Raises:
        InputError: There are several models, or a panoramic or unknown one.
    """
    default = "OPENCV_FISHEYE" if meta.get("is_fisheye") else "OPENCV"
    models = {str(meta.get("camera_model") or frame.get("camera_model") or default) for frame in frames}
    if len(models) > 1:
        raise InputError(f"{source} mixes the camera models {', '.join(sorted(models))}: use one of them")
    model = models.pop()
    if model not in PERSPECTIVE + FISHEYE:
        raise InputError(
            f"{source}: camera_model {model} is not supported; undistort the photographs to one of "
            f"these: {', '.join(PERSPECTIVE + FISHEYE)}"
        )
    return model


def read_splits(meta: dict, folder: Path, by_path: dict[Path, str], source: Path) -> dict[str, set[str]]:
    """Read the names of the frames of each split from train_filenames, val_filenames and test_filenames.

    Raises:
        InputError: They name a photograph that no frame has.
    """
    splits = {}
    for split in SPLITS:
        listed = meta.get(f"{split}_filenames")
        if listed is None:
            continue
        if not isinstance(listed, list):
            raise InputError(f"{source}: {split}_filenames should be a list of photographs")
        paths = {find_image(folder, str(name)): str(name) for name in listed}
        unknown = [name for path, name in paths.items() if path not in by_path]
        if unknown:
            raise InputError(
                f"{source}: {split}_filenames names {unknown[0]}, which no frame has as its file_path"
                + (f" (and {len(unknown) - 1} more like it)" if len(unknown) > 1 else "")
            )
        splits[split] = {by_path[path] for path in paths}
    return splits
