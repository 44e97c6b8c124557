"""What an edit sees of the edits before it, against photographs that could have been taken of them."""

import torch
from analytic import AnalyticField, look_at
from formula import FormulaLayer

from nerf_insert.capture.view import View
from nerf_insert.editing.edited_view import EditedView
from nerf_insert.editing.region_views import visible_mask
from nerf_insert.fields.shade_layer import ShadeLayer
from nerf_insert.fields.sparse_grid import SparseGrid
from nerf_insert.geometry.color import linear_to_srgb, srgb_to_linear
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


def test_where_it_is_only_shaded_the_photograph_keeps_its_detail(tmp_path):
    """A box in which the light is 0.4 as much, over a floor whose grain the base does not know."""
    base = AnalyticField(balls=())
    plain = LayerStack(base).render_image(CAMERA)
    noise = torch.rand(48, 64, 1, generator=torch.Generator().manual_seed(0)) * 0.3
    write_image(tmp_path / "a.png", (plain.rgb + noise).clamp(0, 1))
    index = torch.cartesian_prod(*(torch.arange(n) for n in (17, 17, 9)))
    grid = SparseGrid.from_points(
        torch.tensor([-0.4, -0.4, -0.2]), 0.05, (17, 17, 9), index, torch.full((len(index), 3), -0.6)
    )
    view = View("a.png", tmp_path / "a.png", CAMERA)
    seen = EditedView.of(view, LayerStack(base, [ShadeLayer(grid)])).photograph()
    points = CAMERA.rays().at(plain.depth.view(-1))
    deep = ((points > torch.tensor([-0.3, -0.3, -1])) & (points < torch.tensor([0.3, 0.3, 1]))).all(-1)
    deep = deep.view(48, 64)
    wanted = linear_to_srgb(0.4 * srgb_to_linear(view.photograph()))
    # where tiles meet, the base blends them in sRGB, before one and after the other
    assert (seen - wanted)[deep].abs().quantile(0.95) < 0.01 and int(deep.sum()) > 50


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
