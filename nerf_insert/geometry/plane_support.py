"""The part of a plane that a scene's surface lies on. World coordinates and units."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from nerf_insert.geometry.planes import Plane

CELLS = 100  # of the extent, in which a plane's support is drawn
CLOSED_CELLS = 15  # radius of the gaps in it that are closed


class PlaneSupport:
    """The part of a plane that points lie on, without small gaps and holes.

    Args:
        plane: The plane.
        points: Points of the scene's surfaces.
        extent: Scale of the points, world units.
    """

    def __init__(self, plane: Plane, points: Float[Tensor, "N 3"], extent: float) -> None:
        from scipy.ndimage import binary_closing, binary_fill_holes

        self.plane, self.cell = plane, extent / CELLS
        cells = self._cells(points[plane.height(points).abs() < plane.tolerance])
        self._low = cells.amin(0) - CLOSED_CELLS - 1
        size = (cells.amax(0) - self._low + CLOSED_CELLS + 2).tolist()
        drawn = np.zeros(size, bool)
        drawn[tuple((cells - self._low).T.numpy())] = True
        x = np.arange(-CLOSED_CELLS, CLOSED_CELLS + 1)
        disk = x[:, None] ** 2 + x**2 <= CLOSED_CELLS**2
        self._closed = torch.from_numpy(np.asarray(binary_fill_holes(binary_closing(drawn, disk))))

    @property
    def shape(self) -> tuple[int, int]:
        """The number of cells along both sides, those without support among them."""
        rows, columns = self._closed.shape
        return rows, columns

    def cell_of(self, points: Float[Tensor, "N 3"]) -> Int64[Tensor, " N"]:
        """Return the number of the cell that each point of the plane lies in, row by row; -1: no support."""
        at = self._cells(points) - self._low
        rows, columns = self.shape
        inside = ((at >= 0) & (at < torch.tensor([rows, columns]))).all(-1)
        number = torch.where(inside, at[:, 0] * columns + at[:, 1], 0)
        return torch.where(inside & self._closed.view(-1)[number], number, -1)

    def covers(self, points: Float[Tensor, "N 3"]) -> Bool[Tensor, " N"]:
        """Tell which points of the plane belong to its support."""
        return self.cell_of(points) >= 0

    def _cells(self, points: Float[Tensor, "N 3"]) -> Int64[Tensor, "N 2"]:
        return (self.plane.coordinates(points) / self.cell).floor().long()
