"""What structure from motion found, as plain arrays. OpenGL camera axes, COLMAP's own world and unit."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int, UInt8

from nerf_insert.errors import InputError
from nerf_insert.io.files import replacing

OPENCV_TO_OPENGL = np.diag([1.0, -1.0, -1.0])


@dataclass(frozen=True)
class Solution:
    """Cameras and points.

    Attributes:
        names: Of the photographs that have a camera, ascending.
        c2w: Their poses, camera to world.
        lenses: The intrinsics of each lens: model, w, h and the keys of a transforms.json.
        lens: The lens of each photograph, an index.
        points: Positions.
        colors: sRGB of the points.
        errors: Mean reprojection error of each point, pixels.
        seen: Rows (photograph, point, x, y): where which point was seen, pixels.
    """

    names: tuple[str, ...]
    c2w: Float[np.ndarray, "N 3 4"]
    lenses: tuple[dict[str, Any], ...]
    lens: Int[np.ndarray, " N"]
    points: Float[np.ndarray, "P 3"]
    colors: UInt8[np.ndarray, "P 3"]
    errors: Float[np.ndarray, " P"]
    seen: Float[np.ndarray, "S 4"]

    @property
    def centers(self) -> Float[np.ndarray, "N 3"]:
        """The positions of the cameras."""
        return self.c2w[:, :, 3]

    def moved(
        self, rotation: Float[np.ndarray, "3 3"], scale: float, offset: Float[np.ndarray, " 3"]
    ) -> Solution:
        """Return the solution in another world: x -> scale * rotation @ x + offset."""
        rotated = rotation @ self.c2w[:, :, :3]
        centers = scale * self.centers @ rotation.T + offset
        points = scale * self.points @ rotation.T + offset
        c2w = np.concatenate([rotated, centers[:, :, None]], axis=2)
        return Solution(self.names, c2w, self.lenses, self.lens, points, self.colors, self.errors, self.seen)


def save_solution(model: Any, path: Path) -> None:
    """Write a pycolmap reconstruction as a solution."""
    images = sorted(
        (image for image in model.images.values() if image.has_pose), key=lambda image: image.name
    )
    cameras = sorted({image.camera_id for image in images})
    points = sorted(model.points3D)
    place = {point: k for k, point in enumerate(points)}
    c2w = np.zeros((len(images), 3, 4))
    seen = []
    for k, image in enumerate(images):
        pose = image.cam_from_world().inverse().matrix()
        c2w[k, :, :3], c2w[k, :, 3] = pose[:, :3] @ OPENCV_TO_OPENGL, pose[:, 3]
        seen += [(k, place[p.point3D_id], *p.xy) for p in image.points2D if p.has_point3D()]
    arrays = {
        "c2w": c2w,
        "lens": np.array([cameras.index(image.camera_id) for image in images]),
        "points": np.array([model.points3D[point].xyz for point in points]).reshape(-1, 3),
        "colors": np.array([model.points3D[point].color for point in points], np.uint8).reshape(-1, 3),
        "errors": np.array([model.points3D[point].error for point in points]),
        "seen": np.array(seen, float).reshape(-1, 4),
        "names": np.array(json.dumps([image.name for image in images])),
        "lenses": np.array(json.dumps([intrinsics(model.cameras[camera]) for camera in cameras])),
    }
    with replacing(path) as new:
        with open(new, "wb") as file:
            np.savez_compressed(file, **arrays)  # type: ignore[arg-type]


def load_solution(path: Path) -> Solution:
    """Read what `save_solution` wrote.

    Raises:
        InputError: The file is missing or damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        names, lenses = (json.loads(str(arrays.pop(key))) for key in ("names", "lenses"))
        return Solution(names=tuple(names), lenses=tuple(lenses), **arrays)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path} is missing or damaged ({error}): remove its folder and start again"
        ) from None


def intrinsics(camera: Any) -> dict[str, Any]:
    """Return a pycolmap camera with the keys of a transforms.json."""
    name, values = camera.model.name, [float(value) for value in camera.params]
    if name.startswith("SIMPLE"):
        values = [values[0], *values]
    fx, fy, cx, cy, *distortion = values
    keys = ("k1", "k2", "k3", "k4") if name == "OPENCV_FISHEYE" else ("k1", "k2", "p1", "p2")
    shown = {"camera_model": "OPENCV_FISHEYE" if name == "OPENCV_FISHEYE" else "OPENCV"}
    shown |= {"w": camera.width, "h": camera.height, "fl_x": fx, "fl_y": fy, "cx": cx, "cy": cy}
    return shown | dict(zip(keys, [*distortion, 0.0, 0.0, 0.0, 0.0], strict=False))
