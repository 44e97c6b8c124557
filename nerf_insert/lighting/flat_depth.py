"""Depth where photographs do not tell it: on the planes that the rest of a surface lies on.

A radiance field reproduces its photographs also from a wrong depth where a surface shows no texture, or one
that repeats: a plain table has dents as deep as a mug is high, a pavement has holes. Light estimated from
such a surface, and shadows cast on it, are wrong. Where a plane that explains much of the scene passes by,
and the photographs agree on it about as well as on the field's own depth, the plane's depth is taken.

World coordinates and units. h and w are the size of a depth map, M a number of its pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from nerf_insert.geometry.plane_support import PlaneSupport
from nerf_insert.geometry.planes import find_planes
from nerf_insert.rendering.depth_view import DepthView

MAX_PLANES = 3
MIN_SUPPORT = 0.15  # of the points that a plane has to explain
REACH = 0.08  # how far below what is seen a plane may be, as a fraction of the extent
NO_WORSE = 1.5  # difference of colors on a plane, over that on the depth, up to which the plane is taken
NOISE = 0.04  # difference of log colors that tells nothing
MIN_WITNESSES = 2  # views that have to see the plane's point
HIDDEN = 0.02  # how far, as a fraction of the distance, a view's depth may lie in front of a point it sees
FAR = 1e6  # world units, in place of infinity
MIN_COLOR = 0.004  # linear; darker differences are noise


Test = Callable[[Tensor, Tensor, DepthView, Sequence[DepthView]], Tensor]


class Moved(NamedTuple):
    """Points where a radiance field has its surface, and where that surface is more likely."""

    shown: Float[Tensor, "M 3"]
    likely: Float[Tensor, "M 3"]


def flattened(
    views: Sequence[DepthView], center: Float[Tensor, "3"], extent: float, seed: int = 0
) -> list[DepthView]:
    """Move depth onto planes where photographs allow it.

    Args:
        views: Depth views with colors.
        center: World coordinates.
        extent: Half of the width of what planes are looked for in, world units.
        seed: Random seed of the search for planes.
    """
    points = torch.cat([torch.zeros(0, 3), *(view.points() for view in views)])
    points = points[((points - center).abs() < extent).all(-1)]
    if not len(points):
        return list(views)
    eyes = torch.stack([view.camera.center for view in views])
    planes = [
        PlaneSupport(plane, points, extent)
        for plane in find_planes(points, eyes, extent, MAX_PLANES, seed)
        if float((plane.height(points).abs() < plane.tolerance).float().mean()) > MIN_SUPPORT
    ]
    for support in planes:
        views = [_onto(support, view, views, REACH * extent, _looks_no_worse) for view in views]
        views = [_onto(support, view, views, 0.0, _most_views_agree) for view in views]
    return list(views)


def _onto(
    support: PlaneSupport, view: DepthView, views: Sequence[DepthView], reach: float, accepted: Test
) -> DepthView:
    """Move pixels that lie less than `reach` above a plane, or behind it, onto it if a test accepts that."""
    plane, rays, depth = support.plane, view.camera.rays(), view.depth.reshape(-1)
    there = plane.hit(rays)
    wanted = there.isfinite() & (depth != there)
    wanted &= plane.height(rays.at(depth.nan_to_num(posinf=FAR))) < reach
    index = wanted.nonzero()[:, 0]
    index = index[support.covers(rays[index].at(there[index]))]
    index = index[accepted(there, index, view, views)]
    moved = depth.index_copy(0, index, there[index])
    return replace(view, depth=moved.view_as(view.depth))


def _looks_no_worse(
    there: Float[Tensor, " P"], index: Int64[Tensor, " M"], view: DepthView, views: Sequence[DepthView]
) -> Bool[Tensor, " M"]:
    """Whether other views show much the same color at another depth of pixels as at their own."""
    now = _disagreement(view.depth.reshape(-1), index, view, views).nan_to_num(nan=0.0)
    return _disagreement(there, index, view, views) <= NO_WORSE * now + NOISE  # false for NaN


def _most_views_agree(
    there: Float[Tensor, " P"], index: Int64[Tensor, " M"], view: DepthView, views: Sequence[DepthView]
) -> Bool[Tensor, " M"]:
    """Whether more views have their own depth at another depth of pixels than see through it."""
    points = view.camera.rays()[index].at(there[index])
    votes = torch.zeros(len(index))
    for other in views:
        if other is not view:
            projection = other.camera.project(points)
            beyond = other.depth_at(projection.pixels) / projection.distance - 1
            votes += projection.inside * ((beyond.abs() < HIDDEN).float() - (beyond > 2 * HIDDEN).float())
    return votes > 0


def moved_points(views: Sequence[DepthView], flat: Sequence[DepthView]) -> Moved:
    """Return the points whose depth `flattened` has changed, before and after."""
    shown, likely = [torch.zeros(0, 3)], [torch.zeros(0, 3)]
    for one, two in zip(views, flat, strict=True):
        before, after = one.depth.reshape(-1), two.depth.reshape(-1)
        index = (before.isfinite() & after.isfinite() & (before != after)).nonzero()[:, 0]
        rays = one.camera.rays()[index]
        shown.append(rays.at(before[index]))
        likely.append(rays.at(after[index]))
    return Moved(torch.cat(shown), torch.cat(likely))


def _disagreement(
    depth: Float[Tensor, " P"], index: Int64[Tensor, " M"], own: DepthView, views: Sequence[DepthView]
) -> Float[Tensor, " M"]:
    """How much other views that see what pixels show at a depth differ in color, averaged over neighbors.

    Args:
        depth: Of all pixels of a view.
        index: The pixels that are asked for.
        own: That view.
        views: All views.

    Returns:
        The median over the views of the difference of log colors; NaN where too few views see anything.
    """
    camera = own.camera
    pixels = torch.stack([index % camera.width, index // camera.width], -1) + 0.5
    color = own.color_at(pixels).clamp_min(MIN_COLOR).log()
    points = camera.rays_through(pixels).at(depth[index].nan_to_num(posinf=FAR))
    rows = [torch.full((len(index),), float("nan"))]
    for view in views:
        if view is own:
            continue
        projection = view.camera.project(points)
        at = projection.inside.nonzero()[:, 0]
        at = at[view.depth_at(projection.pixels[at]) > (1 - HIDDEN) * projection.distance[at]]
        row = torch.full((len(index),), float("nan"))
        other = view.color_at(projection.pixels[at]).clamp_min(MIN_COLOR).log()
        row[at] = (other - color[at]).abs().mean(-1)
        rows.append(row)
    table = torch.stack(rows)
    known = table.isfinite().sum(0) >= MIN_WITNESSES
    image = torch.zeros(2, camera.height * camera.width)
    image[0, index[known]] = table.nanmedian(0).values[known]
    image[1, index[known]] = 1
    image = torch.nn.functional.avg_pool2d(image.view(2, camera.height, camera.width), 3, 1, 1).view(2, -1)
    mean = image[0, index] / image[1, index].clamp_min(1e-9)
    return torch.where(known, mean, float("nan"))
