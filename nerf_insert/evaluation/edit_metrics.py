"""Metrics of an edit that need no truth, over a sequence of views.

    change, change_lpips       how much the edit changed: the mean of a channel over the pixels whose rays
                               meet a region, 0..1; LPIPS between the two images
    warped, warped_base        agreement between views: PSNR of each image warped into the next, over surfaces
                               in a region that both show; the same of the base, for comparison
    clip_direction             whether the images changed as the text says (see clip_metrics.py)
    clip_consistency           whether they all changed in the same way

None means anything by itself: an edit that changes nothing agrees perfectly between views.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from jaxtyping import Bool
from torch import Tensor

from nerf_insert.evaluation.clip_metrics import ClipDirections, load_clip
from nerf_insert.evaluation.warp_consistency import WarpConsistency, mean_change
from nerf_insert.geometry.cameras import Camera
from nerf_insert.io.images import to_uint8
from nerf_insert.rendering.shaded_samples import Rendered
from nerf_insert.rendering.stack import LayerStack


@dataclass(frozen=True)
class Captions:
    """The scene in words, before the edit and after it."""

    before: str | None = None
    after: str | None = None
    clip: str | None = None  # folder or name of CLIP's weights; None: those in the cache


@dataclass
class EditMetrics:
    """Adds up the metrics, view by view."""

    stack: LayerStack
    captions: Captions
    lpips: Callable[..., float | None] | None
    left_out: dict[str, str] = field(default_factory=dict)  # metric: why it could not be computed
    changes: dict[str, list[float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        regions = [layer.region for layer in self.stack.layers]
        self.warping = {"warped_base": WarpConsistency(regions), "warped": WarpConsistency(regions)}
        embed, why_not = load_clip(self.captions.clip)
        before, after = self.captions.before, self.captions.after
        texts = (before, after) if before and after else None
        self.directions = ClipDirections(embed, texts) if embed else None
        if embed is None:
            self.left_out |= dict.fromkeys(("clip_direction", "clip_consistency"), why_not)
        elif texts is None:
            self.left_out["clip_direction"] = (
                "it compares two texts: give --caption-before and --caption-after"
            )
        if self.lpips is None:
            self.left_out["change_lpips"] = "it needs LPIPS"

    def add(self, camera: Camera, base: Rendered, edited: Rendered, inside: Bool[Tensor, "H W"]) -> None:
        """Add the next view.

        Args:
            camera: Its camera.
            base: The scene without layers.
            edited: The scene with its layers.
            inside: The pixels whose rays meet a region.
        """
        old, new = (to_uint8(render.rgb).float() / 255 for render in (base, edited))
        metrics = {"change": mean_change(old, new, inside)}
        if self.lpips is not None:
            metrics["change_lpips"] = self.lpips(new, old, None)
        for name, value in metrics.items():
            if value is not None:
                self.changes.setdefault(name, []).append(value)
        self.warping["warped_base"].add(camera, base)
        self.warping["warped"].add(camera, edited)
        if self.directions is not None:
            self.directions.add(old, new)

    def result(self) -> dict[str, float]:
        """Return the metrics by name; `left_out` says why others are missing."""
        found = {name: sum(values) / len(values) for name, values in self.changes.items()}
        for name, warping in self.warping.items():
            if warping.psnr is None:
                self.left_out[name] = "no two neighboring views see enough of the regions' surfaces in common"
            else:
                found[name] = warping.psnr
        if self.directions is not None:
            metrics = {
                "clip_direction": self.directions.direction,
                "clip_consistency": self.directions.consistency,
            }
            for name, value in metrics.items():
                if value is not None:
                    found[name] = value
                else:
                    self.left_out.setdefault(name, "too few views show the edit")
        return found
