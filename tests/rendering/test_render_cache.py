"""Images kept by a stack: found by the values of their camera, up to a number of pixels."""

from dataclasses import replace

import pytest
import torch
from analytic import AnalyticField, look_at
from formula import Ball, FormulaLayer

from nerf_insert.rendering.render_cache import RenderCache, camera_key
from nerf_insert.rendering.stack import LayerStack

SIZE = (16, 12)


def camera(x=1.2):
    """A new camera object, the same one for the same `x`."""
    return look_at((x, 0.3, 0.9), size=SIZE, focal=15.0)


class Counting(AnalyticField):
    """Counts how often it is sampled, and along how many rays."""

    def __init__(self):
        super().__init__(step=0.04)
        self.count, self.rays = 0, 0

    def sample(self, rays):
        self.count, self.rays = self.count + 1, self.rays + rays.count
        return super().sample(rays)


def test_equal_cameras_share_an_image():
    base = Counting()
    stack = LayerStack(base)
    first = stack.render_image(camera(), keep=True)
    assert camera() is not camera() and stack.render_image(camera(), keep=True) is first
    mask = torch.zeros(12, 16, dtype=torch.bool)
    mask[3:8, 4:9] = True
    some = stack.render_masked(camera(), mask)
    assert torch.equal(some.rgb[mask], first.rgb[mask]) and base.count == 1
    assert not some.rgb[~mask].any() and bool((some.depth[~mask] == float("inf")).all())
    assert len(stack.cache) == 1


CHANGES = {
    "pose": {"c2w": look_at((1.2, 0.3, 0.9001)).c2w},
    "focal length": {"fx": 15.1},
    "center": {"cy": 6.1},
    "size": {"width": 17},
    "distortion": {"distortion": (0.1, 0.0, 0.0, 0.0, 0.0, 0.0)},
    "model": {"model": "FISHEYE"},
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_another_camera_has_another_key(change):
    assert camera_key(camera()) == camera_key(camera())
    assert camera_key(replace(camera(), **change)) != camera_key(camera())


def test_a_layer_on_top_starts_from_the_kept_image_below():
    base = Counting()
    below = LayerStack(base)
    first = below.render_image(camera(), keep=True)
    layer = FormulaLayer(Ball((0.0, 0.0, 0.6), 0.1), 60.0, (0.1, 0.9, 0.1))
    image = below.with_layer(layer).render_image(camera())
    assert 0 < int((image.rgb != first.rgb).any(-1).sum()) < 60 and base.rays < 12 * 16 + 2 * 60
    assert below.render_image(camera(), keep=True) is first


def test_an_image_without_a_region_is_not_kept():
    stack = LayerStack(Counting())
    first = stack.render_image(camera(), keep=True)
    excluded = stack.render_image(camera(), exclude=Ball((0.0, 0.0, 0.3), 0.3), keep=True)
    assert not torch.equal(excluded.rgb, first.rgb) and len(stack.cache) == 1
    assert stack.render_image(camera(), keep=True) is first


def test_the_cache_has_a_limit():
    """The first that fit are kept, those after them are rendered each time."""
    base = Counting()
    stack = LayerStack(base, cache=RenderCache(max_pixels=2 * 16 * 12 + 50))
    images = [stack.render_image(camera(x), keep=True) for x in (1.2, 1.3, 1.4)]
    assert len(stack.cache) == 2 and base.count == 3
    again = [stack.render_image(camera(x), keep=True) for x in (1.2, 1.3, 1.4)]
    assert base.count == 4 and again[0] is images[0] and again[1] is images[1]
    assert again[2] is not images[2] and torch.equal(again[2].rgb, images[2].rgb)
    small = stack.render_image(camera(1.4).resized(8, 6), keep=True)  # still fits
    assert len(stack.cache) == 3 and stack.render_image(camera(1.4).resized(8, 6), keep=True) is small
