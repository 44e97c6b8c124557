"""A selection as cells of a lattice. World coordinates and units."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from nerf_insert.errors import InputError
from nerf_insert.geometry.planes import Plane
from nerf_insert.regions.distance_grid import Lattice
from nerf_insert.regions.grid_region import GridRegion
from nerf_insert.selection.cloud import SeenPart


@dataclass(frozen=True, eq=False)
class Selection:
    """A region as cells, and what the photographs show around it."""

    parts: Sequence[SeenPart]
    supports: Sequence[Plane]
    lattice: Lattice
    solid: Bool[Tensor, "X Y Z"]

    def region(self) -> GridRegion:
        """Return the region.

        Raises:
            InputError: Nothing is left of it.
        """
        if not bool(self.solid.any()):
            raise InputError("nothing is left of the thing: clicks that take away are too near the others")
        return GridRegion.of_cells(self.lattice, self.solid)

    def shown(self, part: SeenPart) -> Bool[np.ndarray, "h w"]:
        """Return the pixels of a part that show the region."""
        if not bool(self.solid.any()):
            return np.zeros(tuple(part.valid.shape), dtype=bool)
        region = self.region()
        entry = region.entry(part.camera.rays()).view(part.valid.shape)
        return (part.valid & entry.isfinite() & (entry - region.step < part.depth)).numpy()

    def within(self, points: Float[Tensor, "N 3"]) -> Bool[Tensor, " N"]:
        """Return which points lie in a cell of the region."""
        index = ((points - self.lattice.low) / self.lattice.spacing).round().long()
        known = ((index >= 0) & (index < torch.tensor(self.lattice.shape))).all(-1)
        known[known.clone()] = self.solid[tuple(index[known].T)]
        return known
