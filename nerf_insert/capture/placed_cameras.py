"""Cameras for a scene that comes without any: rings around its content, at a distance that shows it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from nerf_insert.capture.camera_paths import orbit
from nerf_insert.errors import InputError
from nerf_insert.geometry.cameras import Camera

RINGS = ((0.0, 14), (22.0, 14), (48.0, 12))  # elevation in degrees, cameras
SIZE, FOCAL = (640, 480), 620.0  # pixels
SHARES = (0.9, 0.6, 0.3)  # of the content, which the cameras may see as a whole
NEAR = 0.3  # of the distance to the center: what is nearer is in the way
MAX_NEAR = 0.2  # share of a view's pixels that may show such things
PROBE = 0.1  # size of the images that are looked at to choose a distance

Render = Callable[[Camera], tuple[Float[Tensor, "H W"], Float[Tensor, "H W"]]]


def place_cameras(
    points: Float[Tensor, "N 3"], up: Float[Tensor, "3"], render: Render
) -> list[tuple[str, Camera]]:
    """Place cameras in rings around the middle of a scene.

    The distance is the largest from which most views are free: things are seen from outside, rooms from
    their inside.

    Args:
        points: Points of the content, world coordinates.
        up: Points up in the scene.
        render: Returns opacity and depth (world units, infinity: nothing) of a camera's image.

    Returns:
        Cameras with a name each.

    Raises:
        InputError: There are no points.
    """
    if not len(points):
        raise InputError("the splats hold nothing that can be seen: give cameras with --cameras")
    center = points.median(0).values
    distances = (points - center).norm(dim=1)
    best: tuple[float, list[Camera]] | None = None
    for radius in _radii(distances):
        cameras = _rings(center, up, radius)
        probes = [camera.scaled(PROBE) for camera in cameras[::5]]
        blocked = sum(_blocked(*render(probe), radius) for probe in probes) / len(probes)
        if best is None or blocked < best[0]:
            best = blocked, cameras
        if blocked <= 0.25:
            break
    assert best is not None
    return [(f"images/{k:03d}.png", camera) for k, camera in enumerate(best[1])]


def _radii(distances: Float[Tensor, " N"]) -> Iterator[float]:
    """Yield distances from far to near: all of a share of the content in view, then amid the content."""
    half_view = 0.5 * SIZE[1] / FOCAL
    for share in SHARES:
        yield max(float(distances.quantile(share)) / half_view, 1e-6) * 1.1
    for share in SHARES:
        yield max(float(distances.quantile(share)), 1e-6)
    yield max(float(distances.quantile(0.3)) / 2, 1e-6)


def _rings(center: Float[Tensor, "3"], up: Float[Tensor, "3"], radius: float) -> list[Camera]:
    pose = torch.cat([torch.eye(3), (center + radius * torch.tensor([0.3, 0.5, 0.8]))[:, None]], 1)
    like = Camera(pose, FOCAL, FOCAL, SIZE[0] / 2, SIZE[1] / 2, *SIZE)
    return [
        camera for elevation, count in RINGS for camera in orbit(center, up, radius, elevation, count, like)
    ]


def _blocked(opacity: Float[Tensor, "H W"], depth: Float[Tensor, "H W"], radius: float) -> bool:
    """Tell whether something stands in a camera's way, or it sees nothing."""
    near = (depth < NEAR * radius).float().mean()
    return bool(near > MAX_NEAR or opacity.mean() < 0.01)
