"""Camera paths: from files, around a point, between cameras. World coordinates, OpenGL axes."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from nerf_insert.capture.capture import Capture
from nerf_insert.capture.photo_files import PhotoFinder
from nerf_insert.capture.transforms_json import (
    FISHEYE,
    camera_model,
    number,
    read_distortion,
    read_intrinsics,
    read_pose,
)
from nerf_insert.errors import InputError
from nerf_insert.geometry.cameras import Camera
from nerf_insert.io.files import read_json
from nerf_insert.io.images import image_size

WIDE_GAP = math.radians(100)  # between neighboring cameras, that an orbit does not cross
LEAST_ARC = math.radians(2)  # to either side
STEEP = math.radians(10)  # from the axis, within which a camera is above the target rather than beside it
PATH_TYPES = {"perspective": "PERSPECTIVE", "fisheye": "FISHEYE", "equirectangular": "EQUIRECTANGULAR"}


def read_cameras(
    path: str | Path, *, size: tuple[int, int] | None = None, origin: Sequence[float] = (0.0, 0.0, 0.0)
) -> list[tuple[str, Camera]]:
    """Read nerfstudio's camera-path JSON or a transforms.json.

    Args:
        path: The file, or a folder with a transforms.json; its poses are taken as world coordinates.
        size: (width, height) that every camera is stretched to (default: its own).
        origin: `Capture.origin` of the scene that is to be rendered.

    Returns:
        (name, camera) pairs. Names are file_path for a transforms.json, whose images need not exist, and
        numbers (00000, 00001, ...) for a camera path.

    Raises:
        InputError: The message names the file and the entry at fault.
    """
    path = Path(path)
    if path.is_dir():
        path = path / "transforms.json"
    data = read_json(path)
    if isinstance(data, dict) and "camera_path" in data:
        named = _camera_path(data, path, origin)
    elif isinstance(data, dict) and "frames" in data:
        named = _frames(data, path, size, origin)
    else:
        raise InputError(
            f"{path} holds no cameras: a camera path of nerfstudio's viewer has "
            '"camera_path", a transforms.json "frames"'
        )
    return [(name, camera.resized(*size) if size else camera) for name, camera in named]


def _camera_path(data: dict, path: Path, origin: Sequence[float]) -> list[tuple[str, Camera]]:
    """Read the cameras of nerfstudio's camera-path JSON.

    As in nerfstudio, `fov` is vertical, pixels are square and `aspect` is not used.
    """
    kind = str(data.get("camera_type", "perspective")).lower()
    if kind not in PATH_TYPES:
        raise InputError(f"{path}: camera_type {kind} is not supported; these are: {', '.join(PATH_TYPES)}")
    width, height = (_positive(data, key, path) for key in ("render_width", "render_height"))
    entries = data["camera_path"]
    if not isinstance(entries, list) or not entries:
        raise InputError(f"{path} has no cameras in its camera_path")
    named = []
    for index, entry in enumerate(entries):
        where = f"camera {index} of {path}"
        if not isinstance(entry, dict) or "camera_to_world" not in entry:
            raise InputError(f'{where} has no "camera_to_world"')
        matrix = entry["camera_to_world"]
        if isinstance(matrix, list) and len(matrix) in (12, 16):
            matrix = [matrix[row : row + 4] for row in range(0, len(matrix), 4)]
        if kind == "equirectangular":
            fx, fy = width / 2, float(height)
        else:
            fov = number(entry.get("fov", data.get("fov", 50.0)), "fov", where)
            if not 0 < fov < 180:
                raise InputError(f"{where}: fov is {fov:g}, it should be degrees between 0 and 180")
            fx = fy = height / 2 / math.tan(math.radians(fov) / 2)
        pose = _pose(matrix, origin, where)
        camera = Camera(pose, fx, fy, width / 2, height / 2, width, height, model=PATH_TYPES[kind])
        named.append((f"{index:05d}", camera))
    return named


def _positive(data: dict, key: str, path: Path) -> int:
    """A number of pixels."""
    value = number(data.get(key), key, str(path))
    if value < 1:
        raise InputError(f"{path}: {key} is {value:g}, it should be a number of pixels")
    return int(value)


def _pose(matrix: Any, origin: Sequence[float], where: str) -> Float[Tensor, "3 4"]:
    """A pose relative to an origin, which is subtracted in float64."""
    pose = read_pose(matrix, where)[:3]
    pose[:, 3] -= origin
    return torch.from_numpy(pose).float()


def _frames(
    data: dict, path: Path, size: tuple[int, int] | None, origin: Sequence[float]
) -> list[tuple[str, Camera]]:
    """The cameras of a transforms.json."""
    entries = data["frames"]
    if not isinstance(entries, list) or not entries or not all(isinstance(e, dict) for e in entries):
        raise InputError(f"{path} has no frames")
    images = PhotoFinder(path.parent, [str(entry["file_path"]) for entry in entries if "file_path" in entry])
    named = []
    for index, entry in enumerate(entries):
        name = str(entry.get("file_path", f"{index:05d}"))
        where = f"frame {index} ({name}) of {path}"
        if "transform_matrix" not in entry:
            raise InputError(f'{where} has no "transform_matrix", its camera-to-world pose')
        fallback = size
        if not {"w", "h"} <= {*data, *entry}:
            image = images.path(name)
            fallback = image_size(image) if os.path.exists(image) else size
        lens = read_intrinsics(data, entry, fallback, where)
        camera = Camera(
            c2w=_pose(entry["transform_matrix"], origin, where),
            fx=lens["fl_x"],
            fy=lens["fl_y"],
            cx=lens["cx"],
            cy=lens["cy"],
            width=int(lens["w"]),
            height=int(lens["h"]),
            distortion=tuple(read_distortion(data, entry, where)),
            model="FISHEYE" if camera_model(data, entry, where) in FISHEYE else "PERSPECTIVE",
        )
        named.append((name, camera))
    return named


def look_at(
    eye: Float[Tensor, " 3"], target: Float[Tensor, " 3"], up: Float[Tensor, " 3"]
) -> Float[Tensor, "3 4"]:
    """Return the camera-to-world pose of a camera at `eye` that looks at `target`, with `up` upwards."""
    back = torch.nn.functional.normalize(eye - target, dim=0)
    right = torch.linalg.cross(up.to(back), back)
    if right.norm() < 1e-6:  # straight down or up: any direction will do
        right = torch.linalg.cross(back.roll(1) + back.new_tensor([0.1, 0.2, 0.3]), back)
    right = torch.nn.functional.normalize(right, dim=0)
    return torch.stack([right, torch.linalg.cross(back, right), back, eye], 1)


def orbit(
    target: Float[Tensor, " 3"],
    up: Float[Tensor, " 3"],
    radius: float,
    elevation_degrees: float,
    frames: int,
    like: Camera,
    arc: tuple[float, float] | None = None,
) -> list[Camera]:
    """Circle a target once, or go to and fro on an arc.

    Args:
        target: What all cameras look at, world coordinates.
        up: The axis of the circle.
        radius: Distance of the cameras from the target, world units.
        elevation_degrees: Angle above the plane through the target across `up`.
        frames: The number of cameras.
        like: Gives the lens and the image size; the circle begins on its side.
        arc: The angles, radians from the side of `like` counterclockwise about `up`, to stay between.

    Returns:
        The cameras; the last is one step before the first, so that a video loops.
    """
    target, up = target.double(), torch.nn.functional.normalize(up.double(), dim=0)
    start = like.center.double() - target
    start = start - up * (start @ up)
    if start.norm() < 1e-6 * max(radius, 1e-12):
        start = torch.linalg.cross(up, up.roll(1) + up.new_tensor([0.1, 0.2, 0.3]))
    start = torch.nn.functional.normalize(start, dim=0)
    side = torch.linalg.cross(up, start)
    elevation = math.radians(elevation_degrees)
    turns = torch.arange(frames, dtype=torch.float64) * (2 * math.pi / frames)
    if arc is not None:
        turns = (arc[0] + arc[1]) / 2 + (arc[1] - arc[0]) / 2 * turns.sin()
    cameras = []
    for turn in turns:
        around = start * turn.cos() + side * turn.sin()
        eye = target + radius * (around * math.cos(elevation) + up * math.sin(elevation))
        cameras.append(replace(like, c2w=look_at(eye, target, up).float()))
    return cameras


def orbit_cameras(
    capture: Capture,
    frames: int,
    *,
    target: Float[Tensor, " 3"] | None = None,
    radius: float | None = None,
    elevation_degrees: float | None = None,
    max_side: int | None = None,
) -> list[Camera]:
    """Circle a target once, as the photographs of a capture were taken.

    Where they were taken from some sides only, cameras go to and fro between those: nothing is known of what
    the others would show.

    Args:
        capture: Gives the up direction, the lens (the first training photograph's, without its distortion)
            and the defaults below.
        frames: The number of cameras.
        target: What to circle, world coordinates (default: what the photographs look at).
        radius: Distance from the target, world units (default: the photographs' mean distance).
        elevation_degrees: Angle above the plane through the target across the up direction (default: the
            photographs' mean, at most 80 either way).
        max_side: Pixels along the longer side of the images, at most (default: as the photographs).

    Returns:
        Cameras that all look at the target; the last is one step before the first, so that a video loops.
    """
    target = capture.center_of_attention if target is None else target
    away = torch.stack([view.camera.center for view in capture.views]) - target
    distances = away.norm(dim=-1).clamp_min(1e-9)
    if radius is None:
        radius = float(distances.mean())
    if elevation_degrees is None:
        height = ((away @ capture.up) / distances).clamp(-1, 1)
        elevation_degrees = float(torch.rad2deg(torch.asin(height)).mean().clamp(-80, 80))
    like = replace(capture.train[0].camera, distortion=(0.0,) * 6)
    if max_side is not None:
        like = like.scaled(min(1.0, max_side / max(like.width, like.height)))
    arc = covered_arc(away, capture.up, like.center - target)
    return orbit(target, capture.up, radius, elevation_degrees, frames, like, arc)


def covered_arc(
    away: Float[Tensor, "N 3"], up: Float[Tensor, " 3"], start: Float[Tensor, " 3"]
) -> tuple[float, float] | None:
    """Return the arc around a target that cameras were on, None where they were on all sides.

    Args:
        away: From the target to the N cameras.
        up: The axis of the arc.
        start: From the target to where angles are counted from.

    Returns:
        (first, last) angle, radians counterclockwise about `up`.
    """
    up, away, start = (torch.nn.functional.normalize(v.double(), dim=-1) for v in (up, away, start))
    level = start - up * (start @ up)
    flat = away - (away @ up)[:, None] * up
    aside = flat.norm(dim=-1) > math.sin(STEEP)  # those above the target are on no side
    if not bool(aside.any()) or float(level.norm()) < 1e-6:
        return None
    level = torch.nn.functional.normalize(level, dim=0)
    angles = torch.atan2(flat @ torch.linalg.cross(up, level), flat @ level)[aside].sort().values
    gaps = torch.cat([angles[1:], angles[:1] + 2 * math.pi]) - angles
    widest = int(gaps.argmax())
    if float(gaps[widest]) < WIDE_GAP:
        return None
    first = float(angles[(widest + 1) % len(angles)])
    last = float(angles[widest])
    last += 2 * math.pi * (last < first)
    middle, half = (first + last) / 2, max((last - first) / 2, LEAST_ARC)
    return middle - half, middle + half


def interpolate(cameras: Sequence[Camera], frames: int) -> list[Camera]:
    """Interpolate evenly from the first of `cameras` through all of them to the last.

    Positions and intrinsics are interpolated linearly, orientations by nerfstudio's spherical interpolation;
    the lens and the image size are the first camera's.

    Args:
        cameras: The cameras to pass through.
        frames: The number of cameras to return.

    Raises:
        ValueError: There are no cameras.
    """
    from nerfstudio.cameras.camera_utils import quaternion_from_matrix, quaternion_matrix, quaternion_slerp

    if not cameras:
        raise ValueError("there are no cameras to go through")
    turns = [quaternion_from_matrix(camera.c2w[:, :3].double().numpy()) for camera in cameras]
    last = len(cameras) - 1
    path = []
    for position in np.linspace(0, last, frames):
        index = min(int(position), max(last - 1, 0))
        a, b, fraction = cameras[index], cameras[min(index + 1, last)], float(position - index)
        rotation = quaternion_matrix(quaternion_slerp(turns[index], turns[min(index + 1, last)], fraction))[
            :3, :3
        ]
        center = torch.lerp(a.center.double(), b.center.double(), fraction)
        pose = torch.cat([torch.from_numpy(rotation), center[:, None]], 1).float()
        path.append(replace(cameras[0], c2w=pose, **_between(a, b, cameras[0], fraction)))
    return path


def _between(a: Camera, b: Camera, like: Camera, t: float) -> dict[str, Any]:
    """fx, fy, cx and cy between `a` (t = 0) and `b` (t = 1), in the size of `like`."""
    a, b = (camera.resized(like.width, like.height) for camera in (a, b))
    return {key: getattr(a, key) * (1 - t) + getattr(b, key) * t for key in ("fx", "fy", "cx", "cy")}
