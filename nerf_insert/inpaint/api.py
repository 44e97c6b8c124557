"""The contract between the edit loop and whatever paints the masked part of the views.

An inpainter is any object with an `inpaint` method of this form. H and W are a view's height and width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from nerf_insert.capture.capture import View
from nerf_insert.geometry.cameras import Camera
from nerf_insert.inpaint.guide import Guide
from nerf_insert.regions.region import Region
from nerf_insert.rendering.stack import LayerStack
from nerf_insert.runtime.progress import Progress


@dataclass(frozen=True, eq=False)
class InpaintView:
    """One view to be painted."""

    name: str  # the photograph's file_path in the capture, e.g. "images/007.png"
    image: Float[Tensor, "H W 3"]  # 0..1 sRGB: the photograph with the current render inside the region
    original: Float[Tensor, "H W 3"]  # the photograph
    mask: Bool[Tensor, "H W"]  # true: paint
    depth: Float[Tensor, "H W"]  # distance along the ray to the current scene, world units (inf: none)
    camera: Camera


@runtime_checkable
class Inpainter(Protocol):
    def inpaint(
        self, views: Sequence[InpaintView], guide: Guide, *, strength: float, seed: int
    ) -> list[torch.Tensor]:
        """Paint each view where its mask is true.

        Returns one float tensor [H, W, 3] in 0..1 (sRGB) per view, in order. Pixels outside the mask
        are ignored by the caller, which keeps the photograph there.

        Optional attributes of an inpainter:
        `rounds`: of painting (see nerf_insert/editing/schedule.py);
        `batch`: most views at once; without it up to eight, and all anchors in one call;
        `consistent = True`: it paints one thing from every side, and nothing has to be corrected in the fit;
        `view_dependent = True`: it paints shine: the layer's colors may change with the direction of view;
        `shell`: thickness of the blend shell, as a share of the region's diagonal;
        `uses_render = False`: it looks at neither `image` nor `depth`: rendering them is saved, and it gets
        the photograph and infinity; `uses_render = "mask"`: the same outside the mask;
        `check(guide)`: raises InputError before any work is done;
        `settled`: after that, options that were left to it, by name: they are kept with the layer, and the
        edit is gone on with and repeated with them;
        `prepare(context)`: see EditContext.
        """
        ...


@dataclass(frozen=True, eq=False)
class EditContext:
    """What the edit is about, for an inpainter that has a `prepare(context)` method.

    The loop calls `prepare` once in every process that runs the edit, before the first `inpaint`. A preview
    with several seeds calls it once before it paints with each.
    """

    scene: LayerStack  # all that lies below the layer being made
    region: Region
    guide: Guide
    views: tuple[View, ...]  # the capture's training views, at the size that is painted
    seed: int
    progress: Progress
    strength: float = (
        1.0  # of the first round, in which nothing of the edit is there yet; later ones have less
    )
