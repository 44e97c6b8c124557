"""Signed distances on a regular grid of points. X, Y, Z points along the axes, N queries; world units."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy import ndimage
from torch import Tensor

MAX_SIDE = 640  # points along the longest side


@dataclass(frozen=True, eq=False)
class Lattice:
    """The points low + spacing * (i, j, k), with i < shape[0] and so on, in world coordinates."""

    low: Float[Tensor, " 3"]
    spacing: float
    shape: tuple[int, int, int]

    @staticmethod
    def over(bounds: Float[Tensor, "2 3"], margin: float, points: int) -> Lattice:
        """Return a lattice over a box and some room around it.

        Args:
            bounds: World coordinates.
            margin: The room, world units; two points more are added.
            points: The approximate number of points.
        """
        extent = (bounds[1] - bounds[0]).double() + 2 * margin
        coarse, fine = float(extent.max()), float(extent.max()) / (MAX_SIDE - 5)
        for _ in range(50):  # the spacing that gives the wanted number, by bisection
            spacing = (coarse * fine) ** 0.5
            count = np.prod(np.ceil(extent.numpy() / spacing) + 5)
            coarse, fine = (coarse, spacing) if count > points else (spacing, fine)
        x, y, z = (int(n) for n in np.ceil(extent.numpy() / coarse) + 5)
        shape = (x, y, z)
        center = bounds.double().mean(0)
        low = center - coarse * (torch.tensor(shape).double() - 1) / 2
        return Lattice(low.float(), float(coarse), shape)

    @property
    def bounds(self) -> Float[Tensor, "2 3"]:
        """The lowest and the highest point."""
        return torch.stack([self.low, self.low + self.spacing * (torch.tensor(self.shape) - 1)])

    def points(self) -> Float[Tensor, "XYZ 3"]:
        """Return all points, z running fastest."""
        axes = [self.low[k] + self.spacing * torch.arange(self.shape[k]) for k in range(3)]
        return torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)


@dataclass(frozen=True, eq=False)
class DistanceGrid:
    """Signed distances at the points of a lattice, interpolated linearly in between."""

    lattice: Lattice
    values: Float[Tensor, "X Y Z"]  # world units

    def __call__(self, points: Float[Tensor, "N 3"]) -> Float[Tensor, " N"]:
        """Return distances at world coordinates.

        Outside the lattice's box B they are at most the true distance, because the whole region lies in B:
        with b the point of B nearest to p, |p - r|^2 >= |p - b|^2 + |b - r|^2 for all r in B, as B is convex.
        """
        if len(points) == 0:
            return points[:, 0]
        low, high = self.lattice.bounds.to(points)
        scale = 2 / (high - low)
        unit = (points * scale).add_(-1 - low * scale)  # -1 to 1 within the lattice
        value = torch.nn.functional.grid_sample(
            self.values.to(points).movedim(0, 2).movedim(0, 1)[None, None],  # grid_sample wants z, y, x
            unit[None, None, None],
            align_corners=True,
            padding_mode="border",  # as at the nearest point of the lattice's box
        ).view(-1)
        if float(unit.abs().amax()) <= 1:
            return value
        away = (points - torch.minimum(torch.maximum(points, low), high)).square().sum(-1)
        return torch.where(away > 0, (away + value.clamp_min(0).square()).sqrt(), value)


def bake(
    lattice: Lattice,
    distance: Callable[[Float[Tensor, "N 3"]], Float[Tensor, " N"]],
    contains: Callable[[Float[Tensor, "N 3"]], Bool[Tensor, " N"]],
) -> DistanceGrid:
    """Return true distances, given a function that need be right near the border only.

    Points within one spacing of the border keep what `distance` returns. Every other point adds the distance
    of the nearest of these to its way there, which errs by a fraction of the spacing.

    Args:
        lattice: Where to compute distances.
        distance: Signed distances at world coordinates, right near the border.
        contains: Which world coordinates are inside.
    """
    parts = lattice.points().split(1 << 18)
    values = torch.cat([distance(part) for part in parts]).view(lattice.shape).numpy() / lattice.spacing
    inside = torch.cat([contains(part) for part in parts]).view(lattice.shape).numpy()
    return DistanceGrid(
        lattice, torch.from_numpy(extend(values, inside, np.abs(values) <= 1) * lattice.spacing)
    )


def nearest_marked(
    marked: Bool[np.ndarray, "X Y Z"],
) -> tuple[Float[np.ndarray, "X Y Z"], tuple[Int[np.ndarray, "X Y Z"], ...]]:
    """Return each grid point's distance to the nearest marked one, in spacings, and that one's indices."""
    found = ndimage.distance_transform_edt(~marked, return_indices=True)
    distance, indices = cast(tuple[np.ndarray, np.ndarray], found)
    return distance, tuple(indices)


def extend(
    values: Float[np.ndarray, "X Y Z"], inside: Bool[np.ndarray, "X Y Z"], near: Bool[np.ndarray, "X Y Z"]
) -> Float[np.ndarray, "X Y Z"]:
    """Return signed distances everywhere, extended from those where `near`; in units of the spacing."""
    if not near.any():
        return values
    way, nearest = nearest_marked(near)
    there = values[nearest]
    far = np.where(inside, -np.maximum(way - there, 0), np.maximum(way + there, 0))
    return np.where(near, values, far).astype(np.float32)
