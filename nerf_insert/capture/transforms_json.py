"""transforms.json and its relatives: checked, and cleaned for nerfstudio.

nerfstudio's dataparsers trust these files and fail with asserts; here every common mistake gets a message
that names the file and the frame. The result is a list of frames whose images exist, each with its own
complete intrinsics and an absolute path. `where` is how messages name the frame that is read.
"""

from __future__ import annotations

import math
import os
import posixpath
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from nerf_insert.capture.not_modeled import check_lens, notes_of
from nerf_insert.capture.photo_files import FolderListing, PhotoFinder, compose, split_name
from nerf_insert.errors import InputError
from nerf_insert.io.files import read_json
from nerf_insert.io.images import image_size, oriented_size

MAX_SHOWN = 300  # characters of a path in a message
LENS = ("k1", "k2", "k3", "k4", "p1", "p2")  # nerfstudio's order of OpenCV's distortion parameters
PERSPECTIVE = ("SIMPLE_PINHOLE", "PINHOLE", "SIMPLE_RADIAL", "RADIAL", "OPENCV")
FISHEYE = ("OPENCV_FISHEYE",)
SPLITS = ("train", "val", "test")
FARTHEST = 1e18  # whose square float32 can hold
RIGID = 5e-3  # how far a rotation may be from orthonormal: files written with three decimals pass


@dataclass(frozen=True)
class Frame:
    """One posed frame. `c2w` is camera-to-world, [4, 4], OpenGL axes, in the file's own coordinates."""

    name: str  # file_path as the file has it
    path: Path  # the image
    c2w: np.ndarray
    intrinsics: dict[str, float]  # fl_x, fl_y, cx, cy, w, h: pixels
    distortion: list[float]  # LENS
    camera_model: str  # one of PERSPECTIVE or FISHEYE
    mask: Path | None = None


@dataclass(frozen=True)
class Listing:
    """The frames of a capture, and which of them each split names."""

    source: Path
    frames: list[Frame]
    splits: dict[str, set[str]] = field(default_factory=dict)  # "train", "val", "test": names of frames
    missing: list[str] = field(default_factory=list)  # names of frames whose image does not exist
    notes: list[str] = field(default_factory=list)  # what was mended, for people
    up: tuple[float, float, float] | None = None  # as the file says, in its coordinates


def read_transforms(source: Path, upright: bool = False) -> Listing:
    """Read a transforms.json.

    Args:
        source: The file.
        upright: Poses and intrinsics belong to photographs turned as their EXIF data says.

    Raises:
        InputError: The message names the file and the frame at fault.
    """
    meta = read_json(source)
    return list_frames(meta, source.parent, source, upright=upright)


def read_blender(folder: Path, upright: bool = False) -> Listing:
    """Read transforms_train.json and, where they exist, _val and _test, each its own split.

    Raises:
        InputError: The message names the file and the frame at fault.
    """
    listings = {}
    for split in SPLITS:
        source = folder / f"transforms_{split}.json"
        if split == "train" or source.exists():
            meta = in_own_folder(read_json(source), folder, split)
            listings[split] = list_frames(meta, folder, source, upright=upright)
    frames = {frame.name: frame for listing in listings.values() for frame in listing.frames}
    return Listing(
        source=folder / "transforms_train.json",
        frames=list(frames.values()),
        splits={split: {frame.name for frame in listing.frames} for split, listing in listings.items()},
        missing=[name for listing in listings.values() for name in listing.missing],
        notes=list(dict.fromkeys(note for listing in listings.values() for note in listing.notes)),
        up=listings["train"].up,
    )


def in_own_folder(meta: Any, folder: Path, split: str) -> Any:
    """Return the content of a split's file, bare names led to the folder of its name where they are there.

    Splits may number their photographs alike.
    """
    if not isinstance(meta, dict) or not isinstance(meta.get("frames"), list):
        return meta
    here, own = FolderListing(folder), FolderListing(folder / split)
    frames = []
    for entry in meta["frames"]:
        name = entry.get("file_path") if isinstance(entry, dict) else None
        listed, base = split_name(name) if isinstance(name, str) else (None, "")
        if listed in ("", ".") and base and not here.find(base) and own.find(base):
            entry = {**entry, "file_path": f"{split}/{base}"}
        frames.append(entry)
    return {**meta, "frames": frames}


def list_frames(meta: Any, folder: Path, source: Path, upright: bool = False) -> Listing:
    """Check all frames of a transforms.json, or of what another format was translated into.

    Args:
        meta: The content of the file.
        folder: The folder that paths in it are relative to.
        source: The file, for messages.
        upright: Poses and intrinsics belong to photographs turned as their EXIF data says.

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
    names = [entry.get("file_path") for entry in frames if isinstance(entry, dict)]
    photographs = PhotoFinder(folder, [name for name in names if isinstance(name, str) and name.strip()])
    masks = PhotoFinder(
        folder,
        [str(e["mask_path"]) for e in frames if isinstance(e, dict) and e.get("mask_path")],
        masks=True,
    )
    found, missing, by_path, scales = [], [], {}, []
    for index, entry in enumerate(frames):
        where = f"frame {index} of {source}"
        if not isinstance(entry, dict):
            raise InputError(f"{where} is not an object with file_path and transform_matrix")
        name = entry.get("file_path")
        if not isinstance(name, str) or not name.strip():
            raise InputError(f'{where} has no "file_path", the name of its photograph')
        where = f"frame {index} ({name}) of {source}"
        path = photographs.path(name)
        if path in by_path:
            raise InputError(f"{where} names the same photograph as an earlier frame ({by_path[path]})")
        by_path[path] = name
        if "transform_matrix" not in entry:
            raise InputError(f'{where} has no "transform_matrix", its camera-to-world pose')
        if os.path.exists(path):  # False for names that no file can have
            found.append(read_frame(meta, entry, path, masks, where, upright))
            scales.append(pose_scale(entry["transform_matrix"]))
        else:
            missing.append(name)
    splits = read_splits(meta, photographs, by_path, source)
    notes = [
        f"{count} photographs are not in {listed}, as {source.name} says, and were found by name in {place}"
        for listed, (place, count) in photographs.moved.items()
    ]
    notes += notes_of(meta, frames)
    scaled = [scale for scale in scales if abs(scale - 1) > RIGID]
    if scaled:
        notes.append(
            f"the rotations of {len(scaled)} poses in {source.name} are scaled by {min(scaled):.4g}"
            + (f" to {max(scaled):.4g}" if max(scaled) > min(scaled) * (1 + RIGID) else "")
            + "; this was divided out"
        )
    up = read_up(meta.get("up"))
    if up is None and meta.get("up") is not None:
        notes.append(f'"up" in {source.name} is not three numbers that name a direction, and is not used')
    return Listing(source, found, splits, missing, notes, up)


def read_up(value: Any) -> tuple[float, float, float] | None:
    """Read "up", a direction in the file's coordinates, which instant-ngp has as well; None: it is none."""
    try:
        x, y, z = (float(number) for number in value)
        length = math.hypot(x, y, z)
    except (TypeError, ValueError, OverflowError):
        return None
    return (x / length, y / length, z / length) if 0 < length < math.inf else None


def read_frame(
    meta: dict, entry: dict, path: Path, masks: PhotoFinder, where: str, upright: bool = False
) -> Frame:
    """Read one frame, with everything that a camera needs, from its own entry and the shared one.

    Raises:
        InputError: Something is missing or wrong.
    """
    mask = None
    if entry.get("mask_path"):
        mask = masks.path(str(entry["mask_path"]))
        if not os.path.exists(mask):
            shown = mask if len(str(mask)) < MAX_SHOWN else f"...{str(mask)[-60:]}"
            raise InputError(f"{where}: its mask {shown} does not exist; restore it or remove mask_path")
    size = None
    if not {"w", "h"} <= {*meta, *entry}:
        size = oriented_size(path) if upright else image_size(path)
    return Frame(
        name=entry["file_path"],
        path=path,
        c2w=read_pose(entry["transform_matrix"], where),
        intrinsics=read_intrinsics(meta, entry, size, where),
        distortion=read_distortion(meta, entry, where),
        camera_model=camera_model(meta, entry, where),
        mask=mask,
    )


def pose_scale(matrix: Any) -> float:
    """Return the scale of a pose's rotation, 1 for a rigid one."""
    return float(abs(np.linalg.det(np.array(matrix, dtype=np.float64)[:3, :3]))) ** (1 / 3)


def read_pose(matrix: Any, where: str) -> np.ndarray:
    """Read a camera-to-world matrix from nested lists, 3x4 or 4x4.

    Returns:
        The matrix [4, 4], its rotation made exactly orthonormal: one scale of all three columns, as that of
        a camera's parent in Blender, is divided out.

    Raises:
        InputError: It is no matrix of finite numbers, is sheared or mirrored.
    """
    try:
        pose = np.array(matrix, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        raise InputError(f"{where}: transform_matrix is not a matrix of numbers") from None
    if pose.shape not in ((3, 4), (4, 4)):
        shape = "x".join(str(n) for n in pose.shape) or "a number"
        raise InputError(f"{where}: transform_matrix should be 4x4 or 3x4, it is {shape}")
    if not (np.abs(pose) <= FARTHEST).all():
        raise InputError(f"{where}: transform_matrix has values that are not finite (NaN or infinity)")
    if pose.shape == (4, 4) and np.abs(pose[3] - [0, 0, 0, 1]).max() > 1e-6:
        raise InputError(f"{where}: the last row of transform_matrix should be 0 0 0 1 (is it transposed?)")
    rotation = pose[:3, :3]
    left, stretch, right = np.linalg.svd(rotation)
    if stretch.max() > (1 + 2 * RIGID) * stretch.min() or stretch.min() < 1e-9:
        raise InputError(
            f"{where}: transform_matrix is sheared: its first three columns should be a rotation, "
            f"they scale by {stretch.min():.4g} to {stretch.max():.4g}"
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
        InputError: A value is no finite number, there are not six of them, or the lens has terms that are not
            among them.
    """
    check_lens(meta, entry, where)
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
    except (TypeError, ValueError, OverflowError):
        raise InputError(f"{where}: {key} should be a number, it is {value!r}") from None
    if not math.isfinite(result):
        raise InputError(f"{where}: {key} is {result}, it should be finite")
    if abs(result) > FARTHEST:
        raise InputError(f"{where}: {key} is {result:g}, which is too large for a camera")
    return result


def camera_model(meta: dict, entry: dict, where: str) -> str:
    """Return the camera model of one frame, by nerfstudio's name. A shared one wins over the frame's own.

    Raises:
        InputError: It is a panoramic or unknown one.
    """
    default = "OPENCV_FISHEYE" if meta.get("is_fisheye") else "OPENCV"
    model = str(meta.get("camera_model") or entry.get("camera_model") or default)
    if model not in PERSPECTIVE + FISHEYE:
        raise InputError(
            f"{where}: camera_model {model} is not supported; undistort the photographs to one of "
            f"these: {', '.join(PERSPECTIVE + FISHEYE)}"
        )
    return model


def read_splits(
    meta: dict, photographs: PhotoFinder, by_path: dict[Path, str], source: Path
) -> dict[str, set[str]]:
    """Read the names of the frames of each split from train_filenames, val_filenames and test_filenames.

    Raises:
        InputError: They name a photograph that no frame has.
    """
    splits = {}
    plain = {plain_name(name): name for name in by_path.values()}
    for split in SPLITS:
        listed = meta.get(f"{split}_filenames")
        if listed is None:
            continue
        if not isinstance(listed, list):
            raise InputError(f"{source}: {split}_filenames should be a list of photographs")
        named = {str(name): plain.get(plain_name(str(name))) for name in listed}
        named |= {name: by_path.get(photographs.path(name)) for name, frame in named.items() if frame is None}
        unknown = [name for name, frame in named.items() if frame is None]
        if unknown:
            raise InputError(
                f"{source}: {split}_filenames names {unknown[0]}, which no frame has as its file_path"
                + (f" (and {len(unknown) - 1} more like it)" if len(unknown) > 1 else "")
            )
        splits[split] = {frame for frame in named.values() if frame is not None}
    return splits


def plain_name(name: str) -> str:
    """Return a listed name with forward slashes, without detours, in Unicode's composed form."""
    return posixpath.normpath(compose(name).replace("\\", "/"))
