"""Where a thing stands on a support, below the height at which depth tells them apart.

Where its walls are steep right above that height, a thing goes on straight down; what is round or slopes does
not. World coordinates and units; N points, U x V cells of a support.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from scipy.ndimage import binary_fill_holes
from torch import Tensor

from nerf_insert.geometry.planes import Plane


@dataclass(frozen=True, eq=False)
class Footing:
    """The cells of a support that a thing stands on.

    Attributes:
        plane: The support.
        rough: Height up to which what rises from it may be its own rough depth.
        cell: The side of a cell.
        low: Index of the first cell.
        covered: The cells.
    """

    plane: Plane
    rough: float
    cell: float
    low: Int64[Tensor, " 2"]
    covered: Bool[Tensor, "U V"]

    @staticmethod
    def find(plane: Plane, rough: float, thing: Float[Tensor, "N 3"], cell: float) -> Footing:
        """Return where a thing stands on a support.

        Args:
            plane: The support.
            rough: Height up to which what rises from it may be its own rough depth.
            thing: Points of the thing that rise from the support.
            cell: The side of a cell.
        """
        height = plane.height(thing)
        index = (plane.coordinates(thing) / cell).floor().long()
        if not len(thing):
            return Footing(plane, rough, cell, torch.zeros(2).long(), torch.zeros(1, 1, dtype=torch.bool))
        low = index.amin(0)
        shape = tuple((index.amax(0) - low + 1).tolist())
        steep = np.ones(shape, dtype=bool)  # cells over which the thing's surface goes up through both bands
        for bottom, top in ((plane.tolerance, (plane.tolerance + rough) / 2), (rough, 2 * rough)):
            band = np.zeros(shape, dtype=bool)
            band[tuple((index[(height > bottom) & (height < top)] - low).T.numpy())] = True
            steep &= band
        return Footing(plane, rough, cell, low, torch.from_numpy(np.asarray(binary_fill_holes(steep))))

    def under(self, points: Float[Tensor, "N 3"]) -> Bool[Tensor, " N"]:
        """Return which points are on the support, as far as depth tells, where the thing stands."""
        return self._over(points) & (self.plane.height(points).abs() <= self.plane.tolerance)

    def doubts(self, points: Float[Tensor, "N 3"]) -> Bool[Tensor, " N"]:
        """Return which points may be the support's rough depth: low ones, but for the thing's own walls."""
        height = self.plane.height(points)
        return (height < self.rough) & ~(self._over(points) & (height > self.plane.tolerance))

    def _over(self, points: Float[Tensor, "N 3"]) -> Bool[Tensor, " N"]:
        """Which points are above, on or below the cells."""
        index = (self.plane.coordinates(points) / self.cell).floor().long() - self.low
        found = ((index >= 0) & (index < torch.tensor(self.covered.shape))).all(-1)
        found[found.clone()] = self.covered[tuple(index[found].T)]
        return found
