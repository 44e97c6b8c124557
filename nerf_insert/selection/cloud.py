"""What the photographs show, as points in space. World coordinates and units; N points."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor

from nerf_insert.capture.view import View
from nerf_insert.geometry.cameras import Camera
from nerf_insert.io.images import to_uint8
from nerf_insert.selection.ball import Ball

EDGE = 0.04  # second difference of inverse depth, relative to it, above which a pixel mixes two surfaces
PROBE_SIDE = 64  # pixels, of the images in which the rays that come near a point are counted
CELL_PIXELS = 2.0  # side of a voxel, in pixels
PAD = 12  # pixels around a ball that a view shows of it, too

Occlusion = Callable[[View, Camera, float], Bool[Tensor, "h w"]]


@dataclass(frozen=True, eq=False)
class SeenPart:
    """What one view shows within a ball: depth at the pixels that are `valid`, infinity elsewhere.

    Attributes:
        view: The photograph.
        camera: The view's, scaled, and cut to the part of the image around the ball.
        size: (width, height) of the scaled image.
        corner: (x, y) of the part's first pixel in it.
        depth: Distance along the rays.
        valid: The pixels at which nothing hides the ball.
    """

    view: View
    camera: Camera
    size: tuple[int, int]
    corner: tuple[int, int]
    depth: Float[Tensor, "h w"]
    valid: Bool[Tensor, "h w"]

    @cached_property
    def solid(self) -> Bool[Tensor, "h w"]:
        """The pixels that show one surface, rather than the edge between two."""
        return self.valid & self.depth.isfinite() & ~on_edge(self.depth)

    @cached_property
    def points(self) -> Float[Tensor, "h w 3"]:
        """The points that the pixels show; meaningful where `valid`."""
        depth = torch.where(self.depth.isfinite() & self.valid, self.depth, 0)
        return self.camera.rays().at(depth.reshape(-1)).view(*self.depth.shape, 3)

    @cached_property
    def colors(self) -> UInt8[np.ndarray, "h w 3"]:
        """The photograph's colors, sRGB."""
        x, y = self.corner
        height, width = self.depth.shape
        return to_uint8(self.view.photograph(self.size)).numpy()[y : y + height, x : x + width]


class Voxels:
    """The voxels that hold points of a surface.

    Args:
        points: World coordinates.
        cell: The side of the voxels, which are counted from the world's origin.
    """

    def __init__(self, points: Float[Tensor, "N 3"], cell: float):
        index = (points / cell).floor().long()
        self.cell = cell
        self.low, self.size = index.amin(0), index.amax(0) - index.amin(0) + 1
        self._filled = torch.zeros(int(self.size.prod()), dtype=torch.bool)
        self._filled[self._number(index)] = True

    def contain(self, points: Float[Tensor, "M 3"]) -> Bool[Tensor, " M"]:
        """Return which points lie in one of the voxels."""
        index = (points / self.cell).floor().long()
        found = ((index >= self.low) & (index < self.low + self.size)).all(-1)
        found[found.clone()] = self._filled[self._number(index[found])]
        return found

    def _number(self, index: Int64[Tensor, "K 3"]) -> Int64[Tensor, " K"]:
        x, y, z = (index - self.low).unbind(-1)
        return (x * self.size[1] + y) * self.size[2] + z


def see_ball(ball: Ball, views: Sequence[View], hidden: Occlusion, total_rays: int) -> list[SeenPart]:
    """Return what views show within a ball, with about so many rays in all.

    Args:
        ball: The part of the scene.
        views: The photographs.
        hidden: Tells where the scene hides the ball from a camera.
        total_rays: Rays of all views together.
    """
    tiny = [view.camera.scaled(min(1, PROBE_SIDE / max(view.size))) for view in views]
    fractions = [float(near_ball(camera, ball.center, ball.radius).float().mean()) for camera in tiny]
    pixels = sum(f * view.size[0] * view.size[1] for f, view in zip(fractions, views, strict=True))
    scale = min(1.0, (total_rays / max(pixels, 1)) ** 0.5)
    parts = (see_in_view(ball, view, scale, hidden) for view in views)
    return [part for part in parts if part is not None]


def see_in_view(ball: Ball, view: View, scale: float, hidden: Occlusion) -> SeenPart | None:
    """Return what one view shows within a ball; None if it does not show it.

    Args:
        ball: The part of the scene.
        view: The photograph.
        scale: Of the photograph's size.
        hidden: Tells where the scene hides the ball from a camera.
    """
    center, radius = ball.center, ball.radius
    whole = view.camera.scaled(scale)
    probe = view.camera.scaled(min(scale, PROBE_SIDE / max(view.size)))
    shown = near_ball(probe, center, radius)
    if not bool(shown.any()):
        return None
    window = []
    for axis, (small, large) in enumerate(((probe.height, whole.height), (probe.width, whole.width))):
        index = shown.any(1 - axis).nonzero()[:, 0]
        first = int((int(index[0]) - 1) * large / small) - PAD
        last = int((int(index[-1]) + 2) * large / small) + PAD
        window.append((max(first, 0), min(last, large)))
    (top, bottom), (left, right) = window
    camera = replace(whole, cx=whole.cx - left, cy=whole.cy - top, width=right - left, height=bottom - top)
    near = near_ball(camera, center, radius)
    depth = torch.full(near.shape, float("inf"))
    depth[near] = ball.depth(camera.rays()[near.reshape(-1)])
    free = ~hidden(view, whole, float((center - camera.center).norm()) - radius)[top:bottom, left:right]
    return SeenPart(view, camera, (whole.width, whole.height), (left, top), depth, near & free)


def solid_points(camera: Camera, depth: Float[Tensor, "h w"]) -> Float[Tensor, "N 3"]:
    """Return the points that a depth map shows, without those between two surfaces."""
    solid = depth.isfinite() & ~on_edge(depth)
    return camera.rays()[solid.reshape(-1)].at(depth[solid])


def near_ball(camera: Camera, center: Float[Tensor, " 3"], radius: float) -> Bool[Tensor, "h w"]:
    """Return the pixels whose rays come within `radius` of a point."""
    rays = camera.rays()
    along = ((center - rays.origins) * rays.directions).sum(-1).clamp_min(0)
    gap = (rays.at(along) - center).norm(dim=-1)
    return (gap < radius).view(camera.height, camera.width)


def on_edge(depth: Float[Tensor, "h w"]) -> Bool[Tensor, "h w"]:
    """Return the pixels at which inverse depth bends; on a plane it is linear in the image."""
    inverse = torch.where(depth.isfinite(), 1 / depth.clamp_min(1e-9), 0)
    edge = torch.zeros(depth.shape, dtype=torch.bool)
    for axis in (0, 1):
        bend = inverse.diff(n=2, dim=axis).abs()
        inner = inverse.narrow(axis, 1, max(inverse.shape[axis] - 2, 0))
        edge.narrow(axis, 1, max(inverse.shape[axis] - 2, 0))[:] |= bend > EDGE * inner
    return edge


def cell_size(parts: Sequence[SeenPart], at: Float[Tensor, " 3"]) -> float:
    """Return the side of the voxels that what parts show at a point is looked at in."""
    return CELL_PIXELS * usual_pixel_width(parts, at)


def usual_pixel_width(parts: Sequence[SeenPart], at: Float[Tensor, " 3"]) -> float:
    """Return the median width of a pixel of the parts at a point, world units."""
    pixels = sorted(pixel_width(part, at) for part in parts)
    return pixels[len(pixels) // 2]


def pixel_width(part: SeenPart, at: Float[Tensor, " 3"]) -> float:
    """Return the width of a pixel at a point, world units."""
    return float((at - part.camera.center).norm()) / part.camera.fx
