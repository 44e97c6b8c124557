"""A grid of values that are zero almost everywhere, kept in blocks and interpolated linearly.

M points, B blocks. The value of a grid point that no block holds is exactly 0, and so is all that is
interpolated between such points.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Float16, Int32, Int64
from torch import Tensor, nn

from nerf_insert.geometry.cameras import Rays
from nerf_insert.kernels import march

SIDE = 8  # grid points along each side of a block
POINTS = SIDE**3
WIDE = SIDE + 1  # grid points along a side of a block whose cells have all their corners
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
    _near: Bool[Tensor, "X Y Z"]
    _cells_of: Int64[Tensor, " XYZ"]
    _cells: Float16[Tensor, "Q 3"]
    _wide: Bool[Tensor, "U V W"]

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
        self.register_buffer("_cells_of", near.view(-1).long().cumsum(0) - 1, persistent=False)
        self.register_buffer("_cells", self._with_corners(near), persistent=False)
        # For rays: these blocks and their neighbors, one block wider on all sides.
        wide = torch.nn.functional.pad(near.float(), (2,) * 6)
        wide = torch.nn.functional.max_pool3d(wide[None], 3, stride=1)[0] > 0
        self.register_buffer("_wide", wide, persistent=False)

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

    def meets(self, rays: Rays) -> Bool[Tensor, " N"]:
        """Tell which rays come near a place that is not 0; all others meet none.

        A ray through a block that holds something stays in the block and its neighbors for at least a block's
        width, twice the distance of the points that are looked at.
        """
        block = SIDE * self.cell
        low = self.origin.double() - block
        sides = torch.tensor(self._wide.shape, device=low.device)
        samples = march(
            rays.origins,
            rays.directions,
            self._wide.to(rays.origins.device),
            bounds=torch.stack([low, low + block * sides]).cpu(),
            step=block / 2,
        )
        return samples.offsets.diff() > 0

    def interpolate(self, points: Float[Tensor, "M 3"]) -> Float[Tensor, "M 3"]:
        """Return the values at points, world coordinates; exactly 0 away from the points that are not."""
        out = torch.zeros_like(points)
        _, blocks_y, blocks_z = self.block_of.shape
        size = SIDE * torch.tensor(self.block_of.shape, device=points.device)
        near = self._near.view(-1)
        for start in range(0, len(points), QUERY_AT_ONCE):
            at = (points[start : start + QUERY_AT_ONCE] - self.origin) / self.cell
            index = ((at >= 0) & (at < size)).all(-1).nonzero()[:, 0]
            at = at.index_select(0, index)
            low = at.long()
            block = low // SIDE
            flat = (block[:, 0] * blocks_y + block[:, 1]) * blocks_z + block[:, 2]
            kept = near.index_select(0, flat).nonzero()[:, 0]
            if len(kept):
                at, low, flat = (part.index_select(0, kept) for part in (at, low, flat))
                found = self._between(flat, low % SIDE, at - low)
                out.index_copy_(0, start + index.index_select(0, kept), found)
        return out

    def _between(
        self, block: Int64[Tensor, " M"], within: Int64[Tensor, "M 3"], fraction: Float[Tensor, "M 3"]
    ) -> Float[Tensor, "M 3"]:
        """Interpolate between the corners of cells, given by the block and the lowest corner in it."""
        place = (within[:, 0] * WIDE + within[:, 1]) * WIDE + within[:, 2]
        first = self._cells_of.index_select(0, block) * WIDE**3 + place
        total = torch.zeros_like(fraction)
        for corner in CORNERS:
            offset = (corner[0] * WIDE + corner[1]) * WIDE + corner[2]
            value = self._cells.index_select(0, first + offset).float()
            x, y, z = (fraction[:, k] if corner[k] else 1 - fraction[:, k] for k in range(3))
            total += (x * y * z)[:, None] * value
        return total

    def _with_corners(self, near: Bool[Tensor, "X Y Z"]) -> Float16[Tensor, "Q 3"]:
        """Return the values of some blocks, each with the next blocks' points that its cells reach."""
        wide = self.values.new_zeros(int(near.sum()), WIDE, WIDE, WIDE, 3)
        number = torch.nn.functional.pad(self.block_of, (0, 1, 0, 1, 0, 1))
        for corner in CORNERS:
            x, y, z = (torch.arange(near.shape[k], device=near.device) + corner[k] for k in range(3))
            block = number[x[:, None, None], y[:, None], z][near].long()
            values = self.values[block].view(-1, SIDE, SIDE, SIDE, 3)
            ours = tuple(slice(SIDE, WIDE) if side else slice(0, SIDE) for side in corner)
            theirs = tuple(slice(0, 1) if side else slice(0, SIDE) for side in corner)
            wide[(slice(None), *ours)] = values[(slice(None), *theirs)]
        return wide.view(-1, 3)
