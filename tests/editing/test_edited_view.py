"""What an edit sees of the edits before it, against photographs that could have been taken of them."""

import torch
from analytic import AnalyticField, look_at
from formula import FormulaLayer

from nerf_insert.capture.view import View
from nerf_insert.editing.edited_view import EditedView
from nerf_insert.editing.region_views import visible_mask
from nerf_insert.io.images import write_image
from nerf_insert.regions import BoxRegion
from nerf_insert.rendering.stack import LayerStack

CAMERA = look_at((2.0, 0.0, 0.5), target=(0.0, 0.0, 0.3), size=(64, 48), focal=60.0)
FRONT = BoxRegion((0.8, 0.0, 0.3), (0.2, 0.4, 0.4))  # between the camera and the ball, in its middle
EMPTY = BoxRegion((0.0, 0.9, 0.3), (0.3, 0.3, 0.3))


def a_view(folder):
    """A photograph of the ball and the floor, a little brighter than the base renders them."""
    image = (LayerStack(AnalyticField()).render_image(CAMERA).rgb + 0.1).clamp(0, 1)
    write_image(folder / "a.png", image)
    return View("a.png", folder / "a.png", CAMERA)


def test_without_layers_it_is_the_view(tmp_path):
    view = a_view(tmp_path)
    assert EditedView.of(view, LayerStack(AnalyticField())) is view


def test_it_is_the_photograph_but_where_layers_change_something(tmp_path):
    view, stack = a_view(tmp_path), LayerStack(AnalyticField(), [FormulaLayer(FRONT, 60.0, (0.1, 0.2, 0.9))])
    stack = LayerStack(stack.base, [*stack.layers, FormulaLayer(EMPTY, 0.0, (1.0, 0.0, 0.0))])
    seen, photograph = EditedView.of(view, stack).photograph(), view.photograph()
    rays = CAMERA.rays()
    blue = FRONT.entry(rays).isfinite().view(48, 64)
    assert torch.equal(seen[~blue], photograph[~blue])  # also behind the layer that is empty
    middle = seen[20:26, 29:35]  # where rays pass through all of the box: all but exp(-12) of the light
    assert (middle - torch.tensor([0.1, 0.2, 0.9])).abs().max() <= 1 / 255
    assert EditedView.of(view, stack).photograph((32, 24)).shape == (24, 32, 3)


def test_pixels_that_another_layer_half_covers_are_left_out(tmp_path):
    """Beer's law: a box of density 1, 0.2 deep, takes 18 %, more than an image of both may have in front."""
    view, region = a_view(tmp_path), BoxRegion((0.0, 0.0, 0.3), (0.8, 0.8, 0.6))
    entry = region.entry(CAMERA.rays()).view(48, 64)
    behind = FRONT.entry(CAMERA.rays()).isfinite().view(48, 64)
    for density, hides in ((0.2, False), (1.0, True)):
        stack = LayerStack(AnalyticField(), [FormulaLayer(FRONT, density, (0.1, 0.2, 0.9))])
        mask = visible_mask(region, stack, view)
        whole = visible_mask(region, LayerStack(AnalyticField()), view)
        assert bool((whole & behind).any()) and bool((whole & ~behind).any())
        assert torch.equal(mask[~behind], whole[~behind])
        # rays that only cut the box's corners have less of it in front of them
        hidden = float((whole & ~mask)[behind & entry.isfinite()].float().mean())
        assert hidden > 0.7 if hides else hidden == 0
