"""A grid of values that are zero almost everywhere, kept in blocks and interpolated linearly.

M points, B blocks. The value of a grid point that no block holds is exactly 0, and so is all that is
interpolated between such points.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Float16, Int32, Int64
from torch import Tensor, nn

SIDE = 8  # grid points along each side of a block
POINTS = SIDE**3
QUERY_AT_ONCE = 1 << 18
CORNERS = [(x, y, z) for x in (0, 1) for y in (0, 1) for z in (0, 1)]


def _offsets() -> Int64[Tensor, "P 3"]:
    """The points of a block, z running fastest."""
    return torch.cartesian_prod(*(torch.arange(SIDE),) * 3)


class SparseGrid(nn.Module):
    """Three values at each point of a grid, in half precision; equal grids have equal bytes."""

    origin: Float[Tensor, "3"]
    block_of: Int32[Tensor, "X Y Z"]
    values: Float16[Tensor, "B P 3"]
    _near: Tensor

    def __init__(
        self,
        origin: Float[Tensor, "3"],
        cell: float,
        block_of: Int32[Tensor, "X Y Z"],
        values: Float16[Tensor, "B P 3"],
    ):
        """Take a grid as it is stored.

        Args:
            origin: World coordinates of the first grid point.
            cell: Distance between neighboring grid points, world units.
            block_of: The number of each block among `values`, from 1; 0: it is all zeros.
            values: The blocks' values, z running fastest; block 0 is all zeros.
        """
        super().__init__()
        self.cell = cell
        self.register_buffer("origin", origin)
        self.register_buffer("block_of", block_of)
        self.register_buffer("values", values)
        # Blocks in whose cells some corner is not 0: a cell reaches into the next block.
        held = torch.nn.functional.pad((block_of > 0).float(), (0, 1, 0, 1, 0, 1))
        near = torch.nn.functional.max_pool3d(held[None], 2, stride=1)[0] > 0
        self.register_buffer("_near", near, persistent=False)

    @staticmethod
    def from_points(
        origin: Float[Tensor, "3"],
        cell: float,
        shape: Sequence[int],
        index: Int64[Tensor, "M 3"],
        values: Float[Tensor, "M 3"],
    ) -> SparseGrid:
        """Build a grid that is 0 except at some of its points.

        Args:
            origin: World coordinates of the first grid point.
            cell: Distance between neighboring grid points, world units.
            shape: Grid points along each axis.
            index: The points that are not 0, each once.
            values: Their values.
        """
        blocks = [-(-size // SIDE) for size in shape]
        block, within = index // SIDE, index % SIDE
        flat = (block[:, 0] * blocks[1] + block[:, 1]) * blocks[2] + block[:, 2]
        used, number = flat.unique(return_inverse=True)
        block_of = torch.zeros(blocks[0] * blocks[1] * blocks[2], dtype=torch.int32)
        block_of[used] = torch.arange(1, len(used) + 1, dtype=torch.int32)
        stored = torch.zeros(len(used) + 1, POINTS, 3, dtype=torch.float16)
        stored[number + 1, (within[:, 0] * SIDE + within[:, 1]) * SIDE + within[:, 2]] = values.half()
        return SparseGrid(origin, cell, block_of.view(*blocks), stored)

    def support(self) -> tuple[Float[Tensor, "3"], Float[Tensor, "3"]]:
        """Return center and side lengths of the box outside which every interpolated value is 0."""
        held = self.block_of.nonzero()
        if not len(held):
            return self.origin.cpu(), torch.full((3,), self.cell)
        points = torch.cat([SIDE * held + offset for offset in _offsets().to(held)[:, None]])
        values = self.values[self.block_of[tuple(held.T)].long()].transpose(0, 1).reshape(-1, 3)
        used = points[(values != 0).any(-1)].double().cpu()
        origin = self.origin.double().cpu()
        low = origin + self.cell * (used.amin(0) - 1)  # interpolation ends one cell beyond the last points
        high = origin + self.cell * (used.amax(0) + 1)
        return ((low + high) / 2).float(), (high - low).float()

    def interpolate(self, points: Float[Tensor, "M 3"]) -> Float[Tensor, "M 3"]:
        """Return the values at points, world coordinates; exactly 0 away from the points that are not."""
        out = torch.zeros_like(points)
        for start in range(0, len(points), QUERY_AT_ONCE):
            at = (points[start : start + QUERY_AT_ONCE] - self.origin) / self.cell
            size = SIDE * torch.tensor(self.block_of.shape, device=points.device)
            lowest = at.floor()
            low = lowest.long()
            index = ((low >= 0) & (low < size)).all(-1).nonzero()[:, 0]
            block = low[index] // SIDE
            index = index[self._near[block[:, 0], block[:, 1], block[:, 2]]]
            if len(index):
                found = self._between(low[index], (at - lowest)[index], size)
                out[start + index] = found
        return out

    def _between(
        self, low: Int64[Tensor, "M 3"], fraction: Float[Tensor, "M 3"], size: Int64[Tensor, "3"]
    ) -> Float[Tensor, "M 3"]:
        """Interpolate between the corners of the cells whose lowest corners are given."""
        _, blocks_y, blocks_z = self.block_of.shape
        flat_blocks, flat_values = self.block_of.view(-1), self.values.view(-1, 3)
        total = torch.zeros_like(fraction)
        for corner in CORNERS:
            offset = torch.tensor(corner, device=low.device)
            at = low + offset
            known = (at < size).all(-1)
            at = torch.minimum(at, size - 1)
            block, within = at // SIDE, at % SIDE
            number = flat_blocks.index_select(
                0, (block[:, 0] * blocks_y + block[:, 1]) * blocks_z + block[:, 2]
            )
            place = (within[:, 0] * SIDE + within[:, 1]) * SIDE + within[:, 2]
            value = flat_values.index_select(0, number.long() * POINTS + place).float()
            weight = torch.where(offset > 0, fraction, 1 - fraction).prod(-1) * known
            total += weight[:, None] * value
        return total
