"""What every region can do.

A region is a closed piece of space in world coordinates. Everything that asks "is this in the edit?"
(rendering, fitting, masks) asks it through `sample`, so that all of them agree to the last ray.
N points or rays, R cells along a side of an occupancy grid.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cached_property
from pathlib import Path

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from nerf_insert.geometry.cameras import Camera, Rays
from nerf_insert.kernels import Samples, march

CELLS = 64  # cells along each side of the grid that lets a ray skip what is surely outside
STEPS = 192  # samples along the diagonal of a region that has no thin parts
MAX_STEPS = 1024  # ... and at most
RAYS_AT_ONCE = 1 << 17
FEW = 1 << 15  # samples


class Region(ABC):
    """A closed piece of space. `bounds` is its axis-aligned box: lowest and highest corner, world units.

    `precision`: by how much, in world units, `distance` may be wrong where it matters: outside it never
    exceeds the true distance by more. `min_width`: what its thin parts measure across, roughly.
    `exact`: whether `distance` is the true distance also far away from the border, outside.
    """

    bounds: Float[Tensor, "2 3"]
    precision: float = 0.0
    min_width: float = float("inf")
    exact: bool = False

    @abstractmethod
    def contains(self, points: Float[Tensor, "N 3"]) -> Bool[Tensor, " N"]:
        """Which points (world coordinates) are inside."""

    @abstractmethod
    def distance(self, points: Float[Tensor, "N 3"]) -> Float[Tensor, " N"]:
        """Signed distance to the border, negative inside, world units.

        Its sign may differ from `contains` within the region's precision of the border; it serves
        smooth ramps and skipping, `contains` decides. Far from the border it may be too small.
        """

    @abstractmethod
    def save(self, folder: Path) -> dict:
        """Plain data that `nerf_insert.regions.load_region`, given the folder again, turns back into the
        same region; what is too large for that goes to files in `folder`, which need not exist yet."""

    @property
    def diagonal(self) -> float:
        return float((self.bounds[1] - self.bounds[0]).norm())

    @property
    def step(self) -> float:
        """The distance between samples along a ray through the region, world units: small against the
        region, and where it can be no more than half of what its thin parts measure."""
        return min(self.diagonal / STEPS, max(self.min_width / 2, self.diagonal / MAX_STEPS))

    @cached_property
    def occupancy(self) -> Bool[Tensor, "R R R"]:
        return self.occupancy_grid(CELLS)

    def occupancy_grid(self, cells: int) -> Bool[Tensor, "R R R"]:
        """Cells of `bounds` that may hold a point of the region (axes x, y, z); never misses one,
        however thin the region is there."""
        distance, reach = self.cell_distances(cells)
        return distance <= reach

    def cell_distances(self, cells: int) -> tuple[Float[Tensor, "R R R"], float]:
        """Signed distances of the middles of the cells of `bounds`; how far from there a cell reaches, with
        the region's precision added."""
        size = (self.bounds[1] - self.bounds[0]) / cells
        axes = [self.bounds[0, k] + size[k] * (torch.arange(cells) + 0.5) for k in range(3)]
        middles = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)
        distance = torch.cat([self.distance(part) for part in middles.split(1 << 18)])
        return distance.view(cells, cells, cells), float(size.norm()) / 2 * 1.0001 + self.precision

    def sample(
        self,
        rays: Rays,
        step: float | None = None,
        offsets: Float[Tensor, " N"] | None = None,
        occupancy: Bool[Tensor, "R R R"] | None = None,
    ) -> Samples:
        """Samples of equal length along each ray, those whose midpoints are inside.

        `step` is their length (default: the region's own), `offsets` in 0..1 shifts each ray's samples
        by a share of it. Sample borders are multiples of the step counted from the entry into `bounds`.
        `occupancy`: cells of `bounds` outside which nothing is wanted, for a layer that knows where it
        is empty; the samples are then some of those that there would be without it.
        """
        samples = self._march(rays, step, offsets, occupancy)
        return samples.select(self.contains(samples.midpoints(rays.origins, rays.directions)))

    def project(self, camera: Camera, occluders: Float[Tensor, "H W"] | None = None) -> Bool[Tensor, "H W"]:
        """The pixels through whose centers a ray meets the region.

        `occluders`: for each pixel the distance along its ray at which the scene *outside* the region
        becomes opaque (infinity: never); a pixel counts only where the region begins before that.
        """
        mask = self.entry(camera.rays()).view(camera.height, camera.width)
        return mask < (float("inf") if occluders is None else occluders)

    def entry(self, rays: Rays) -> Float[Tensor, " N"]:
        """The distance at which each ray first meets the region, infinity where it never does: the start
        of its first sample."""
        starts = range(0, rays.count, RAYS_AT_ONCE)
        return torch.cat([self._entry(rays[k : k + RAYS_AT_ONCE]) for k in starts] or [rays.origins[:, 0]])

    def _march(self, rays: Rays, step=None, offsets=None, occupancy=None) -> Samples:
        """The samples that may be inside."""
        return march(
            rays.origins,
            rays.directions,
            (self.occupancy if occupancy is None else occupancy).to(rays.origins.device),
            bounds=self.bounds,
            step=step or self.step,
            offsets=offsets,
        )

    def _entry(self, rays: Rays) -> Float[Tensor, " N"]:
        # Each ray stands at one of its samples and moves on, past those that are surely too near to
        # where it stands to be inside, until it meets the region (sphere tracing, over samples). What is
        # left when few samples are is quicker looked at all at once.
        samples = self._march(rays)
        first = torch.full_like(rays.origins[:, 0], float("inf"))
        if samples.count == 0:
            return first
        middles = samples.distances
        along = middles.double()
        key = along + samples.ray_index * (2 * float(along.max()) + self.diagonal)  # ascending over all rays
        place, end = samples.offsets[:-1], samples.offsets[1:]
        ray = (place < end).nonzero()[:, 0]
        place = place[ray]
        while int((end[ray] - place).sum()) > FEW:
            points = rays.origins[ray] + middles[place][:, None] * rays.directions[ray]
            inside = self.contains(points)
            first[ray[inside]] = samples.starts[place[inside]]
            ray, place, points = ray[~inside], place[~inside], points[~inside]
            gap = (self.distance(points) - self.precision).clamp_min(0)
            place = torch.maximum(place + 1, torch.searchsorted(key, key[place] + gap))
            more = place < end[ray]
            ray, place = ray[more], place[more]
        counts = end[ray] - place
        skipped = place - (counts.cumsum(0) - counts)
        rest = torch.arange(int(counts.sum()), device=ray.device) + skipped.repeat_interleave(counts)
        ray = ray.repeat_interleave(counts)
        inside = self.contains(rays.origins[ray] + middles[rest][:, None] * rays.directions[ray])
        return first.scatter_reduce(0, ray[inside], samples.starts[rest[inside]], "amin")
