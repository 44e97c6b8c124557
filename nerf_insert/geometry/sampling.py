"""Bilinear look-ups in images.

N points, H and W the size of an image, C channels. Pixel coordinates are (x, y) with the origin at the
image's top left corner: the center of the first pixel is (0.5, 0.5).
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def sample_bilinear(image: Float[Tensor, "H W C"], pixels: Float[Tensor, "N 2"]) -> Float[Tensor, "N C"]:
    """Interpolate an image at pixel coordinates; beyond its border the nearest border value counts."""
    size = pixels.new_tensor([image.shape[1], image.shape[0]])
    grid = (pixels / size * 2 - 1)[None, None].to(image)
    sampled = torch.nn.functional.grid_sample(
        image.movedim(-1, 0)[None], grid, mode="bilinear", padding_mode="border", align_corners=False
    )
    return sampled[0, :, 0].T


def sample_texture(texture: Float[Tensor, "H W C"], uv: Float[Tensor, "N 2"]) -> Float[Tensor, "N C"]:
    """Interpolate a repeating texture at UVs, whose origin is the bottom left corner."""
    height, width, _ = texture.shape
    x = uv[:, 0] * width - 0.5
    y = (1 - uv[:, 1]) * height - 0.5
    left, top = x.floor(), y.floor()
    fx, fy = (x - left)[:, None], (y - top)[:, None]
    x0, x1 = (left.long() + k for k in (0, 1))
    y0, y1 = (top.long() + k for k in (0, 1))
    x0, x1, y0, y1 = x0 % width, x1 % width, y0 % height, y1 % height
    above = texture[y0, x0] * (1 - fx) + texture[y0, x1] * fx
    below = texture[y1, x0] * (1 - fx) + texture[y1, x1] * fx
    return above * (1 - fy) + below * fy
