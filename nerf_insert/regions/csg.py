"""Union, intersection and dilation of regions (constructive solid geometry)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from nerf_insert.errors import InputError
from nerf_insert.regions.distance_grid import DistanceGrid, Lattice, bake
from nerf_insert.regions.region import Region

POINTS = 1 << 20  # points of the grid on which a dilated region keeps its distances


class _Combination(Region):
    kind: ClassVar[str]

    def __init__(self, regions: Sequence[Region]):
        if not regions:
            raise InputError(f"{self.kind} needs at least one region")
        self.regions = tuple(regions)
        self.precision = max(region.precision for region in self.regions)
        self.min_width = min(region.min_width for region in self.regions)

    def save(self, folder: Path) -> dict[str, Any]:
        """Return the kind and the regions, whose files go into the subfolders 0, 1, ...."""
        parts = [region.save(folder / str(index)) for index, region in enumerate(self.regions)]
        return {"kind": self.kind, "regions": parts}


class UnionRegion(_Combination):
    """Everything that lies in any of the regions.

    Raises:
        InputError: There are no regions.
    """

    kind = "union"

    def __init__(self, regions: Sequence[Region]):
        super().__init__(regions)
        corners = torch.stack([region.bounds for region in self.regions])
        self.bounds = torch.stack([corners[:, 0].amin(0), corners[:, 1].amax(0)])
        self.exact = all(region.exact for region in self.regions)

    def contains(self, points: Float[Tensor, "N 3"]) -> Bool[Tensor, " N"]:
        """Return which points any of the regions contains."""
        inside = torch.zeros(len(points), dtype=torch.bool, device=points.device)
        for region in self.regions:
            rest = (~inside).nonzero()[:, 0]
            inside[rest] = region.contains(points[rest])
        return inside

    def distance(self, points: Float[Tensor, "N 3"]) -> Float[Tensor, " N"]:
        """Return the smallest of the regions' distances; inside, the border may be farther away."""
        return torch.stack([region.distance(points) for region in self.regions]).amin(0)


class IntersectionRegion(_Combination):
    """What lies in all of the regions.

    Raises:
        InputError: There are no regions, or their bounding boxes have no point in common.
    """

    kind = "intersection"

    def __init__(self, regions: Sequence[Region]):
        super().__init__(regions)
        corners = torch.stack([region.bounds for region in self.regions])
        self.bounds = torch.stack([corners[:, 0].amax(0), corners[:, 1].amin(0)])
        if not (self.bounds[0] < self.bounds[1]).all():
            raise InputError(
                "the intersection of the regions is empty: move them together or use their union"
            )

    def contains(self, points: Float[Tensor, "N 3"]) -> Bool[Tensor, " N"]:
        """Return which points all of the regions contain."""
        inside = torch.ones(len(points), dtype=torch.bool, device=points.device)
        for region in self.regions:
            rest = inside.nonzero()[:, 0]
            inside[rest] = region.contains(points[rest])
        return inside

    def distance(self, points: Float[Tensor, "N 3"]) -> Float[Tensor, " N"]:
        """Return the largest of the regions' distances; outside, the border may be farther away."""
        return torch.stack([region.distance(points) for region in self.regions]).amax(0)


class DilatedRegion(Region):
    """Everything within a distance of a region.

    Around a box, or a union of boxes, this is exact. Around others the distances are kept on a grid of
    about a million points, whose spacing is part of `precision`.

    Args:
        region: The inner region.
        by: The distance, world units.

    Raises:
        InputError: The distance is negative or not finite.
    """

    def __init__(self, region: Region, by: float):
        if not (math.isfinite(by) and by >= 0):
            raise InputError(f"a region can be dilated by a distance of 0 or more (world units), not by {by}")
        self.region, self.by, self.exact = region, float(by), region.exact
        self.bounds = torch.stack([region.bounds[0] - self.by, region.bounds[1] + self.by])
        self.min_width = region.min_width + 2 * self.by
        self.precision = region.precision if self.exact else region.precision + self._grid.lattice.spacing

    @cached_property
    def _grid(self) -> DistanceGrid:
        lattice = Lattice.over(self.region.bounds, self.by, POINTS)
        return bake(lattice, self.region.distance, self.region.contains)

    def contains(self, points: Float[Tensor, "N 3"]) -> Bool[Tensor, " N"]:
        """Return which points are within reach of the inner region, or in it."""
        if self.by == 0:
            return self.region.contains(points)
        inside = self.distance(points) <= 0
        if self.exact:
            return inside
        rest = (~inside).nonzero()[:, 0]  # the inner region belongs to it, whatever the grid says
        inside[rest] = self.region.contains(points[rest])
        return inside

    def distance(self, points: Float[Tensor, "N 3"]) -> Float[Tensor, " N"]:
        """Return the distance to the inner region, from the grid unless it is exact, less `by`."""
        return (self.region.distance if self.exact else self._grid)(points) - self.by

    def save(self, folder: Path) -> dict[str, Any]:
        """Return `by` and the inner region, whose files go into the subfolder 0."""
        return {"kind": "dilated", "by": self.by, "region": self.region.save(folder / "0")}
