"""Dilated masks against a brute-force disc."""

import pytest
import torch

from nerf_insert.editing.region_views import dilate


def disc_dilated(mask, radius):
    """Pixels with a true one at a distance of at most the radius: all shifts of the mask."""
    height, width = mask.shape
    padded = torch.nn.functional.pad(mask, [radius] * 4)
    grown = torch.zeros_like(mask)
    for dy in range(-radius, radius + 1):
        for dx in range(-radius, radius + 1):
            if dx * dx + dy * dy <= radius * radius:
                grown |= padded[radius + dy : radius + dy + height, radius + dx : radius + dx + width]
    return grown


@pytest.mark.parametrize("radius", [1, 2, 5, 13])
@pytest.mark.parametrize("density", [0.0, 0.002, 0.1, 1.0])
def test_dilation_is_that_by_a_disc(radius, density):
    mask = torch.rand(41, 57, generator=torch.Generator().manual_seed(radius)) < density
    assert torch.equal(dilate(mask, radius), disc_dilated(mask, radius))


@pytest.mark.parametrize("pixel", [(0, 0), (40, 56), (0, 30), (20, 28)])
def test_a_single_pixel_grows_to_a_disc(pixel):
    mask = torch.zeros(41, 57, dtype=torch.bool)
    mask[pixel] = True
    assert torch.equal(dilate(mask, 10), disc_dilated(mask, 10))
