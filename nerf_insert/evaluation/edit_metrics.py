"""What can be said of an edit without knowing the truth, over a sequence of views:

    change            how much the edit changed: the mean of a channel over the pixels whose rays meet a
                      region, 0..1; and LPIPS between the two pictures
    warped            agreement from view to view: PSNR of each picture warped into the next, over what is in
                      a region and seen in both; beside it the same of the base, the scene's own figure
    clip_direction    whether the pictures changed as the text says; see clip_model.py
    clip_consistency  whether they all changed in the same way

None means anything by itself: an edit that changed nothing agrees perfectly from view to view.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from jaxtyping import Bool
from torch import Tensor

from nerf_insert.evaluation.clip_metrics import Directions, load_clip
from nerf_insert.evaluation.warp_consistency import Warping, changed
from nerf_insert.geometry.cameras import Camera
from nerf_insert.io.images import to_uint8
from nerf_insert.rendering.shaded_samples import Rendered
from nerf_insert.rendering.stack import LayerStack


@dataclass(frozen=True)
class Captions:
    """The scene in words, before the edit and after; and where CLIP lies, unless it is in the cache."""

    before: str | None = None
    after: str | None = None
    clip: str | None = None


@dataclass
class EditFigures:
    stack: LayerStack
    captions: Captions
    lpips: Callable[..., float | None] | None
    left_out: dict[str, str] = field(default_factory=dict)
    changes: dict[str, list[float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        regions = [layer.region for layer in self.stack.layers]
        self.warping = {"warped_base": Warping(regions), "warped": Warping(regions)}
        embed, why_not = load_clip(self.captions.clip)
        both = self.captions.before, self.captions.after
        self.directions = Directions(embed, both if all(both) else None) if embed else None
        if embed is None:
            self.left_out |= dict.fromkeys(("clip_direction", "clip_consistency"), why_not)
        elif not all(both):
            self.left_out["clip_direction"] = (
                "it compares two texts: give --caption-before and --caption-after"
            )
        if self.lpips is None:
            self.left_out["change_lpips"] = "it needs LPIPS"

    def add(self, camera: Camera, base: Rendered, edited: Rendered, inside: Bool[Tensor, "H W"]) -> None:
        """The next view: the scene without layers and with them, and the pixels whose rays meet a region."""
        old, new = (to_uint8(render.rgb).float() / 255 for render in (base, edited))
        figures = {"change": changed(old, new, inside)}
        if self.lpips is not None:
            figures["change_lpips"] = self.lpips(new, old, None)
        for name, value in figures.items():
            if value is not None:
                self.changes.setdefault(name, []).append(value)
        self.warping["warped_base"].add(camera, base)
        self.warping["warped"].add(camera, edited)
        if self.directions is not None:
            self.directions.add(old, new)

    def result(self) -> dict[str, Any]:
        """The figures; those that cannot be had are in `left_out`, with the reason."""
        found = {name: sum(values) / len(values) for name, values in self.changes.items()}
        for name, warping in self.warping.items():
            if warping.psnr is None:
                self.left_out[name] = "no two neighboring views see enough of the regions' surfaces in common"
            else:
                found[name] = warping.psnr
        if self.directions is not None:
            figures = {
                "clip_direction": self.directions.direction,
                "clip_consistency": self.directions.consistency,
            }
            for name, value in figures.items():
                if value is not None:
                    found[name] = value
                else:
                    self.left_out.setdefault(name, "too few views show the edit")
        return found
