"""Multi-view consistency of an edit: the render of one view, warped by its depth into the next.

A scene that was not changed at all is perfectly consistent, so this metric is reported together with how
much the edit changed. H and W are a view's height and width, N the number of points.
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
from nerf_insert.rendering.depth_view import nearest_pixel
from nerf_insert.rendering.shaded_samples import Rendered

DEPTH_TOLERANCE = 0.02  # of a visible point's distance: the most that the other view's depth differs from it
MIN_SHARED_PIXELS = 50  # of two views

RenderedView = tuple[Camera, Rendered]


def warped_error(one: RenderedView, other: RenderedView, regions: Sequence[Region]) -> tuple[float, int]:
    """Compare two renders where both show the same surface points inside a region.

    Args:
        one: The view whose pixels are warped.
        other: The view that they are warped into.
        regions: Only points inside one of them count.

    Returns:
        The sum over pixels of the squared color differences, mean over the channels; the number of pixels.
    """
    camera, render = one
    rays = camera.rays()
    depth = render.depth.reshape(-1)
    index = depth.isfinite().nonzero()[:, 0]
    points = rays[index].at(depth[index])
    inside = torch.zeros(len(points), dtype=torch.bool)
    for region in regions:
        inside |= region.contains(points)
    index, points = index[inside], points[inside]
    projected = other[0].project(points)
    difference = nearest_pixel(other[1].depth, projected.pixels) - projected.distance
    visible = projected.inside & difference.abs().lt(DEPTH_TOLERANCE * projected.distance)
    if not visible.any():
        return 0.0, 0
    there = sample_bilinear(other[1].rgb, projected.pixels[visible])
    here = render.rgb.reshape(-1, 3)[index[visible]]
    return float(((there - here).double() ** 2).mean(-1).sum()), int(visible.sum())


@dataclass
class WarpConsistency:
    """The metric over a sequence of views, each warped into the one after it."""

    regions: Sequence[Region]
    error: float = 0.0
    pixels: int = 0
    pairs: int = 0
    previous: RenderedView | None = field(default=None, repr=False)

    def add(self, camera: Camera, render: Rendered) -> None:
        """Add the next view."""
        if self.previous is not None:
            error, pixels = warped_error(self.previous, (camera, render), self.regions)
            if pixels >= MIN_SHARED_PIXELS:
                self.error, self.pixels, self.pairs = self.error + error, self.pixels + pixels, self.pairs + 1
        self.previous = camera, render

    @property
    def psnr(self) -> float | None:
        """PSNR over all shared pixels, dB, at most 120; None if no two neighbors share enough."""
        if not self.pixels:
            return None
        return -10 * float(torch.tensor(self.error / self.pixels).clamp_min(1e-12).log10())


def mean_change(
    base: Float[Tensor, "H W 3"], edited: Float[Tensor, "H W 3"], where: Bool[Tensor, "H W"]
) -> float | None:
    """Return the mean absolute change of a channel over some pixels; None if there are none."""
    return float((base - edited)[where].abs().mean()) if bool(where.any()) else None
