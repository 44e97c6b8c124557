"""The inpainter `clear`: what is in the region goes, and what lies behind it shows."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float

from nerf_insert.inpaint.api import EditContext, Inpainter, InpaintView
from nerf_insert.inpaint.guide import Guide


class ClearInpainter(Inpainter):
    """Empties the region and fits nothing. Text, images and meshes are not used."""

    rounds = 1
    consistent = True
    removes = True
    empties = True
    blend_width = 0.0
    uses_render = "none"

    def prepare(self, context: EditContext) -> None:
        """Keep the scene and the region."""
        self.scene, self.region = context.scene, context.region

    def inpaint(
        self, views: Sequence[InpaintView], guide: Guide, *, strength: float, seed: int
    ) -> list[Float[torch.Tensor, "_ _ 3"]]:
        """Paint the scene without the region's content, as the layer will show it."""
        return [self._paint(view) for view in views]

    def _paint(self, view: InpaintView) -> Float[torch.Tensor, "H W 3"]:
        painted = view.original.clone()
        rays = view.camera.rays()[view.mask.reshape(-1)]
        painted[view.mask] = self.scene.render(rays, exclude=self.region).rgb.clamp(0, 1)
        return painted
