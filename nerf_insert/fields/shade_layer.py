"""A shade layer: what an edit does to the light around it, as a ratio on the colors below.

    color (x, d) = ratio(x) * color below (x, d), in linear light; density as below

The ratio is the light at a surface with the inserted thing over the light without it (Debevec, "Rendering
synthetic objects into real scenes", 1998): below 1 in its shadow, above 1 where it throws light back. It is 1
exactly at the border of the layer's region and wherever the grid says nothing, and such points keep their
colors bit for bit.

M points, world coordinates; colors are sRGB in 0..1.
"""

from __future__ import annotations

from pathlib import Path

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from nerf_insert.errors import InputError
from nerf_insert.fields.sparse_grid import POINTS, SparseGrid
from nerf_insert.geometry.cameras import Rays
from nerf_insert.geometry.color import linear_to_srgb, srgb_to_linear
from nerf_insert.io.files import read_tensors, write_tensors
from nerf_insert.regions.box import BoxRegion

KIND = "shade"
FILE = "shade.safetensors"


class ShadeLayer(nn.Module):
    """A region and the ratio in it; a `rendering.protocols.ShadeField`."""

    region: BoxRegion

    def __init__(self, change: SparseGrid, strength: float = 1.0):
        """Make a shade layer; its region is the box around all that the grid changes.

        Args:
            change: The ratio, less 1.
            strength: The power to which the ratio is raised: 0 is no shade, 1 is as computed.
        """
        super().__init__()
        self.region, self.change, self.strength = BoxRegion(*change.support()), change, strength

    def meets(self, rays: Rays) -> Bool[Tensor, " N"]:
        """Tell which rays in the region come near a point whose color changes; no others meet one."""
        if self.strength == 0:
            return torch.zeros(rays.count, dtype=torch.bool, device=rays.origins.device)
        return self.region.entry(rays).isfinite() & self.change.meets(rays)

    def ratio(self, points: Float[Tensor, "M 3"]) -> Float[Tensor, "M 3"]:
        """Return the factor on the linear colors below; exactly 1 where nothing changes."""
        change = self.change.interpolate(points)
        ratio = (1 + change).clamp_min(0)
        return ratio if self.strength == 1 else torch.where(change == 0, 1.0, ratio**self.strength)

    def shade(self, points: Float[Tensor, "M 3"], rgb: Float[Tensor, "M 3"]) -> Float[Tensor, "M 3"]:
        """Return the colors with this shade on them; unchanged ones bit for bit."""
        ratio = self.ratio(points)
        index = (ratio != 1).any(-1).nonzero()[:, 0]
        if not len(index):
            return rgb
        linear = ratio[index] * srgb_to_linear(rgb[index])
        return rgb.index_copy(0, index, linear_to_srgb(linear).clamp(0, 1))

    def save(self, path: Path) -> None:
        """Write the ratio to a safetensors file; the strength is not in it.

        Raises:
            RunError: The file cannot be written.
        """
        grid = self.change
        tensors = {"origin": grid.origin, "block_of": grid.block_of, "values": grid.values}
        write_tensors(path, tensors, {"kind": KIND, "cell": repr(grid.cell)})

    @staticmethod
    def load(path: Path, strength: float = 1.0) -> ShadeLayer:
        """Read a file that `save` wrote.

        Raises:
            InputError: The file is no such file.
        """
        tensors, metadata = read_tensors(path)
        try:
            if metadata["kind"] != KIND:
                raise ValueError(f"it is of the kind {metadata['kind']}")
            names = ("origin", "block_of", "values")
            origin, block_of, values = (tensors[name] for name in names)
            cell = float(metadata["cell"])
            _check(origin, cell, block_of, values)
        except (KeyError, ValueError) as cause:
            raise InputError(f"{path} does not hold a shade layer of NeRF-Insert: {cause}") from cause
        return ShadeLayer(SparseGrid(origin, cell, block_of, values), strength).eval()


def _check(origin: Tensor, cell: float, block_of: Tensor, values: Tensor) -> None:
    """Raise ValueError unless these make a grid whose every look-up lies within it."""
    sound = (
        origin.shape == (3,)
        and cell > 0
        and block_of.dim() == 3
        and block_of.dtype == torch.int32
        and values.dim() == 3
        and values.dtype == torch.float16
        and values.shape[1:] == (POINTS, 3)
        and len(values) > 0
    )
    if not sound:
        raise ValueError("its tensors have other shapes or types")
    if block_of.numel() and not 0 <= int(block_of.min()) <= int(block_of.max()) < len(values):
        raise ValueError("it refers to blocks that it does not have")
    if not bool(values.isfinite().all()) or bool(values[0].any()):
        raise ValueError("its values are not finite, or its empty block is not empty")
