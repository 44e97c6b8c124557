"""Light from all directions on a square."""

import math

import pytest
import torch

from nerf_insert.lighting.light import fibonacci_sphere
from nerf_insert.lighting.octahedral_map import (
    OctahedralMap,
    cosine_average,
    pixel_directions,
    spread_directions_average,
    square_places,
)

SIDE = 64


def test_places_are_where_pixels_are():
    directions = pixel_directions(SIDE)
    assert torch.allclose(directions.norm(dim=-1), torch.ones(SIDE, SIDE))
    line = (torch.arange(SIDE) + 0.5) / SIDE
    y, x = torch.meshgrid(line, line, indexing="ij")
    assert torch.allclose(
        square_places(directions.view(-1, 3)), torch.stack([x, y], -1).view(-1, 2), atol=1e-6
    )


def test_pixels_cover_the_sphere_once():
    size = pixel_directions(SIDE).abs().sum(-1) ** 3 * 4 / SIDE**2
    assert float(size.sum()) == pytest.approx(4 * math.pi, rel=1e-3)


@pytest.mark.parametrize("solid_angle", [0.0, 0.01, 0.1, 1.0, 12.0])
def test_uniform_light_stays_as_it_is(solid_angle):
    light = OctahedralMap(torch.full((SIDE, SIDE, 3), 0.7))
    assert torch.allclose(
        light.average(fibonacci_sphere(500), torch.full((500,), solid_angle)), torch.tensor(0.7)
    )


def test_smooth_light_is_interpolated_also_across_the_folds():
    """A linear function of the direction. Along the octahedron's edges, where the square is creased, it is
    off by up to half a pixel, of 0.05; a wrong fold would be off by a pixel or more."""
    light = OctahedralMap(pixel_directions(SIDE))
    directions = fibonacci_sphere(20_000)
    off = (light.average(directions) - directions).norm(dim=-1)
    assert float(off.max()) < 0.025 and float(off.median()) < 1e-3


def test_an_average_goes_over_about_its_solid_angle():
    """Of a cap of light, seen from its middle: 1 while the average is smaller, then ever less."""
    up = torch.tensor([[0.0, 0.0, 1.0]])
    directions = pixel_directions(SIDE)
    light = OctahedralMap((directions[..., 2:] > math.cos(0.5)).float())
    cap = 2 * math.pi * (1 - math.cos(0.5))
    shown = [float(light.average(up, torch.tensor([k * cap]))) for k in (0.01, 0.1, 0.5, 8.0)]
    assert shown[0] == pytest.approx(1) and shown[1] > 0.8
    assert 0.5 < shown[2] < 0.9 and shown[3] < 0.35  # 16 pixels are the fewest that are kept
    assert sorted(shown, reverse=True) == shown


def test_irradiance_of_light_that_is_linear_in_its_direction():
    """Light 1 + a . d gives irradiance 1 + 2/3 a . n, in units of what a white surface shows."""
    a = torch.tensor([0.3, -0.5, 0.4])
    light = OctahedralMap((1 + pixel_directions(SIDE) @ a)[..., None].expand(-1, -1, 3))
    found = cosine_average(light).image[..., 0]
    normals = pixel_directions(len(found))
    assert torch.allclose(found, 1 + 2 / 3 * normals @ a, atol=2e-3)  # summed over pixels of 3 degrees


def test_values_of_spread_directions_become_an_image():
    spread = fibonacci_sphere(256)
    a = torch.tensor([0.3, -0.5, 0.4])
    image = spread_directions_average(1 + spread @ a[:, None], spread, SIDE)
    # the lobe is as wide as directions are apart and takes off the linear part a few hundredths
    assert torch.allclose(image[..., 0], 1 + pixel_directions(SIDE) @ a, atol=0.04)
