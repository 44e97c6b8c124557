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
        self, images: Sequence[Shaped[Tensor, "h w *C"]], blank: bool = False
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

    def split(self, sheet: Shaped[Tensor, "H W *C"]) -> list[Shaped[Tensor, "h w *C"]]:
        """Split a sheet into its `count` images."""
        height, width = sheet.shape[0] // self.rows, sheet.shape[1] // self.columns
        cells = [
            sheet[row * height : (row + 1) * height, column * width : (column + 1) * width]
            for row in range(self.rows)
            for column in range(self.columns)
        ]
        return cells[: self.count]
