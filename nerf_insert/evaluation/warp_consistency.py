"""Whether an edit is one thing from every side: the render of one view, warped by its depth into the next.

A scene that was not changed at all is perfectly consistent, so this figure is never given without how much
the edit changed. H and W are a view's height and width, N the number of points.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from nerf_insert.geometry.cameras import Camera
from nerf_insert.geometry.sampling import sample_bilinear
from nerf_insert.regions.region import Region
from nerf_insert.rendering.shaded_samples import Rendered

NEAR = 0.02  # a point is visible if the other view's depth is that close to its distance, as a share of it
FEWEST = 50  # pixels that two views must share


def warped_error(
    one: tuple[Camera, Rendered],
    other: tuple[Camera, Rendered],
    regions: Sequence[Region],
) -> tuple[float, int]:
    """(sum of squared differences of color, mean over the channels; number of pixels): surface points that
    `one` shows inside a region, where `other` shows them too, against what `other` shows there."""
    camera, render = one
    rays = camera.rays()
    depth = render.depth.reshape(-1)
    index = depth.isfinite().nonzero()[:, 0]
    points = rays[index].at(depth[index])
    inside = torch.zeros(len(points), dtype=torch.bool)
    for region in regions:
        inside |= region.contains(points)
    index, points = index[inside], points[inside]
    where = other[0].project(points)
    seen = where.inside & (nearest(other[1].depth, where.pixels) - where.distance).abs().lt(
        NEAR * where.distance
    )
    if not seen.any():
        return 0.0, 0
    shown = sample_bilinear(other[1].rgb, where.pixels[seen])
    mine = render.rgb.reshape(-1, 3)[index[seen]]
    return float(((shown - mine).double() ** 2).mean(-1).sum()), int(seen.sum())


@dataclass
class Warping:
    """The figure over a sequence of views: pictures are compared with the one before."""

    regions: Sequence[Region]
    error: float = 0.0
    pixels: int = 0
    pairs: int = 0
    before: tuple[Camera, Rendered] | None = field(default=None, repr=False)

    def add(self, camera: Camera, render: Rendered) -> None:
        if self.before is not None:
            error, pixels = warped_error(self.before, (camera, render), self.regions)
            if pixels >= FEWEST:
                self.error, self.pixels, self.pairs = self.error + error, self.pixels + pixels, self.pairs + 1
        self.before = camera, render

    @property
    def psnr(self) -> float | None:
        """dB, at most 120; None where no two neighbors share enough."""
        if not self.pixels:
            return None
        return -10 * float(torch.tensor(self.error / self.pixels).clamp_min(1e-12).log10())


def nearest(values: Float[Tensor, "H W"], pixels: Float[Tensor, "N 2"]) -> Float[Tensor, " N"]:
    """The value of the pixel that a place (x, y) lies in."""
    x, y = pixels.long().unbind(-1)
    return values[y.clamp(0, values.shape[0] - 1), x.clamp(0, values.shape[1] - 1)]


def changed(
    base: Float[Tensor, "H W 3"], edited: Float[Tensor, "H W 3"], where: Bool[Tensor, "H W"]
) -> float | None:
    """The mean change of a channel, 0..1, over the pixels `where`; None if there are none."""
    return float((base - edited)[where].abs().mean()) if bool(where.any()) else None
