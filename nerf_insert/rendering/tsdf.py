"""Fusion of depth maps into a truncated signed distance field on a grid.

Curless and Levoy, "A volumetric method for building complex models from range images", SIGGRAPH 1996.
World coordinates and units; X, Y and Z are the numbers of grid points along the axes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from nerf_insert.rendering.depth_view import DepthView

TRUNCATION_CELLS = 4.0  # truncation distance
MIN_VIEWS = 2  # that have to see a grid point for its distance to be known
POINTS_AT_ONCE = 1 << 20


class TsdfGrid:
    """The mean signed distance to the surface at the points of a grid, positive in front of it.

    Distances are in truncation distances (TRUNCATION_CELLS cells) and at most 1. A view adds to the points
    that it sees and to those at most one truncation distance behind the surface.
    """

    def __init__(self, bounds: Float[Tensor, "2 3"], cell: float):
        """Make an empty grid.

        Args:
            bounds: Lowest and highest corner of the box that it covers.
            cell: Distance of neighboring grid points, world units.
        """
        self.origin, self.cell = bounds[0], cell
        lengths = (bounds[1] - bounds[0]).tolist()
        # A length of a whole number of cells must not get one more from rounding.
        self.shape = tuple(max(1, math.ceil(length / cell - 1e-4)) + 1 for length in lengths)
        self.total = torch.zeros(math.prod(self.shape))
        self.views = torch.zeros(math.prod(self.shape))  # by which each point is seen

    def points(self, index: Int64[Tensor, " M"]) -> Float[Tensor, "M 3"]:
        """Return the world coordinates of grid points, numbered with z running fastest."""
        _, size_y, size_z = self.shape
        axes = torch.stack([index // (size_y * size_z), index // size_z % size_y, index % size_z], -1)
        return self.origin + self.cell * axes

    def near(self, views: Sequence[DepthView]) -> Int64[Tensor, " M"]:
        """Return the numbers of the grid points within a truncation distance of what any view shows."""
        marked = torch.zeros(self.shape)
        for view in views:
            cells = ((view.points() - self.origin) / self.cell).round().long()
            within = ((cells >= 0) & (cells < torch.tensor(self.shape))).all(-1)
            marked[tuple(cells[within].unbind(-1))] = 1
        reach = int(TRUNCATION_CELLS)
        for axis in range(3):  # a box is as wide in each direction
            kernel = [1 + 2 * reach * (k == axis) for k in range(3)]
            padding = [reach * (k == axis) for k in range(3)]
            marked = torch.nn.functional.max_pool3d(marked[None], kernel, stride=1, padding=padding)[0]
        return marked.view(-1).nonzero()[:, 0]

    def integrate(
        self, view: DepthView, index: Int64[Tensor, " M"] | None = None, interpolate: bool = True
    ) -> None:
        """Add a view to the mean.

        Args:
            view: The depth map; its camera has to be one that can project.
            index: Numbers of the grid points to update; None: all, a part at a time.
            interpolate: Whether depth is interpolated between pixels (see `DepthView.depth_at`).

        Raises:
            InputError: If points cannot be projected into the camera, as into a panorama.
        """
        for start in range(0, len(self.total) if index is None else len(index), POINTS_AT_ONCE):
            if index is None:
                part = torch.arange(start, min(start + POINTS_AT_ONCE, len(self.total)))
            else:
                part = index[start : start + POINTS_AT_ONCE]
            projection = view.camera.project(self.points(part))
            inside = projection.inside.nonzero()[:, 0]
            depth = view.depth_at(projection.pixels[inside], interpolate)
            signed = (depth - projection.distance[inside]) / (TRUNCATION_CELLS * self.cell)
            known = signed > -1
            self.total[part[inside[known]]] += signed[known].clamp_max(1)
            self.views[part[inside[known]]] += 1

    def mean(self) -> Float[Tensor, "X Y Z"]:
        """Return the mean signed distances, however few views see a point; 0 where none does."""
        return (self.total / self.views.clamp_min(1)).view(self.shape)

    def known(self) -> Bool[Tensor, "X Y Z"]:
        """Return which points at least MIN_VIEWS views see."""
        return (self.views >= MIN_VIEWS).view(self.shape)

    def distance(self) -> Float[Tensor, "X Y Z"]:
        """Return the mean signed distances, NaN where they are not known."""
        return torch.where(self.known(), self.mean(), float("nan"))
