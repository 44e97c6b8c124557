"""An inpainter that returns the true images, so that only the error of the layer's fit remains.

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
    """Returns for each view the image of its name in the folder `truth`.

    It does not declare that its images are consistent, so they are painted in rounds and judged."""

    def __init__(self, truth: str):
        self.truth = Path(truth)

    def inpaint(
        self, views: Sequence[InpaintView], guide: Guide, *, strength: float, seed: int
    ) -> list[Tensor]:
        return [read_image(self.truth / Path(view.name).name)[0] for view in views]


class Oracle(BareOracle):
    """An oracle that declares that its images are consistent."""

    rounds = 1
    consistent = True
    uses_render = "none"
