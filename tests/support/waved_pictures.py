"""Smooth pictures by a formula, so that what they show at any place is known, and sets of their pixels."""

import torch
from analytic import look_at

from nerf_insert.capture.pixel_set import PixelSet
from nerf_insert.io.images import to_uint8

SIZE = (64, 48)


def texture(x, y):
    """A smooth picture: float [..., 3] in 0..1 at places in pixels."""
    waves = [0.31 * x + 0.17 * y, 0.23 * y - 0.19 * x + 1, 0.13 * x + 0.29 * y + 2]
    return 0.5 + 0.3 * torch.stack([wave.sin() for wave in waves], -1)


def places():
    """The column and the row of each pixel."""
    y, x = torch.meshgrid(torch.arange(SIZE[1]).float(), torch.arange(SIZE[0]).float(), indexing="ij")
    return x, y


def pixels(pictures):
    """Pixels of pictures that one camera took."""
    camera = look_at((1.6, 0.0, 0.9), size=SIZE, focal=40.0)
    return PixelSet([camera] * len(pictures), [to_uint8(picture) for picture in pictures])


def true_colors(corrections):
    """What the undisturbed picture shows along the rays."""
    x, y = corrections.xy.float().unbind(-1)
    return texture(x, y)
