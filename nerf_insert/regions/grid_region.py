"""A region of any shape, as signed distances on a regular grid. World coordinates and units."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from nerf_insert.errors import InputError
from nerf_insert.io.files import read_tensors, write_tensors
from nerf_insert.regions.distance_grid import DistanceGrid, Lattice
from nerf_insert.regions.region import Region

FILE = "grid.safetensors"


class GridRegion(Region):
    """The points at which a distance interpolated from a grid is at most 0.

    Args:
        grid: Signed distances, negative inside; rounded to half precision, as they are saved.

    Raises:
        InputError: No point of the grid is inside, or a distance is not finite.
    """

    def __init__(self, grid: DistanceGrid):
        values = grid.values.half().float()
        if not bool(values.isfinite().all()):
            raise InputError("the region's distances are not finite")
        inside = (values <= 0).nonzero()
        if not len(inside):
            raise InputError("the region is empty")
        self._grid = DistanceGrid(grid.lattice, values)
        low, spacing = grid.lattice.low, grid.lattice.spacing
        self.bounds = torch.stack(
            [low + spacing * (inside.amin(0) - 1), low + spacing * (inside.amax(0) + 1)]
        )
        self.precision = spacing
        self.min_width = 2 * spacing

    @staticmethod
    def of_cells(lattice: Lattice, inside: Bool[Tensor, "X Y Z"]) -> GridRegion:
        """Return the region around the points of a lattice that are inside.

        Raises:
            InputError: None is.
        """
        outer, inner = (np.asarray(distance_transform_edt(m)) for m in (~inside.numpy(), inside.numpy()))
        # The border runs half way between a point that is inside and one that is not.
        distance = np.where(inside.numpy(), 0.5 - inner, outer - 0.5) * lattice.spacing
        return GridRegion(DistanceGrid(lattice, torch.from_numpy(distance.astype(np.float32))))

    def contains(self, points: Float[Tensor, "N 3"]) -> Bool[Tensor, " N"]:
        """Return which points within `bounds` have a distance of at most 0."""
        low, high = self.bounds.to(points)
        inside = ((points >= low) & (points <= high)).all(-1)
        index = inside.nonzero()[:, 0]
        inside[index] = self._grid(points.index_select(0, index)) <= 0
        return inside

    def distance(self, points: Float[Tensor, "N 3"]) -> Float[Tensor, " N"]:
        """Return the signed distance interpolated from the grid."""
        return self._grid(points)

    def save(self, folder: Path) -> dict[str, Any]:
        """Write the grid in half precision and return where it lies."""
        write_tensors(folder / FILE, {"distance": self._grid.values.half()})
        lattice = self._grid.lattice
        return {"kind": "grid", "low": lattice.low.tolist(), "spacing": lattice.spacing}

    @staticmethod
    def load(data: dict[str, Any], folder: Path) -> GridRegion:
        """Return the region that `save` described.

        Raises:
            InputError, KeyError, TypeError, ValueError: The data or the grid's file is damaged.
        """
        values = read_tensors(folder / FILE)[0]["distance"]
        if values.dim() != 3 or min(values.shape) < 2:
            raise ValueError(f"a grid of shape {tuple(values.shape)}")
        x, y, z = values.shape
        low, spacing = torch.tensor(data["low"], dtype=torch.float32), float(data["spacing"])
        if low.shape != (3,) or not spacing > 0:
            raise ValueError(f"a grid at {data['low']} with spacing {spacing}")
        return GridRegion(DistanceGrid(Lattice(low, spacing, (x, y, z)), values.float()))
