"""What a model is shown of a view: a window around the mask, with context, at the model's own resolution;
and how what it paints comes back, with a soft border inside the mask.

Masks that inpainters are given are wider than the region (nerf_insert/editing/region_views.py); the border
is narrower than that: what is painted shows in full in the region itself.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from nerf_insert.io.images import resize

ZOOM = 4  # at most so many times are pictures enlarged: models know no pictures blurred more than that
BORDER = (
    0.01  # width of the soft border, as a share of the picture's width: half of what masks are widened by
)
TOUCHED = 0.01  # share of a pixel that is masked for it to be painted


@dataclass(frozen=True)
class Crop:
    """A window of a picture (pixels, from its top left corner), and the size in which a model sees it."""

    top: int
    left: int
    height: int
    width: int
    size: tuple[int, int]  # (width, height)

    def window(self, picture: Tensor) -> Tensor:
        """The window's pixels, of [H, W] or [H, W, C]."""
        return picture[self.top : self.top + self.height, self.left : self.left + self.width]

    def picture(self, picture: Float[Tensor, "H W *C"]) -> Float[Tensor, "h w *C"]:
        return resize(self.window(picture).float(), self.size)

    def mask(self, mask: Bool[Tensor, "H W"]) -> Bool[Tensor, "h w"]:
        """All that the mask touches."""
        return resize(self.window(mask).float(), self.size) > TOUCHED

    def paste(
        self,
        painted: Float[Tensor, "h w 3"],
        original: Float[Tensor, "H W 3"],
        mask: Bool[Tensor, "H W"],
    ) -> Float[Tensor, "H W 3"]:
        """The original with what was painted where the mask is, blended in along the mask's border."""
        back = resize(painted.float(), (self.width, self.height)).clamp(0, 1)
        share = self.window(soft(mask, BORDER * mask.shape[1]))[..., None]
        result = original.clone()
        window = self.window(result)
        window.copy_(torch.where(share > 0, window + share * (back - window), window))
        return result


def around(mask: Bool[Tensor, "H W"], *, side: int, multiple: int, context: float) -> Crop:
    """The window around what the mask marks (it marks something), `context` times as large.

    It is square where the picture is large enough. The model sees it in about side * side pixels and not in
    more, its own proportions kept, with sides that are multiples of `multiple`.
    """
    height, width = mask.shape
    rows, columns = (mask.any(axis).nonzero()[:, 0] for axis in (1, 0))
    marks = [(int(line[0]), int(line[-1]) + 1) for line in (rows, columns)]
    wanted = max(math.ceil(context * max(b - a for a, b in marks)), side // ZOOM)
    (top, tall), (left, wide) = (
        _place(a, b, wanted, length) for (a, b), length in zip(marks, (height, width), strict=True)
    )
    ratio = math.sqrt(wide / tall)
    size = tuple(max(multiple, int(side * r / multiple) * multiple) for r in (ratio, 1 / ratio))
    return Crop(top, left, tall, wide, size)  # type: ignore[arg-type]


def _place(first: int, last: int, wanted: int, length: int) -> tuple[int, int]:
    """(start, length) of a window of `wanted` pixels around first..last within 0..length."""
    wanted = min(wanted, length)
    start = round((first + last - wanted) / 2)
    return max(0, min(start, length - wanted)), wanted


def soft(mask: Bool[Tensor, "H W"], border: float) -> Float[Tensor, "H W"]:
    """0 outside the mask, 1 farther than `border` pixels inside it, a smooth ramp between."""
    from scipy.ndimage import distance_transform_edt

    if mask.all():
        return torch.ones(mask.shape)
    inside = distance_transform_edt(mask.numpy()).astype(np.float32)
    ramp = (torch.from_numpy(inside) / (border + 1)).clamp(0, 1)
    return ramp * ramp * (3 - 2 * ramp)
