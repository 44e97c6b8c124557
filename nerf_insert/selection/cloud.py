"""What the photographs show, as points in space. World coordinates and units; N points."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor

from nerf_insert.capture.view import View
from nerf_insert.geometry.cameras import Camera, Rays
from nerf_insert.io.images import to_uint8
from nerf_insert.rendering.depth_view import Renderer

CELLS = 112  # grid points across a ball
STEPS = 144  # samples along a ray through a ball
RAYS_AT_ONCE = 1 << 14
OPAQUE = 0.6931  # optical depth that stops half of the light
EDGE = 0.04  # second difference of inverse depth, relative to it, above which a pixel mixes two surfaces
PROBE_SIDE = 64  # pixels, of the images in which the rays that come near a point are counted
PAD = 12  # pixels around a ball that a view shows of it, too

Occlusion = Callable[[View, Camera, float], Bool[Tensor, "h w"]]


@runtime_checkable
class Scene(Renderer, Protocol):
    """What things are selected in: a `LayerStack`, or a formula in a test."""

    def query(
        self, points: Float[Tensor, "M 3"], directions: Float[Tensor, "M 3"], rendered: bool = False
    ) -> tuple[Float[Tensor, " M"], Float[Tensor, "M 3"]]:
        """Return density per world unit and sRGB color."""
        ...


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


@dataclass(frozen=True, eq=False)
class DensityBall:
    """The density within a ball, on a grid: a ray through it costs a fraction of one through the scene."""

    center: Float[Tensor, " 3"]
    radius: float
    density: Float[Tensor, "R R R"]  # per world unit, axes z, y, x; 0 outside the ball

    @staticmethod
    def bake(scene: Scene, center: Float[Tensor, " 3"], radius: float) -> DensityBall:
        """Query a scene's density."""
        axis = torch.linspace(-1, 1, CELLS)
        z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
        unit = torch.stack([x, y, z], -1).reshape(-1, 3)
        within = (unit.norm(dim=-1) < 1).nonzero()[:, 0]
        density = torch.zeros(len(unit))
        for index in within.split(1 << 17):
            points = center + radius * unit[index]
            up = torch.tensor([0.0, 0.0, 1.0]).expand(len(index), 3)
            density[index] = scene.query(points, up, rendered=True)[0]
        return DensityBall(center, radius, density.view(CELLS, CELLS, CELLS))

    def depth(self, rays: Rays) -> Float[Tensor, " N"]:
        """Return the distance at which half of each ray's light is stopped in the ball; infinity: never."""
        toward = self.center - rays.origins
        along = (toward * rays.directions).sum(-1)
        half = (self.radius**2 - toward.square().sum(-1) + along**2).clamp_min(0).sqrt()
        start, step = (along - half).clamp_min(0), (2 * half / STEPS)
        result = torch.full_like(along, float("inf"))
        for index in torch.arange(rays.count).split(RAYS_AT_ONCE):
            distance = start[index, None] + step[index, None] * (torch.arange(STEPS) + 0.5)
            points = rays.origins[index, None] + distance[..., None] * rays.directions[index, None]
            unit = ((points - self.center) / self.radius)[None, None]
            found = torch.nn.functional.grid_sample(self.density[None, None], unit, align_corners=True)
            passed = (found[0, 0, 0] * step[index, None]).cumsum(1) > OPAQUE
            first = passed.float().argmax(1, keepdim=True)
            hit = distance.gather(1, first)[:, 0]
            result[index] = torch.where(passed.any(1), hit, float("inf"))
        return result


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


def see_ball(ball: DensityBall, views: Sequence[View], hidden: Occlusion, total_rays: int) -> list[SeenPart]:
    """Return what views show within a ball, with about so many rays in all.

    Args:
        ball: The scene's density there.
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


def see_in_view(ball: DensityBall, view: View, scale: float, hidden: Occlusion) -> SeenPart | None:
    """Return what one view shows within a ball; None if it does not show it.

    Args:
        ball: The scene's density there.
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
