"""The interface of all regions: closed pieces of space in world coordinates.

Rendering, fitting and masks all decide through `Region.sample` what is inside, so that they agree on every
ray. N points or rays, R cells along a side of an occupancy grid; lengths are in world units.
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

CELLS = 64  # cells along each side of the grid by which rays skip what is surely outside
STEPS = 192  # samples along the diagonal of a region without thin parts
MAX_STEPS = 1024  # the most samples along a diagonal
RAY_CHUNK = 1 << 17  # rays traced at once
TESTED_AT_ONCE = 1 << 15  # remaining samples from which on all are tested, instead of sphere tracing


class Region(ABC):
    """A closed piece of space.

    Attributes:
        bounds: The axis-aligned bounding box: lowest and highest corner.
        precision: By how much `distance` may exceed the true distance outside.
        min_width: The approximate width of the thinnest parts.
        exact: Whether `distance` is the true distance outside, also far away from the border.
    """

    bounds: Float[Tensor, "2 3"]
    precision: float = 0.0
    min_width: float = float("inf")
    exact: bool = False

    @abstractmethod
    def contains(self, points: Float[Tensor, "N 3"]) -> Bool[Tensor, " N"]:
        """Return which points (world coordinates) are inside."""

    @abstractmethod
    def distance(self, points: Float[Tensor, "N 3"]) -> Float[Tensor, " N"]:
        """Return the signed distance of points (world coordinates) to the border, negative inside.

        The sign may differ from `contains`, which decides, within `precision` of the border. Far from the
        border the distance may be too small. It serves smooth ramps and skipping.
        """

    @abstractmethod
    def save(self, folder: Path) -> dict:
        """Return plain data that `nerf_insert.regions.load_region` turns back into the same region.

        Args:
            folder: Gets files for what is too large for plain data; need not exist yet.

        Raises:
            RunError: A file cannot be written.
        """

    @property
    def diagonal(self) -> float:
        """The diagonal of the bounding box."""
        return float((self.bounds[1] - self.bounds[0]).norm())

    @property
    def step(self) -> float:
        """The distance between samples along a ray, world units.

        It is small against the region and, within limits, at most half of `min_width`.
        """
        return min(self.diagonal / STEPS, max(self.min_width / 2, self.diagonal / MAX_STEPS))

    @cached_property
    def occupancy(self) -> Bool[Tensor, "R R R"]:
        """The occupancy grid that `sample` uses by default."""
        return self.occupancy_grid(CELLS)

    def occupancy_grid(self, cells: int) -> Bool[Tensor, "R R R"]:
        """Return the cells of `bounds` that may hold a point of the region (axes x, y, z).

        No such cell is missed, however thin the region is there.
        """
        distance, reach = self.cell_distances(cells)
        return distance <= reach

    def cell_distances(self, cells: int) -> tuple[Float[Tensor, "R R R"], float]:
        """Return the signed distances of the cells' centers, and how far a cell may reach beyond that.

        Args:
            cells: The number of cells along each side of `bounds`.

        Returns:
            The distances (axes x, y, z), and half a cell's diagonal plus the region's precision: a cell
            whose distance is above that has no point inside.
        """
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
        """Return the samples of equal length along each ray whose midpoints are inside.

        Args:
            rays: World coordinates.
            step: The samples' length; None: the region's own `step`. Samples begin at multiples of it,
                counted from where the ray enters `bounds`.
            offsets: Shift each ray's samples by this fraction of the step, 0 to 1.
            occupancy: Cells of `bounds` outside which no samples are wanted, for a layer that knows where it
                is empty; the result is a subset of the samples without it.
        """
        samples = self._march(rays, step, offsets, occupancy)
        return samples.select(self.contains(samples.midpoints(rays.origins, rays.directions)))

    def project(self, camera: Camera, occluders: Float[Tensor, "H W"] | None = None) -> Bool[Tensor, "H W"]:
        """Return the mask of the pixels through whose centers a ray meets the region.

        Args:
            camera: In world coordinates.
            occluders: The distance along each pixel's ray at which the scene *outside* the region becomes
                opaque (infinity: never); a pixel counts only where the region begins before that.
        """
        mask = self.entry(camera.rays()).view(camera.height, camera.width)
        return mask < (float("inf") if occluders is None else occluders)

    def entry(self, rays: Rays) -> Float[Tensor, " N"]:
        """Return the distance along each ray at which it first meets the region.

        That is the start of its first sample, infinity where it has none.
        """
        starts = range(0, rays.count, RAY_CHUNK)
        return torch.cat([self._entry(rays[k : k + RAY_CHUNK]) for k in starts] or [rays.origins[:, 0]])

    def _march(
        self,
        rays: Rays,
        step: float | None = None,
        offsets: Float[Tensor, " N"] | None = None,
        occupancy: Bool[Tensor, "R R R"] | None = None,
    ) -> Samples:
        """Return the samples that may be inside."""
        return march(
            rays.origins,
            rays.directions,
            (self.occupancy if occupancy is None else occupancy).to(rays.origins.device),
            bounds=self.bounds,
            step=step or self.step,
            offsets=offsets,
        )

    def _entry(self, rays: Rays) -> Float[Tensor, " N"]:
        # Sphere tracing over samples: each ray is at one of its samples and skips those that the distance
        # there shows to be outside, until it meets the region. When few samples are left in all, it is
        # quicker to test every one of them at once.
        samples = self._march(rays)
        first = torch.full_like(rays.origins[:, 0], float("inf"))
        if samples.count == 0:
            return first
        distances = samples.distances
        along = distances.double()
        key = along + samples.ray_index * (2 * float(along.max()) + self.diagonal)  # ascending over all rays
        current, end = samples.offsets[:-1], samples.offsets[1:]
        ray = (current < end).nonzero()[:, 0]
        current = current[ray]
        while int((end[ray] - current).sum()) > TESTED_AT_ONCE:
            points = rays.origins[ray] + distances[current][:, None] * rays.directions[ray]
            inside = self.contains(points)
            first[ray[inside]] = samples.starts[current[inside]]
            ray, current, points = ray[~inside], current[~inside], points[~inside]
            gap = (self.distance(points) - self.precision).clamp_min(0)
            current = torch.maximum(current + 1, torch.searchsorted(key, key[current] + gap))
            more = current < end[ray]
            ray, current = ray[more], current[more]
        counts = end[ray] - current
        skipped = current - (counts.cumsum(0) - counts)
        rest = torch.arange(int(counts.sum()), device=ray.device) + skipped.repeat_interleave(counts)
        ray = ray.repeat_interleave(counts)
        inside = self.contains(rays.origins[ray] + distances[rest][:, None] * rays.directions[ray])
        return first.scatter_reduce(0, ray[inside], samples.starts[rest[inside]], "amin")
