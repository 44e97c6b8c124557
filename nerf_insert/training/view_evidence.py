"""What one painted image tells about its own change of color and its own warp.

It is compared with the render of the layer inside the region, and with the photograph around it where the
image shows that. n is a number of rays, G that of control points; positions are pixels, (x, y).
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from nerf_insert.training.image_warp import CONTROL_POINTS, WarpedCrop
from nerf_insert.training.robust_fit import clip_alike, fit_color, recolor
from nerf_insert.training.surroundings import Surroundings

ROUNDS_ALONE = 3  # of color and warp in turn, where the surroundings are all that is known


class ViewEvidence:
    """The image of one view around its rays, and what should be there.

    Attributes:
        color, warp: What the surroundings alone tell; no change where they tell nothing.
    """

    def __init__(self, image: UInt8[Tensor, "H W 3"], xy: Int64[Tensor, "n 2"], around: Surroundings | None):
        self.crop = WarpedCrop(image, xy)
        self.has_surroundings = around is not None
        self.around_xy = around.xy.float() if around is not None else torch.zeros(0, 2)
        self.around_rgb = around.photograph if around is not None else torch.zeros(0, 3)
        self.color, self.warp = torch.eye(3, 4), torch.zeros(CONTROL_POINTS**2, 2)
        if around is not None:
            none = torch.zeros(0, 2), torch.zeros(0, 3)
            for _ in range(ROUNDS_ALONE):
                self.color = self.fit_color(*none, self.warp, around=True)
                self.warp = self.fit_warp(*none, self.color, self.warp, around=True)

    def target(self, xy: Float[Tensor, "n 2"], warp: Float[Tensor, "G 2"]) -> Float[Tensor, "n 3"]:
        """Return the image's colors at the warped positions."""
        return self.crop.colors(xy + self.crop.displacement(xy, warp))

    def fit_color(
        self, xy: Float[Tensor, "n 2"], shown: Float[Tensor, "n 3"], warp: Float[Tensor, "G 2"], around: bool
    ) -> Float[Tensor, "3 4"]:
        """Return the transform that takes rendered colors to the image's.

        Args:
            xy: The rays.
            shown: Their colors in the render.
            warp: The image's warp.
            around: Whether the surroundings count, too: together as much as the rays.
        """
        xy, shown, importance = self._with_surroundings(xy, shown, around)
        return fit_color(shown, self.target(xy, warp), importance)

    def fit_warp(
        self,
        xy: Float[Tensor, "n 2"],
        shown: Float[Tensor, "n 3"],
        color: Float[Tensor, "3 4"],
        warp: Float[Tensor, "G 2"],
        around: bool,
    ) -> Float[Tensor, "G 2"]:
        """Return the image's warp, found from a start; arguments as in `fit_color`."""
        xy, shown, importance = self._with_surroundings(xy, shown, around)
        return self.crop.align(xy, recolor(color, shown), warp, importance)

    def error(
        self,
        xy: Float[Tensor, "n 2"],
        shown: Float[Tensor, "n 3"],
        color: Float[Tensor, "3 4"],
        warp: Float[Tensor, "G 2"],
    ) -> Float[Tensor, " n"]:
        """Return the mean absolute difference of each ray between the corrected render and the image."""
        target = self.target(xy, warp)
        return (clip_alike(recolor(color, shown), target) - target).abs().mean(-1)

    def _with_surroundings(
        self, xy: Float[Tensor, "n 2"], shown: Float[Tensor, "n 3"], around: bool
    ) -> tuple[Float[Tensor, "m 2"], Float[Tensor, "m 3"], Float[Tensor, " m"]]:
        """Return positions, what they should show before the change of color, and how much each counts."""
        count = len(self.around_xy) if around else 0
        if not count:
            return xy, shown, torch.ones(len(xy))
        here = len(xy)
        share = here / count if here else 1.0
        importance = torch.cat([torch.ones(here), torch.full((count,), share)])
        importance = importance / importance.mean()
        return torch.cat([xy, self.around_xy]), torch.cat([shown, self.around_rgb]), importance
