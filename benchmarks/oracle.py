"""An inpainter that hands back the true pictures: what is left is what the layer's fit loses.

nerf-insert edit SCENE --mesh object.ply --inpainter benchmarks.oracle:Oracle --inpainter-option truth=DIR
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from nerf_insert.inpaint.api import InpaintView
from nerf_insert.inpaint.guide import Guide
from nerf_insert.io.images import read_image


class BareOracle:
    """Answers each view with the picture of its name in the folder `truth`, and says nothing of itself, as
    the contract allows: its pictures might contradict one another."""

    def __init__(self, truth: str):
        self.truth = Path(truth)

    def inpaint(
        self, views: Sequence[InpaintView], guide: Guide, *, strength: float, seed: int
    ) -> list[Tensor]:
        return [read_image(self.truth / Path(view.name).name)[0] for view in views]


class Oracle(BareOracle):
    """The same, and says what it is."""

    rounds = 1
    consistent = True
    uses_render = "none"
