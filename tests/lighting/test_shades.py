"""Shade layers against closed forms: a ball over a plane under a sun, a disk of light and a uniform sky; and
a shadow taken back that is known."""

import math

import pytest
import torch
from lit_ball import BOUNDS, RADIUS, UP, ball, plane, sun

from nerf_insert.geometry.mesh import Mesh
from nerf_insert.lighting.light import Light
from nerf_insert.lighting.light_parts import irradiance_ratios
from nerf_insert.lighting.shade_bake import bake_shade
from nerf_insert.lighting.shade_removal import take_back_shade
from nerf_insert.lighting.surface import SceneSurface

DARK, FLAT = Light(torch.zeros(256, 3)), Light.flat()


def ratio_at(points, light, thing):
    points = torch.tensor(points)
    return irradiance_ratios(plane(), light, thing, BOUNDS, points, UP.expand(len(points), 3), "cast")[:, 0]


@pytest.mark.parametrize("sky", [0.0, 0.25])
def test_a_sun_leaves_the_sky_in_the_shadow_and_all_beside_it(sky):
    """At 45 degrees the shadow is an ellipse around (-RADIUS, 0), stretched by sqrt(2) along x."""
    light = Light(torch.full((256, 3), sky), (sun((1.0, 0.0, 1.0)),))
    inside, outside = 0.9, 1.1  # of the ellipse's half axes
    for share in (inside, outside):
        points = [[-RADIUS + share * RADIUS * math.sqrt(2), 0.0, 0.0], [-RADIUS, share * RADIUS, 0.0]]
        found = ratio_at(points, light, ball())
        whole = sky + math.sqrt(0.5)
        for (x, y, _), value in zip(points, found.tolist(), strict=True):
            hidden = RADIUS**2 * RADIUS / (x * x + y * y + RADIUS**2) ** 1.5  # of the sky, see below
            wanted = (sky * (1 - hidden) + (0.0 if share < 1 else math.sqrt(0.5))) / whole
            assert value == pytest.approx(wanted, abs=0.05)  # half of 256 directions know a share to that


def test_a_uniform_sky_is_hidden_by_the_ball_s_form_factor():
    """A ball of radius r, its center at height h and distance d, hides r^2 h / d^3 of the sky by cosine."""
    points = [[x, 0.0, 0.0] for x in (0.3, 0.45, 0.6, 0.8)]
    found = ratio_at(points, FLAT, ball())
    wanted = [1 - RADIUS**3 / (x * x + RADIUS**2) ** 1.5 for x, _, _ in points]
    assert found.tolist() == pytest.approx(wanted, abs=0.03)  # of 128 directions above


def test_a_disk_of_light_has_a_penumbra():
    """Straight above the ball, a disk seen under 30 degrees: its rim lights the shadow's rim."""
    light = Light(torch.zeros(256, 3), (sun(angle=math.radians(30), distance=4.0),))
    values = ratio_at([[x, 0.0, 0.0] for x in (0.0, 0.2, 0.4, 0.7, 1.2)], light, ball()).tolist()
    assert values == sorted(values) and values[0] < 0.05 and 0.1 < values[2] < 0.95 and values[-1] > 0.97


def test_what_shines_as_the_sky_does_changes_nothing():
    assert ratio_at([[0.2, 0.1, 0.0], [0.5, 0.0, 0.0]], FLAT, ball(1.0)).tolist() == pytest.approx(
        [1, 1], abs=1e-4
    )
    thrown_back = ratio_at([[0.35, 0.0, 0.0]], FLAT, ball(0.5)).item()
    assert ratio_at([[0.35, 0.0, 0.0]], FLAT, ball(0.0)).item() < thrown_back < 1


def test_what_lies_in_the_shade_already_is_not_darkened_again():
    roof = Mesh.plain(
        torch.tensor([[-9.0, -9.0, 2.0], [9.0, -9.0, 2.0], [9.0, 9.0, 2.0], [-9.0, 9.0, 2.0]]),
        torch.tensor([[0, 1, 2], [0, 2, 3]]),
    )
    shaded = plane()
    both = Mesh.plain(
        torch.cat([shaded.mesh.vertices, roof.vertices]),
        torch.cat([shaded.mesh.faces, roof.faces + len(shaded.mesh.vertices)]),
    )
    n = len(both.vertices)
    surface = SceneSurface(
        both,
        torch.cat([shaded.front, -UP.expand(2, 3)]),
        torch.cat([shaded.normals, -UP.expand(4, 3)]),
        torch.full((n, 3), 0.2),
        torch.zeros(n),
        0.02,
    )
    light = Light(torch.full((256, 3), 0.2), (sun(),))
    points = torch.tensor([[0.0, 0.1, 0.0]])
    found = irradiance_ratios(surface, light, ball(0.2), BOUNDS, points, UP[None], "cast")
    assert found[0].tolist() == pytest.approx([1.0] * 3, abs=1e-3)  # the ball shines as roof and sky do


def test_the_baked_layer_is_the_ratio_on_the_surface_and_local():
    light = Light(FLAT.environment * 0.25, (sun((1.0, 0.0, 1.0)),))
    layer = bake_shade(plane(), light, ball(), BOUNDS)
    assert layer is not None
    points = [[-0.4, 0.0, 0.0], [0.5, 0.4, 0.0], [-0.3, 0.1, 0.01]]
    assert layer.ratio(torch.tensor(points))[:, 0].tolist() == pytest.approx(
        ratio_at(points, light, ball()).tolist(), abs=0.05
    )
    far = torch.tensor([[0.0, 0.0, 0.5], [1.5, 1.5, 0.0], [9.0, 0.0, 0.0]])
    assert torch.equal(layer.ratio(far), torch.ones(3, 3))
    contact = bake_shade(plane(), light, ball(), BOUNDS, "contact")
    assert contact is not None
    assert float(contact.ratio(torch.tensor([[-0.8, 0.0, 0.0]]))[0, 0]) == 1.0
    assert float(contact.ratio(torch.tensor([[-0.2, 0.0, 0.0]]))[0, 0]) < 0.9


LIT = Light(FLAT.environment * 0.3, (sun((1.0, 0.3, 1.2)),))


def shadowed(share=1.0, texture=0.1):
    """What photographs of the plane show under the ball's shadow, as far as `share` of it is there."""
    generator = torch.Generator().manual_seed(0)

    def radiance(points, normals):
        ratio = irradiance_ratios(plane(), LIT, ball(), BOUNDS, points, normals, "cast")
        noise = torch.exp(texture * torch.randn(len(points), 1, generator=generator))
        return torch.tensor([0.4, 0.3, 0.2]) * noise * ratio**share

    return radiance


def test_a_shadow_that_photographs_show_is_taken_back():
    layer = take_back_shade(plane(), LIT, ball(), BOUNDS, shadowed())
    assert layer is not None
    points = torch.tensor([[-0.25, -0.1, 0.0], [-0.35, -0.05, 0.0], [-0.3, -0.2, 0.0]])
    ratio = irradiance_ratios(plane(), LIT, ball(), BOUNDS, points, UP.expand(3, 3), "cast")
    assert float(ratio.max()) < 0.6
    left = layer.ratio(points) * ratio
    assert (
        float((left.log().abs()).mean()) < 0.2
    )  # the texture hides a tenth, the mean of a dozen places less
    beside = layer.ratio(torch.tensor([[0.9, 0.9, 0.0], [0.7, -0.6, 0.0]]))
    assert float((beside - 1).abs().max()) < 0.1


def test_a_shadow_that_is_not_there_is_left_alone():
    assert take_back_shade(plane(), LIT, ball(), BOUNDS, shadowed(share=0.0)) is None
    turned = Light(LIT.environment, (sun((-1.0, -0.3, 1.2)),))  # the light is taken to come from elsewhere
    layer = take_back_shade(plane(), turned, ball(), BOUNDS, shadowed())
    if layer is not None:  # what lies in the light there is not made brighter
        assert float(layer.ratio(torch.tensor([[0.35, 0.1, 0.0]])).max()) < 1.15


def test_half_a_shadow_is_taken_back_by_half():
    layer = take_back_shade(plane(), LIT, ball(), BOUNDS, shadowed(share=0.5))
    assert layer is not None
    points = torch.tensor([[-0.25, -0.1, 0.0], [-0.35, -0.05, 0.0]])
    ratio = irradiance_ratios(plane(), LIT, ball(), BOUNDS, points, UP.expand(2, 3), "cast")
    assert float((layer.ratio(points) * ratio**0.5).log().abs().mean()) < 0.2
