"""Reduced, undistorted photographs with pinhole cameras, and how a pixel of one lies in another.

H and W are the size of a reduced photograph. Lengths are in a unit that the caller chooses: cameras are given
in world coordinates, together with that unit's length in world units.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, UInt8
from numpy import ndarray
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, avg_pool2d, grid_sample, pad

from nerf_insert.geometry.cameras import Camera

USUAL_ANGLE = math.radians(14)  # between the lines of sight of two partners
WIDEST_ANGLE = math.radians(50)
LEAST_ANGLE = math.radians(1.5)


@dataclass(frozen=True, eq=False)
class Pinhole:
    """A reduced, undistorted photograph.

    Attributes:
        camera: Its camera, without lens distortion.
        image: Brightness, 0..1.
        valid: Pixels that the photograph shows and that no mask excludes.
    """

    camera: Camera
    image: Float32[ndarray, "H W"]
    valid: Bool[ndarray, "H W"]

    @property
    def lens(self) -> Float[ndarray, "4"]:
        """Focal lengths and principal point: fx, fy, cx, cy, in pixels."""
        return np.array([self.camera.fx, self.camera.fy, self.camera.cx, self.camera.cy])

    def reduced(self, factor: int) -> Pinhole:
        """Return the photograph at a fraction of its size."""
        if factor == 1:
            return self
        height, width = (max(4, side // factor) for side in self.image.shape)
        image = adaptive_avg_pool2d(torch.from_numpy(self.image)[None], (height, width))[0]
        valid = adaptive_avg_pool2d(torch.from_numpy(self.valid)[None].float(), (height, width))[0] == 1
        return Pinhole(self.camera.resized(width, height), image.numpy(), valid.numpy())


def undistort(
    camera: Camera,
    photograph: UInt8[Tensor, "height width C"],
    usable: Bool[Tensor, "height width"] | None,
    side: int,
) -> Pinhole:
    """Undistort a photograph and reduce it to `side` pixels of its longer side, if it is larger.

    Args:
        camera: The photograph's camera; a perspective or fisheye lens.
        photograph: sRGB, or sRGB and alpha: pixels that are mostly transparent are not valid.
        usable: Pixels that count; None: all.
        side: Pixels.
    """
    scale = min(1.0, side / max(camera.width, camera.height))
    size = camera.width, camera.height
    plain = Camera(camera.c2w, camera.fx, camera.fy, camera.cx, camera.cy, *size).scaled(scale)
    seen = camera.project(plain.rays().at(torch.ones(plain.width * plain.height)))
    image = photograph[..., :3].float().mean(-1)[None, None] / 255
    # The mean over a reduced pixel: of blocks half as large, then of some of these, then by interpolation.
    block = max(1, int(0.5 / scale))
    image = avg_pool2d(image, block)
    covered = seen.pixels.new_tensor([block * image.shape[3], block * image.shape[2]])
    radius = max(0, int((1 / scale / block - 1) / 2))
    if radius:
        image = avg_pool2d(pad(image, (radius,) * 4, mode="replicate"), 2 * radius + 1, 1)
    at = (seen.pixels / covered * 2 - 1).view(1, plain.height, plain.width, 2)
    reduced = grid_sample(image, at, align_corners=False, padding_mode="border")[0, 0]
    x, y = (seen.pixels[:, i].long().clamp(0, size[i] - 1) for i in (0, 1))
    valid = seen.inside
    if usable is not None:
        valid = valid & usable[y, x]
    if photograph.shape[-1] == 4:
        valid = valid & (photograph[y, x, 3] > 127)
    return Pinhole(plain, reduced.numpy(), valid.view(plain.height, plain.width).numpy())


def find_partners(cameras: Sequence[Camera], unit: float, count: int) -> list[list[int]]:
    """Return for each camera the others to match it with: seen from elsewhere, but not from too far away.

    Args:
        cameras: All cameras.
        unit: A length in world units, about that from the cameras to what they look at.
        count: Partners of a camera, at most.
    """
    centers = torch.stack([camera.center for camera in cameras]) / unit
    axes = torch.stack([-camera.c2w[:, 2] for camera in cameras])
    turned = (axes @ axes.T).clamp(-1, 1).acos()
    apart = 2 * (torch.cdist(centers, centers) / 2).clamp_max(1).asin()
    unusual = (torch.maximum(turned, apart).clamp_min(1e-3) / USUAL_ANGLE).log().abs()
    unusual[(turned > WIDEST_ANGLE) | (apart < LEAST_ANGLE)] = math.inf
    unusual.fill_diagonal_(math.inf)
    order = unusual.argsort(dim=1, stable=True)[:, :count]
    return [[j for j in row.tolist() if unusual[i, j] < math.inf] for i, row in enumerate(order)]


def relate(camera: Camera, other: Camera, unit: float) -> tuple[Float[ndarray, "3 3"], Float[ndarray, "3"]]:
    """Return A and b: pixel (u, v) at inverse depth w lies in another image at A (u, v, 1) + b w.

    That is a homogeneous pixel; its third component is the ratio of the two depths.
    """
    (k, rotation, shift), (k2, rotation2, shift2) = _opencv(camera), _opencv(other)
    turn = rotation2 @ rotation.T
    return k2 @ turn @ np.linalg.inv(k), k2 @ (shift2 - turn @ shift) / unit


def _opencv(camera: Camera) -> tuple[ndarray, ndarray, ndarray]:
    """Return K, R and t, float64: a world point X lies at the homogeneous pixel K (R X + t)."""
    k = np.array([[camera.fx, 0, camera.cx], [0, camera.fy, camera.cy], [0, 0, 1]])
    c2w = camera.c2w.double().numpy()
    rotation = (c2w[:, :3] * [1, -1, -1]).T
    return k, rotation, -rotation @ c2w[:, 3]
