"""Crops of views: a window around the mask, with context, at the model's resolution, and pasting it back.

The pasted image is blended in along a border inside the mask. Inpainting masks are wider than the region
(nerf_insert/editing/region_views.py) by more than this border, so that the region itself gets the model's
output unblended. H, W are the size of a view, h, w that of a crop.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from nerf_insert.io.images import resize

MAX_ZOOM = 4  # how much a crop may be enlarged: models have not seen images that are blurred more
BORDER = 0.01  # width of the blend, as a fraction of the image's width: half of what masks are dilated by
MIN_COVERAGE = 0.01  # fraction of a pixel that has to be masked for it to be inpainted


@dataclass(frozen=True)
class Crop:
    """A window of an image, and the size at which a model sees it.

    Attributes:
        top: First row, pixels from the image's top left corner.
        left: First column.
        height: Rows of the image.
        width: Columns of the image.
        size: (width, height) of the crop that the model is given.
    """

    top: int
    left: int
    height: int
    width: int
    size: tuple[int, int]

    def window(self, image: Tensor) -> Tensor:
        """Return the window of an image [H, W] or [H, W, C], as a view."""
        return image[self.top : self.top + self.height, self.left : self.left + self.width]

    def image(self, image: Float[Tensor, "H W *C"]) -> Float[Tensor, "h w *C"]:
        """Crop an image and resize it."""
        return resize(self.window(image).float(), self.size)

    def mask(self, mask: Bool[Tensor, "H W"]) -> Bool[Tensor, "h w"]:
        """Crop a mask and resize it, keeping every pixel that it touches."""
        return resize(self.window(mask).float(), self.size) > MIN_COVERAGE

    def paste(
        self,
        painted: Float[Tensor, "h w 3"],
        original: Float[Tensor, "H W 3"],
        mask: Bool[Tensor, "H W"],
    ) -> Float[Tensor, "H W 3"]:
        """Paste an inpainted crop into the original where the mask is, blended along the mask's border."""
        back = resize(painted.float(), (self.width, self.height)).clamp(0, 1)
        weight = self.window(soft_mask(mask, BORDER * mask.shape[1]))[..., None]
        result = original.clone()
        window = self.window(result)
        window.copy_(torch.where(weight > 0, window + weight * (back - window), window))
        return result


def crop_around(mask: Bool[Tensor, "H W"], *, side: int, multiple: int, context: float) -> Crop:
    """Choose the window around a mask, square where the image is large enough.

    Args:
        mask: The mask, not empty.
        side: The crop gets at most about side * side pixels, in the window's proportions.
        multiple: The sides of the crop are multiples of this.
        context: Side of the window, as a multiple of the mask's longer side.
    """
    height, width = mask.shape
    rows, columns = (mask.any(axis).nonzero()[:, 0] for axis in (1, 0))
    marks = [(int(line[0]), int(line[-1]) + 1) for line in (rows, columns)]
    wanted = max(math.ceil(context * max(b - a for a, b in marks)), side // MAX_ZOOM)
    (top, tall), (left, wide) = (
        _place(a, b, wanted, length) for (a, b), length in zip(marks, (height, width), strict=True)
    )
    ratio = math.sqrt(wide / tall)
    crop_wide, crop_tall = (max(multiple, int(side * r / multiple) * multiple) for r in (ratio, 1 / ratio))
    return Crop(top, left, tall, wide, (crop_wide, crop_tall))


def _place(first: int, last: int, wanted: int, length: int) -> tuple[int, int]:
    """Return (start, length) of a window of `wanted` pixels around first..last within 0..length."""
    wanted = min(wanted, length)
    start = round((first + last - wanted) / 2)
    return max(0, min(start, length - wanted)), wanted


def soft_mask(mask: Bool[Tensor, "H W"], border: float) -> Float[Tensor, "H W"]:
    """Return 0 outside the mask, 1 farther than `border` pixels inside it, a smooth ramp between."""
    from nerf_insert.geometry.masks import inner_distance  # which loads scipy

    if mask.all():
        return torch.ones(mask.shape)
    inside = inner_distance(mask.numpy()).astype(np.float32)
    ramp = (torch.from_numpy(inside) / (border + 1)).clamp(0, 1)
    return ramp * ramp * (3 - 2 * ramp)
