"""The density and color of splats at points.

Each splat is listed in the cells of a grid as coarse as the splat is large, so that it lies in at most eight
cells of its level. M points, S splats, P pairs of both.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from nerf_insert.kernels import spherical_harmonics
from nerf_insert.kernels.reference_splatting import rotation_matrices
from nerf_insert.splats.splats import Splats

REACH = 3.0  # standard deviations beyond which a splat has no density
THINNEST = 0.25  # of a splat's middle scale: thinner ones are taken to be as thick, for points to meet them
BITS = 18  # of a cell's coordinate
POINTS = 1 << 15  # at once


class SplatGrid:
    """Finds the splats around points.

    Args:
        splats: World coordinates.
    """

    def __init__(self, splats: Splats):
        scales = splats.scales
        middle = scales.median(1, keepdim=True).values
        scales = torch.maximum(scales, THINNEST * middle).clamp_min(1e-9)
        self.splats, self.scales = splats, scales
        self.turn = rotation_matrices(splats.quaternions).transpose(1, 2)
        self.optical_depth = -torch.log1p(-splats.opacities.clamp_max(0.999))
        reach = REACH * scales.amax(1)
        level = torch.log2(2 * reach).ceil().long()
        self.levels = level.unique().tolist()
        self.origin = splats.means.amin(0) - 1.0
        keys, numbers = [], []
        index = torch.arange(splats.count)
        low = self._cells(splats.means - reach[:, None], level)
        high = self._cells(splats.means + reach[:, None], level)
        for corner in range(8):
            side = torch.tensor([corner & 1, corner >> 1 & 1, corner >> 2 & 1])
            fits = ((side == 0) | (low != high)).all(1)
            keys.append(self._keys(torch.where(side == 0, low, high), level)[fits])
            numbers.append(index[fits])
        key, order = torch.cat(keys).sort()
        self.keys, self.numbers = key, torch.cat(numbers)[order]

    def _cells(self, points: Float[Tensor, "M 3"], level: Int64[Tensor, " M"]) -> Int64[Tensor, "M 3"]:
        size = torch.exp2(level.double())[:, None]
        return ((points - self.origin).double() / size).floor().long().clamp(-1, (1 << BITS) - 2) + 1

    def _keys(self, cells: Int64[Tensor, "M 3"], level: Int64[Tensor, " M"]) -> Int64[Tensor, " M"]:
        x, y, z = cells.unbind(1)
        return (((level + 64) << BITS | x) << BITS | y) << BITS | z

    def query(
        self, points: Float[Tensor, "M 3"], directions: Float[Tensor, "M 3"]
    ) -> tuple[Float[Tensor, " M"], Float[Tensor, "M 3"]]:
        """Return the density per world unit and the color at points, seen along unit directions."""
        parts = [
            self._query(p, d) for p, d in zip(points.split(POINTS), directions.split(POINTS), strict=True)
        ]
        if not parts:
            return points[:, 0], points
        density, rgb = (torch.cat(column) for column in zip(*parts, strict=True))
        return density, rgb

    def _query(self, points: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
        pairs = [self._pairs(points, level) for level in self.levels]
        point, splat = (torch.cat(column) for column in zip(*pairs, strict=True))
        turn, scales = self.turn[splat], self.scales[splat]
        offset = (turn @ (points[point] - self.splats.means[splat])[..., None])[..., 0] / scales
        square = offset.square().sum(1)
        near = (square < REACH * REACH).nonzero()[:, 0]
        point, splat, square = point[near], splat[near], square[near]
        along = (turn[near] @ directions[point][..., None])[..., 0] / scales[near]
        per_length = along.norm(dim=1) / math.sqrt(2 * math.pi)
        share = self.optical_depth[splat] * per_length * torch.exp(-square / 2)
        colors = spherical_harmonics(directions[point], self.splats.sh[splat])
        density = torch.zeros(len(points)).index_add_(0, point, share)
        rgb = torch.zeros(len(points), 3).index_add_(0, point, share[:, None] * colors)
        return density, (rgb / density.clamp_min(1e-20)[:, None]).clamp(0, 1)

    def _pairs(self, points: Tensor, level: int) -> tuple[Tensor, Tensor]:
        """Return the pairs of points and splats of a level that share a cell."""
        levels = torch.full((len(points),), level)
        keys = self._keys(self._cells(points, levels), levels)
        begin = torch.searchsorted(self.keys, keys)
        counts = torch.searchsorted(self.keys, keys, right=True) - begin
        point = torch.arange(len(points)).repeat_interleave(counts)
        first = counts.cumsum(0) - counts
        return point, self.numbers[torch.arange(len(point)) + (begin - first)[point]]
