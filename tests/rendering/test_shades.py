"""Rendering with shade layers: the rule as it is written, and exact locality."""

import pytest
import torch
from analytic import AnalyticField, look_at
from formula import Ball, FormulaLayer

from nerf_insert.fields.shade_layer import ShadeLayer
from nerf_insert.fields.sparse_grid import SparseGrid
from nerf_insert.geometry.color import linear_to_srgb, srgb_to_linear
from nerf_insert.rendering.stack import LayerStack, hits

CAMERA = look_at((1.5, -1.0, 1.0))


def shade(factor=0.4, low=(-0.3, -0.9, -0.2), shape=(17, 17, 9), cell=0.05, strength=1.0):
    """A box in which the light is `factor` as much."""
    index = torch.cartesian_prod(*(torch.arange(n) for n in shape))
    values = torch.full((len(index), 3), factor - 1)
    return ShadeLayer(SparseGrid.from_points(torch.tensor(low), cell, shape, index, values), strength)


def test_pixels_whose_rays_miss_all_regions_keep_their_bits():
    stack, layer = LayerStack(AnalyticField()), shade()
    ball = FormulaLayer(Ball((0.5, 0.5, 0.2), 0.2), 30.0, (0.2, 0.9, 0.2))
    plain = stack.render_image(CAMERA).rgb
    for layers in ((layer,), (layer, ball), (ball, layer)):
        edited = LayerStack(stack.base, layers).render_image(CAMERA).rgb
        missed = ~sum(hits(one.region, CAMERA.rays()) for one in layers).bool().view(48, 64)
        assert torch.equal(edited[missed], plain[missed])
        assert float(missed.float().mean()) > 0.3 and not torch.equal(edited, plain)


def test_an_opaque_floor_shows_its_color_times_the_ratio():
    stack = LayerStack(AnalyticField(balls=()))
    plain, shaded = stack.render_image(CAMERA), LayerStack(stack.base, (shade(),)).render_image(CAMERA)
    points = CAMERA.rays().at(plain.depth.view(-1))
    deep = ((points > torch.tensor([-0.2, -0.8, -1])) & (points < torch.tensor([0.4, -0.2, 1]))).all(-1)
    deep = deep.view(48, 64)
    wanted = linear_to_srgb(0.4 * srgb_to_linear(plain.rgb))
    # the floor's tiles blend along a ray in sRGB, before one and after the other
    assert (shaded.rgb - wanted)[deep].abs().max() < 0.01 and int(deep.sum()) > 50
    assert torch.equal(shaded.depth, plain.depth) and torch.equal(shaded.accumulation, plain.accumulation)


def test_a_shade_changes_what_lies_below_it_and_nothing_above():
    base, layer = AnalyticField(balls=()), shade(low=(-0.6, -0.9, -0.2), shape=(25, 25, 25))
    ball = FormulaLayer(Ball((0.0, -0.4, 0.3), 0.25), 200.0, (0.2, 0.8, 0.2))
    camera = look_at((1.5, -1.0, 1.0), (0.0, -0.4, 0.3), focal=200.0)
    above = LayerStack(base, (layer, ball)).render_image(camera).rgb[24, 32]
    below = LayerStack(base, (ball, layer)).render_image(camera).rgb[24, 32]
    assert above.tolist() == pytest.approx([0.2, 0.8, 0.2], abs=0.01)
    wanted = linear_to_srgb(0.4 * srgb_to_linear(torch.tensor([0.2, 0.8, 0.2])))
    assert below.tolist() == pytest.approx(wanted.tolist(), abs=0.01)


def test_queries_are_shaded_as_renders_are():
    base, layer = AnalyticField(balls=()), shade()
    points = torch.tensor([[0.1, -0.5, -0.05], [1.0, 1.0, -0.05]])
    density, rgb = LayerStack(base, (layer,)).query(points, points)
    plain_density, plain = base.query(points, points)
    assert torch.equal(density, plain_density) and torch.equal(rgb[1], plain[1])
    assert rgb[0].tolist() == pytest.approx(
        linear_to_srgb(0.4 * srgb_to_linear(plain[0])).tolist(), abs=1e-4
    )  # half precision
