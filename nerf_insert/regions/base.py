"""What every region can do.

A region is a closed piece of space in world coordinates. Everything that asks "is this in the edit?"
(rendering, fitting, masks) asks it through `sample`, so that all of them agree to the last ray.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cached_property

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from nerf_insert.cameras import Camera, Rays
from nerf_insert.kernels import Samples, march

CELLS = 64  # cells along each side of the grid that lets a ray skip what is surely outside


class Region(ABC):
    """A closed piece of space. `bounds` is its axis-aligned box: lowest and highest corner, world units."""

    bounds: Float[Tensor, "2 3"]

    @abstractmethod
    def contains(self, points: Float[Tensor, "N 3"]) -> Bool[Tensor, "N"]:
        """Which points (world coordinates) are inside."""

    @abstractmethod
    def distance(self, points: Float[Tensor, "N 3"]) -> Float[Tensor, "N"]:
        """Signed distance to the border, negative inside, world units.

        Its sign may differ from `contains` within the region's own precision of the border; it serves
        smooth ramps, `contains` decides.
        """

    @property
    def diagonal(self) -> float:
        return float((self.bounds[1] - self.bounds[0]).norm())

    @property
    def step(self) -> float:
        """The distance between samples along a ray through the region, world units."""
        return self.diagonal / 192

    @cached_property
    def occupancy(self) -> Bool[Tensor, "R R R"]:
        return self.occupancy_grid(CELLS)

    def occupancy_grid(self, cells: int) -> Bool[Tensor, "R R R"]:
        """Cells of `bounds` that may hold a point of the region (axes x, y, z); never misses one that
        is wider than half a cell."""
        fine = 2 * cells
        axes = [
            torch.linspace(float(self.bounds[0, k]), float(self.bounds[1, k]), 2 * fine + 1)[1::2] for k in range(3)
        ]
        points = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)
        inside = torch.cat([self.contains(part) for part in points.split(1 << 20)])
        inside = inside.view(1, 1, fine, fine, fine).float()
        coarse = torch.nn.functional.max_pool3d(inside, 2)
        return torch.nn.functional.max_pool3d(coarse, 3, stride=1, padding=1)[0, 0] > 0

    def sample(
        self,
        rays: Rays,
        step: float | None = None,
        offsets: Float[Tensor, "N"] | None = None,
        occupancy: Bool[Tensor, "R R R"] | None = None,
    ) -> Samples:
        """Samples of equal length along each ray, those whose midpoints are inside.

        `step` is their length (default: the region's own), `offsets` in 0..1 shifts each ray's samples
        by a share of it. Sample borders are multiples of the step counted from the entry into `bounds`.
        `occupancy`: cells of `bounds` outside which nothing is wanted, for a layer that knows where it
        is empty; the samples are then some of those that there would be without it.
        """
        step = step or self.step
        samples = march(
            rays.origins,
            rays.directions,
            self.occupancy if occupancy is None else occupancy,
            bounds=self.bounds,
            step=step,
            offsets=offsets,
        )
        inside = self.contains(samples.midpoints(rays.origins, rays.directions))
        return samples.select(inside)

    def project(self, camera: Camera, occluders: Float[Tensor, "H W"] | None = None) -> Bool[Tensor, "H W"]:
        """The pixels through whose centres a ray meets the region.

        `occluders`: for each pixel the distance along its ray at which the scene *outside* the region
        becomes opaque (infinity: never); a pixel counts only where the region begins before that.
        """
        mask = self.entry(camera.rays()).view(camera.height, camera.width)
        return mask < (float("inf") if occluders is None else occluders)

    def entry(self, rays: Rays) -> Float[Tensor, "N"]:
        """The distance at which each ray first meets the region, infinity where it never does."""
        samples = self.sample(rays)
        first = torch.full((rays.count,), float("inf"))
        return first.scatter_reduce(0, samples.ray_index, samples.starts, "amin")

    @abstractmethod
    def to_dict(self) -> dict:
        """Plain data that `nerf_insert.regions.from_dict` turns back into the same region."""
