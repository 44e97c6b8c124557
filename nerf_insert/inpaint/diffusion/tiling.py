"""Several views in one picture, so that a model paints them alike, and back again.

A sheet has columns x rows cells of one size, filled row by row; cells that are left over show the last
picture again and are not painted.
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
    """The arrangement of `count` pictures."""

    count: int
    columns: int
    rows: int

    @staticmethod
    def of(count: int) -> Sheet:
        """As square as it can be, wider rather than higher."""
        columns = math.ceil(math.sqrt(count))
        return Sheet(count, columns, math.ceil(count / columns))

    def join(
        self, pictures: Sequence[Shaped[Tensor, "h w *C"]], blank: bool = False
    ) -> Shaped[Tensor, "H W *C"]:
        """The pictures, all of one size, as one. `blank`: nothing (zeros, false) in cells left over."""
        spare = torch.zeros_like(pictures[-1]) if blank else pictures[-1]
        cells = [*pictures, *[spare] * (self.columns * self.rows - self.count)]
        lines = [
            torch.cat(cells[row * self.columns : (row + 1) * self.columns], 1) for row in range(self.rows)
        ]
        return torch.cat(lines, 0)

    def split(self, sheet: Shaped[Tensor, "H W *C"]) -> list[Shaped[Tensor, "h w *C"]]:
        """The pictures again."""
        height, width = sheet.shape[0] // self.rows, sheet.shape[1] // self.columns
        cells = [
            sheet[row * height : (row + 1) * height, column * width : (column + 1) * width]
            for row in range(self.rows)
            for column in range(self.columns)
        ]
        return cells[: self.count]
