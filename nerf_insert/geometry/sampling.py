"""Bilinear look-ups in images.

N points, H and W the size of an image, C channels. Pixel coordinates are (x, y) with the origin at the
image's top left corner: the center of the first pixel is (0.5, 0.5).
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor


def sample_bilinear(image: Float[Tensor, "H W C"], pixels: Float[Tensor, "N 2"]) -> Float[Tensor, "N C"]:
    """Interpolate an image at pixel coordinates; beyond its border the nearest border value counts."""
    size = pixels.new_tensor([image.shape[1], image.shape[0]])
    grid = (pixels / size * 2 - 1)[None, None].to(image)
    sampled = torch.nn.functional.grid_sample(
        image.movedim(-1, 0)[None], grid, mode="bilinear", padding_mode="border", align_corners=False
    )
    return sampled[0, :, 0].T


def sample_texture(
    texture: Float[Tensor, "H W C"] | UInt8[Tensor, "H W C"],
    uv: Float[Tensor, "N 2"],
    wrap: tuple[str, str] = ("repeat", "repeat"),
    nearest: bool = False,
) -> Float[Tensor, "N C"]:
    """Interpolate a texture at UVs, whose origin is the bottom left corner.

    Args:
        texture: Its values; bytes stand for values in 0..1.
        uv: Where to look it up.
        wrap: How it continues along u and v: "repeat", "mirror" or "clamp".
        nearest: Take the nearest pixel instead of interpolating.
    """
    height, width, _ = texture.shape
    x = uv[:, 0] * width - 0.5
    y = (1 - uv[:, 1]) * height - 0.5
    if nearest:
        x, y = x.round(), y.round()
    left, top = x.floor(), y.floor()
    fx, fy = (x - left)[:, None], (y - top)[:, None]
    x0, x1 = (_wrapped(left.long() + k, width, wrap[0]) for k in (0, 1))
    y0, y1 = (_wrapped(top.long() + k, height, wrap[1]) for k in (0, 1))
    above = _values(texture[y0, x0]) * (1 - fx) + _values(texture[y0, x1]) * fx
    below = _values(texture[y1, x0]) * (1 - fx) + _values(texture[y1, x1]) * fx
    return above * (1 - fy) + below * fy


def _wrapped(index: Int64[Tensor, " N"], size: int, how: str) -> Int64[Tensor, " N"]:
    if how == "clamp":
        return index.clamp(0, size - 1)
    if how == "mirror":
        index = index % (2 * size)
        return torch.where(index < size, index, 2 * size - 1 - index)
    return index % size


def _values(pixels: Tensor) -> Float[Tensor, "N C"]:
    return pixels.float() / 255 if pixels.dtype == torch.uint8 else pixels
