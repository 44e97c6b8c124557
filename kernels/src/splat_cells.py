"""The density and color of splats at points.

Each splat is listed in the cells of a grid as coarse as the splat is large, so that it lies in at most eight
cells of its level. M points, N splats, P entries of the list.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from nerf_insert.kernels.dispatch import implementation

REACH = 3.0  # standard deviations beyond which a splat has no density
BITS = 18  # of a cell's coordinate
LEVELS = 64  # added to a level, so that it is positive


class SplatCells(NamedTuple):
    """Which splats lie in which cells.

    Attributes:
        origin: The grid's lowest corner, world coordinates.
        levels: The levels that are used; cells of level l have sides of 2^l world units.
        keys: Level and coordinates of a cell, ascending.
        splats: The splat that lies in the cell.
    """

    origin: Float[Tensor, "3"]
    levels: Int64[Tensor, " L"]
    keys: Int64[Tensor, " P"]
    splats: Int64[Tensor, " P"]


def splat_cells(means: Float[Tensor, "N 3"], scales: Float[Tensor, "N 3"]) -> SplatCells:
    """List splats, given by their centers and standard deviations, by the cells that they reach."""
    reach = REACH * scales.amax(1)
    level = torch.log2(2 * reach).ceil().long()
    origin = means.amin(0) - 1.0
    low = cells_of(means - reach[:, None], level, origin)
    high = cells_of(means + reach[:, None], level, origin)
    keys, splats = [], []
    for corner in range(8):
        side = torch.tensor([corner & 1, corner >> 1 & 1, corner >> 2 & 1], device=means.device)
        fits = ((side == 0) | (low != high)).all(1)
        x, y, z = torch.where(side == 0, low, high)[fits].unbind(1)
        keys.append((((level[fits] + LEVELS) << BITS | x) << BITS | y) << BITS | z)
        splats.append(fits.nonzero()[:, 0])
    key, order = torch.cat(keys).sort()
    return SplatCells(origin, level.unique(), key, torch.cat(splats)[order])


def cells_of(
    points: Float[Tensor, "N 3"], level: Int64[Tensor, " N"], origin: Float[Tensor, "3"]
) -> Int64[Tensor, "N 3"]:
    """Return the cells that hold points, one level each; those beyond the grid are in its outermost cells."""
    size = torch.exp2(level.double())[:, None]
    cell = ((points.double() - origin.double()) / size).floor().long()
    return cell.clamp(-1, (1 << BITS) - 2) + 1


@torch.no_grad()
def splat_density(
    points: Float[Tensor, "M 3"],
    directions: Float[Tensor, "M 3"],
    means: Float[Tensor, "N 3"],
    whitening: Float[Tensor, "N 3 3"],
    optical_depth: Float[Tensor, " N"],
    sh: Float[Tensor, "N K 3"],
    cells: SplatCells,
) -> tuple[Float[Tensor, " M"], Float[Tensor, "M 3"]]:
    """Return the density per world unit and the color at points seen along unit directions.

    A splat's density is a Gaussian that adds up to its optical depth along the line through its center.

    Args:
        points: World coordinates.
        directions: Unit vectors from the camera to the points.
        means: Centers.
        whitening: Matrices that turn offsets into standard deviations along the splats' axes.
        optical_depth: Of each splat, through its center.
        sh: Coefficients of the colors, see `splatting.spherical_harmonics`.
        cells: Those of the same splats.
    """
    arguments = (points, directions, means, whitening, optical_depth, sh, cells)
    return implementation("splat_density", points)(*arguments)
