"""The part of a scene within a ball, which rays through it see quickly. World coordinates and units."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from nerf_insert.geometry.cameras import Rays
from nerf_insert.rendering.depth_view import Renderer
from nerf_insert.rendering.protocols import SplatBase
from nerf_insert.rendering.stack import LayerStack

CELLS = 112  # grid points across a ball
STEPS = 144  # samples along a ray through a ball
RAYS_AT_ONCE = 1 << 14
OPAQUE = 0.6931  # optical depth that stops half of the light


@runtime_checkable
class Scene(Renderer, Protocol):
    """What things are selected in: a `LayerStack`, or a formula in a test."""

    def query(
        self, points: Float[Tensor, "M 3"], directions: Float[Tensor, "M 3"], rendered: bool = False
    ) -> tuple[Float[Tensor, " M"], Float[Tensor, "M 3"]]:
        """Return density per world unit and sRGB color."""
        ...


@runtime_checkable
class Ball(Protocol):
    """The part of a scene within a ball."""

    @property
    def center(self) -> Float[Tensor, " 3"]:
        """Its center."""
        ...

    @property
    def radius(self) -> float:
        """Its radius."""
        ...

    def depth(self, rays: Rays) -> Float[Tensor, " N"]:
        """Return the distance at which half of each ray's light is stopped in the ball; infinity: never."""
        ...


def look_inside(scene: Scene, center: Float[Tensor, " 3"], radius: float) -> Ball:
    """Return the part of a scene within a ball.

    Args:
        scene: The scene.
        center: The ball's center.
        radius: Its radius.
    """
    if isinstance(scene, LayerStack) and isinstance(scene.base, SplatBase):
        part = LayerStack(scene.base.within(center, radius), scene.layers, scene.options)
        return SplatBall(center, radius, part)
    return DensityBall.bake(scene, center, radius)


@dataclass(frozen=True, eq=False)
class SplatBall:
    """The splats that reach into a ball: they are quick to rasterize, and too thin for a grid."""

    center: Float[Tensor, " 3"]
    radius: float
    part: LayerStack

    def depth(self, rays: Rays) -> Float[Tensor, " N"]:
        """Return the distance at which half of each ray's light is stopped in the ball; infinity: never."""
        depth = self.part.render(rays).depth
        inside = (rays.at(depth) - self.center).norm(dim=-1) < self.radius
        return torch.where(inside, depth, float("inf"))


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
