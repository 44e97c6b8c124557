"""Cameras for a scene that comes without any: where it looks clear.

Things are seen from rings around them, rooms from rings in their inside. What was captured from one side only
falls apart from others; its cameras stand where it does not.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from nerf_insert.capture.camera_paths import look_at, orbit
from nerf_insert.errors import InputError
from nerf_insert.geometry.cameras import Camera

RINGS = ((0.0, 14), (22.0, 14), (48.0, 12))  # elevation in degrees, cameras
SIZE, FOCAL = (640, 480), 620.0  # pixels
WHOLE = 0.98  # share of the content that counts for its bounds
COMPACT = 6.0  # distance from the middle, in the mean one, within which content is seen as a whole
SHARES = (0.9, 0.6, 0.3)  # of the content, which the cameras may see as a whole
NEAR = 0.3  # of the distance to the center: what is nearer is in the way
MAX_NEAR = 0.2  # share of a view's pixels that may show such things
MIN_SHOWN = 0.01  # share of a view's pixels that show something
CLEAR = 0.1  # angular size of what is seen, in radians, above which a view is a blur
MOST = 0.75  # share of the views that have to be clear from all around
PROBE, STRIDE = 0.1, 5  # size of the images that are looked at to choose a distance, and which of them are
ONE_SIDE = 3.0  # times the least blur, up to which views from one side are clear
STEP, STEPS = 5.0, 4  # degrees between cameras on one side, and how many to each side of the best
FEWEST = 6  # cameras that a side has to have

Look = Callable[[Camera], tuple[Float[Tensor, "H W"], Float[Tensor, "H W"], Float[Tensor, "H W"]]]


def place_cameras(
    points: Float[Tensor, "N 3"], up: Float[Tensor, "3"], look: Look
) -> list[tuple[str, Camera]]:
    """Place cameras around the middle of a scene, or on the side from which it is clear.

    The distance is the largest from which most views are free and clear. What lies close together is seen as
    a whole.

    Args:
        points: Points of the content, world coordinates.
        up: Points up in the scene.
        look: Returns opacity, depth (world units, infinity: nothing), and the size of what a camera's pixels
            show, as a standard deviation in world units.

    Returns:
        Cameras with a name each.

    Raises:
        InputError: There are no points.
    """
    if not len(points):
        raise InputError("the splats hold nothing that can be seen: give cameras with --cameras")
    places = list(_places(points, up))
    cameras = _from_all_around(places, up, look) or _from_one_side(places, up, look) or _rings(places[0], up)
    return [(f"images/{k:03d}.png", camera) for k, camera in enumerate(cameras)]


class _Place(NamedTuple):
    """What cameras look at, and from how far."""

    center: Float[Tensor, "3"]
    radius: float


def _places(points: Float[Tensor, "N 3"], up: Float[Tensor, "3"]) -> Iterator[_Place]:
    """Yield where rings may be: all of the content in view, a share of it, then amid the content."""
    center = points.median(0).values
    distances = (points - center).norm(dim=1)
    half_view = 0.5 * SIZE[1] / FOCAL
    if float(distances.quantile(WHOLE)) < COMPACT * float(distances.mean()):
        middle = _middle(points, up)
        reach = float((points - middle).norm(dim=1).quantile(WHOLE))
        yield _Place(middle, max(reach / math.sin(math.atan(half_view)), 1e-6))
    for share in SHARES:
        yield _Place(center, max(float(distances.quantile(share)) / half_view, 1e-6) * 1.1)
    for share in SHARES:
        yield _Place(center, max(float(distances.quantile(share)), 1e-6))
    yield _Place(center, max(float(distances.quantile(0.3)) / 2, 1e-6))


def _middle(points: Float[Tensor, "N 3"], up: Float[Tensor, "3"]) -> Float[Tensor, "3"]:
    """Return the middle of the content's bounds, along up and across it."""
    axes = torch.linalg.qr(torch.cat([up[:, None] / up.norm(), torch.eye(3)], 1))[0]
    ends = torch.tensor([(1 - WHOLE) / 2, (1 + WHOLE) / 2])
    return axes @ torch.stack([column.quantile(ends).mean() for column in (points @ axes).unbind(1)])


def _rings(place: _Place, up: Float[Tensor, "3"]) -> list[Camera]:
    like = _camera(place, torch.tensor([0.3, 0.5, 0.8]), up)
    return [
        camera
        for elevation, count in RINGS
        for camera in orbit(place.center, up, place.radius, elevation, count, like)
    ]


def _camera(place: _Place, toward: Float[Tensor, "3"], up: Float[Tensor, "3"]) -> Camera:
    """Return the camera in a direction from the center, looking at it."""
    eye = place.center + place.radius * toward / toward.norm()
    return Camera(look_at(eye, place.center, up), FOCAL, FOCAL, SIZE[0] / 2, SIZE[1] / 2, *SIZE)


def _from_all_around(places: Sequence[_Place], up: Float[Tensor, "3"], look: Look) -> list[Camera]:
    """Return the rings of the first place from which most views are clear, else none."""
    for place in places:
        cameras = _rings(place, up)
        clear = [_blur(camera, place, look) < CLEAR for camera in cameras[::STRIDE]]
        if sum(clear) >= MOST * len(clear):
            return cameras
    return []


def _from_one_side(places: Sequence[_Place], up: Float[Tensor, "3"], look: Look) -> list[Camera]:
    """Return cameras around the clearest view of all, as far as they are clear; none if even it is a blur."""
    views = [(place, camera) for place in places for camera in _rings(place, up)]
    blurs = [_blur(camera, place, look) for place, camera in views]
    place, best = views[min(range(len(views)), key=blurs.__getitem__)]
    if min(blurs) >= CLEAR:
        return []
    offsets = [STEP * k for k in range(-STEPS, STEPS + 1)]
    back = torch.nn.functional.normalize(best.center - place.center, dim=0)
    right, over = best.c2w[:, 0], best.c2w[:, 1]
    cameras = [
        _camera(place, back + math.tan(math.radians(x)) * right + math.tan(math.radians(y)) * over, up)
        for y in offsets[::2]
        for x in offsets
    ]
    clear = [camera for camera in cameras if _blur(camera, place, look) < ONE_SIDE * min(blurs)]
    return clear if len(clear) >= FEWEST else []


def _blur(camera: Camera, place: _Place, look: Look) -> float:
    """Return the angular size of what a view shows, radians; infinity where something is in its way."""
    opacity, depth, size = look(camera.scaled(PROBE))
    shown = (opacity > 0.5) & depth.isfinite()
    near = (depth < NEAR * place.radius).float().mean()
    if near > MAX_NEAR or shown.float().mean() < MIN_SHOWN:
        return math.inf
    return float((size[shown] / depth[shown]).median())
