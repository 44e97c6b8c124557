"""Several views in one image, so that a model inpaints them consistently, and back.

A sheet has columns x rows cells of one size, filled row by row; spare cells repeat the last image and are not
inpainted.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Shaped
from torch import Tensor

from nerf_insert.inpaint.diffusion.cropping import Crop
from nerf_insert.inpaint.diffusion.sampler import SamplerInput


@dataclass(frozen=True)
class Sheet:
    """The arrangement of `count` images in a grid."""

    count: int
    columns: int
    rows: int

    @staticmethod
    def of(count: int) -> Sheet:
        """Arrange `count` images as squarely as possible, wider rather than higher."""
        columns = math.ceil(math.sqrt(count))
        return Sheet(count, columns, math.ceil(count / columns))

    def join(
        self, images: Sequence[Shaped[Tensor, "_ _ *C"]], blank: bool = False
    ) -> Shaped[Tensor, "H W *C"]:
        """Join images of one size into a sheet.

        Args:
            images: The images, `count` of them.
            blank: Fill spare cells with zeros (False) instead of the last image.
        """
        spare = torch.zeros_like(images[-1]) if blank else images[-1]
        cells = [*images, *[spare] * (self.columns * self.rows - self.count)]
        lines = [
            torch.cat(cells[row * self.columns : (row + 1) * self.columns], 1) for row in range(self.rows)
        ]
        return torch.cat(lines, 0)

    def split(self, sheet: Shaped[Tensor, "H W *C"]) -> list[Shaped[Tensor, "_ _ *C"]]:
        """Split a sheet into its `count` images."""
        height, width = sheet.shape[0] // self.rows, sheet.shape[1] // self.columns
        cells = [
            sheet[row * height : (row + 1) * height, column * width : (column + 1) * width]
            for row in range(self.rows)
            for column in range(self.columns)
        ]
        return cells[: self.count]


def group_by_size(crops: dict[int, Crop]) -> list[list[int]]:
    """Group indices of crops by the size of the crop."""
    groups: dict[tuple[int, int], list[int]] = {}
    for index, crop in crops.items():
        groups.setdefault(crop.size, []).append(index)
    return list(groups.values())


def join_inputs(sheet: Sheet, cells: Sequence[SamplerInput]) -> SamplerInput:
    """Join inputs of one size into one, their images, masks and depths arranged alike."""
    depths = [cell.depth for cell in cells if cell.depth is not None]
    return SamplerInput(
        name=", ".join(cell.name for cell in cells),
        image=sheet.join([cell.image for cell in cells]),
        mask=sheet.join([cell.mask for cell in cells], blank=True),
        depth=sheet.join(depths) if depths else None,
    )
