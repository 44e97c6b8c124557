"""Dilated masks against a brute-force disc; where the scene ends against a closed form."""

import pytest
import torch
from analytic import AnalyticField, look_at

from nerf_insert.editing.region_views import REACH_MARGIN, dilate, scene_reach
from nerf_insert.rendering.stack import LayerStack


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


def test_the_scene_ends_where_its_floor_is():
    """The farthest of the rays through the mask that meet the floor z = 0."""
    camera = look_at((1.5, 0.0, 1.0), size=(80, 60), focal=70.0)
    mask = torch.zeros(60, 80, dtype=torch.bool)
    mask[35:55, 20:60] = True
    rays = camera.rays()[mask.reshape(-1).nonzero()[:, 0]]
    distance = -rays.origins[:, 2] / rays.directions[:, 2]
    assert (distance > 0).all()
    found = scene_reach(LayerStack(AnalyticField([], step=0.01)))(camera, mask)
    # within what 2 % of the rays cover and one step of the field
    assert 0.96 * float(distance.max()) < found / (1 + REACH_MARGIN) < float(distance.max()) + 0.02
    nothing = torch.zeros_like(mask)
    nothing[0, 0] = True
    upwards = look_at((1.5, 0.0, 1.0), (1.5, 1.0, 3.0), size=(80, 60), focal=70.0)
    assert scene_reach(LayerStack(AnalyticField([], step=0.01)))(upwards, nothing) is None
