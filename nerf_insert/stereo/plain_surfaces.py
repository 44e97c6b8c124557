"""Depth of plain surfaces: where no texture can be matched, on the planes that their borders lie on.

The rim of a table and what stands on it are matched, its plain top is not. A plane through the points that
are known is taken for the plain part of a photograph if most of what is known along that part's border lies
on the plane, and if other views have the same there.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int, Int64
from numpy import ndarray
from torch import Tensor
from torch.nn.functional import avg_pool2d

from nerf_insert.geometry.cameras import Rays
from nerf_insert.geometry.plane_support import PlaneSupport
from nerf_insert.geometry.planes import Plane, find_planes
from nerf_insert.stereo.pinhole import Pinhole

MAX_PLANES = 4
EXTENT = 1.5  # half of the width of the box in which planes are looked for, in units of the cameras' spread
EDGE = 4 / 255  # difference of brightness between neighbors that ends a plain part
BORDER = 3  # pixels around a plain part in which its surroundings are looked at
LEAST = 16  # known pixels there, without which nothing is said
MOST = 0.7  # of them that have to lie on the plane
AROUND = 3  # cells of a plane's support around each, whose pixels count together
CLOSED = 2.0  # times as many pixels that show a place of the plane as that show something behind it


def continue_planes(
    shown: Sequence[Pinhole], maps: Sequence[Float[ndarray, "H W 3"]], unit: float, seed: int
) -> list[Float[ndarray, "H W 3"]]:
    """Return maps that know plain surfaces, too.

    Args:
        shown: The photographs.
        maps: Inverse depth at each pixel, per `unit`, and its growth to the right and down; NaN: unknown.
        unit: In world units.
        seed: Random seed of the search for planes.

    Returns:
        Copies of the maps, with more pixels known, and none behind a surface that reflects it.
    """
    points = [_points(one, known, unit) for one, known in zip(shown, maps, strict=True)]
    placed = torch.cat([torch.zeros(0, 3), *(p[p.isfinite().all(-1)] for p in points)])
    if not len(placed):
        return [known.copy() for known in maps]
    near = placed[((placed - placed.median(0).values).abs() < EXTENT * unit).all(-1)]
    eyes = torch.stack([one.camera.center for one in shown])
    planes = find_planes(near, eyes, EXTENT * unit, MAX_PLANES, seed)
    supports = [PlaneSupport(plane, near, EXTENT * unit) for plane in planes]
    wider = [
        _continued(one, known, at, supports, unit) for one, known, at in zip(shown, maps, points, strict=True)
    ]
    for support in supports:
        _drop_reflections(shown, wider, support, unit)
    return wider


def plain_parts(one: Pinhole) -> tuple[Int[ndarray, "H W"], int]:
    """Return the number of the plain part that each pixel is in, 0 for none, and how many parts there are."""
    from scipy.ndimage import label, maximum_filter, minimum_filter

    contrast = maximum_filter(one.image, 3) - minimum_filter(one.image, 3)
    found, count = label((contrast < EDGE) & one.valid)  # type: ignore[misc]
    return found, int(count)


def _continued(
    one: Pinhole,
    known: Float[ndarray, "H W 3"],
    points: Float[Tensor, "P 3"],
    supports: Sequence[PlaneSupport],
    unit: float,
) -> Float[ndarray, "H W 3"]:
    """Return the map of a photograph with its plain parts."""
    from scipy.ndimage import binary_dilation

    out, shape = known.copy(), known.shape[:2]
    parts, count = plain_parts(one)
    is_known = np.isfinite(known[..., 0])
    rays = one.camera.rays()
    on_plane = [(abs(s.plane.height(points)) < s.plane.tolerance).view(shape).numpy() for s in supports]
    covered = [(_cells_met(support, rays) >= 0).view(shape).numpy() for support in supports]
    for part in range(1, count + 1):
        inside = parts == part
        missing = inside & ~is_known
        if missing.sum() < LEAST:
            continue
        around = binary_dilation(inside, iterations=BORDER) & is_known
        if around.sum() < LEAST:
            continue
        on = [float(near[around].mean()) for near in on_plane]
        if not on or max(on) < MOST:
            continue
        best = on.index(max(on))
        filled = missing & covered[best]
        out[filled] = _in_image(one, supports[best].plane, unit)[filled]
    return out


def _drop_reflections(
    shown: Sequence[Pinhole], maps: Sequence[Float[ndarray, "H W 3"]], support: PlaneSupport, unit: float
) -> None:
    """Bring what is known behind a closed surface onto it, in place.

    What a shiny table reflects is matched at its depth below the table. From elsewhere the same part of the
    table shows something else, and is seen to be there: a window is not.
    """
    plane, votes = support.plane, torch.zeros(2, support.shape[0] * support.shape[1])
    seen = []
    for one, known in zip(shown, maps, strict=True):
        rays, points = one.camera.rays(), _points(one, known, unit)
        cell = _cells_met(support, rays)
        height = plane.height(points)  # NaN where nothing is known
        on = ((height.abs() < plane.tolerance) & (cell >= 0)).nonzero()[:, 0]
        behind = ((height < -2 * plane.tolerance) & (cell >= 0)).nonzero()[:, 0]
        for row, index in enumerate((on, behind)):
            votes[row].index_add_(0, cell[index], torch.ones(len(index)))
        seen.append((behind, cell[behind]))
    side = 2 * AROUND + 1
    showing, passing = avg_pool2d(votes.view(2, *support.shape), side, 1, AROUND).view(2, -1)
    closed = showing > CLOSED * passing
    for one, known, (behind, cell) in zip(shown, maps, seen, strict=True):
        index = behind[closed[cell]].numpy()
        known.reshape(-1, 3)[index] = _in_image(one, plane, unit).reshape(-1, 3)[index]


def _cells_met(support: PlaneSupport, rays: Rays) -> Int64[Tensor, " P"]:
    """Return the cell of a plane's support that each ray meets from the front; -1: none."""
    distance = support.plane.hit(rays)
    meets = distance.isfinite()
    return torch.where(meets, support.cell_of(rays.at(torch.where(meets, distance, 0))), -1)


def _points(one: Pinhole, known: Float[ndarray, "H W 3"], unit: float) -> Float[Tensor, "P 3"]:
    """Return the world point of every pixel; NaN where nothing is known."""
    rays = one.camera.rays()
    forward = -(rays.directions @ one.camera.c2w[:, 2])
    depth = unit / torch.from_numpy(known[..., 0].reshape(-1)).float().clamp_min(1e-4)
    return rays.at(depth / forward)


def _in_image(one: Pinhole, plane: Plane, unit: float) -> Float[ndarray, "H W 3"]:
    """Return what a world plane is in an image: inverse depth at each pixel, and its growth."""
    camera = one.camera
    above = float(plane.height(camera.center[None])) / unit
    right, up, back = (camera.c2w[:, :3].T @ plane.axes[2]).double().tolist()
    growth = -right / (camera.fx * above), up / (camera.fy * above)
    height, width = one.image.shape
    v, u = np.mgrid[:height, :width] + 0.5
    middle = back / above + growth[0] * (u - camera.cx) + growth[1] * (v - camera.cy)
    return np.stack([middle, np.full_like(middle, growth[0]), np.full_like(middle, growth[1])], -1)
