"""Reflection at rough surfaces, against closed forms and a second way of integrating."""

import math

import pytest
import torch

from nerf_insert.lighting.light import fibonacci_sphere
from nerf_insert.lighting.microfacets import (
    distribution,
    facet_samples,
    fresnel,
    reflectances,
    spread_places,
    tangent_frame,
)
from nerf_insert.lighting.reflection import REFLECTANCE, lobe, reflected_fractions

COUNT = 1024


def surface(cosine, roughness, count=COUNT):
    """One point, seen at an angle, as often as its lobe is sampled."""
    normal = torch.nn.functional.normalize(torch.tensor([[0.3, -0.5, 0.8]]), dim=-1)
    u, _, n = tangent_frame(normal)[0]
    eye = (cosine * n + math.sqrt(1 - cosine**2) * u)[None]
    rough = torch.full((count, 1), float(roughness))
    return normal.expand(count, 3), eye.expand(count, 3), rough


def test_a_mirror_reflects_by_the_law_of_reflection_and_loses_nothing():
    normals, eye, rough = surface(0.6, 0.0)
    facets = facet_samples(normals, eye, rough, spread_places(COUNT), COUNT)
    mirrored = 2 * 0.6 * normals - eye
    # the lobe of a mirror has a facet tilted by 1e-3 as its middle; its tail is long
    assert float((facets.light - mirrored).norm(dim=-1).median()) < 3e-3
    assert float((facets.light * normals).sum(-1).min()) > 0
    assert float(facets.weight.mean()) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("roughness", [0.0, 0.2, 0.5, 0.8, 1.0])
@pytest.mark.parametrize("cosine", [1.0, 0.6, 0.2])
def test_white_furnace(cosine, roughness):
    """A metal of base color 1 in uniform light shows that light, at any roughness and from any side."""
    normals, eye, rough = surface(cosine, roughness)
    white = torch.ones(COUNT, 3)
    facets = facet_samples(normals, eye, rough, spread_places(COUNT), COUNT)
    gain = reflectances(rough, torch.full((COUNT, 1), cosine)).gain(white)
    share = facets.weight * fresnel(white, torch.ones(COUNT, 1), facets.cosine) * gain
    # the table is made of 256 samples, at 33 angles
    assert share.mean(0).tolist() == pytest.approx([1.0] * 3, abs=3e-3)


def test_metal_s_color_is_what_it_reflects_head_on_and_white_at_the_edge():
    gold = torch.tensor([[1.0, 0.77, 0.34]])
    edge = torch.ones(1, 1)
    assert torch.allclose(fresnel(gold, edge, torch.ones(1, 1)), gold)
    assert torch.allclose(fresnel(gold, edge, torch.zeros(1, 1)), torch.ones(1, 3))


@pytest.mark.parametrize("roughness", [0.3, 0.6, 1.0])
def test_sampled_shares_are_those_of_the_lobe_integrated_over_all_directions(roughness):
    """`reflected_fractions` sums the lobe over the sphere; it knows nothing of the sampling."""
    cosine = torch.linspace(0, 1, 33)[8:, None]
    shares = reflectances(torch.full_like(cosine, roughness), cosine)
    sampled = REFLECTANCE * shares.straight + shares.edge
    summed = reflected_fractions(roughness)[8:, None]
    assert torch.allclose(sampled, summed, rtol=0.01, atol=1e-4)


def test_facets_cover_the_surface_once():
    """The projected area of all facets is that of the surface: the integral of D times the cosine is 1."""
    cosine = fibonacci_sphere(1 << 16)[:, 2:].clamp_min(0)
    for alpha in (0.1, 0.4, 1.0):
        area = 4 * math.pi * (distribution(cosine, torch.tensor(alpha)) * cosine).mean()
        assert float(area) == pytest.approx(1, rel=2e-3)


def test_each_direction_stands_for_the_solid_angle_that_its_density_says():
    """Of light from a small cap, samples weighted by their solid angle give the lobe's share of it."""
    normals, eye, rough = surface(0.7, 0.6, 1 << 16)
    facets = facet_samples(normals, eye, rough, spread_places(1 << 16), 1 << 16)
    axis = torch.nn.functional.normalize(2 * 0.7 * normals[0] - eye[0] + 0.2 * normals[0], dim=0)
    inside = facets.light @ axis > math.cos(0.1)
    cap = 2 * math.pi * (1 - math.cos(0.1))
    assert float(facets.solid_angle[inside].sum()) == pytest.approx(cap, rel=0.02)  # by counting samples
    # and their mean weight there is the lobe times the cosine, over the density
    value, _ = lobe(normals[:1], axis[None], eye[:1], 0.6**4)
    cosine = float(normals[0] @ axis)
    expected = float(value) * cosine * cap / math.pi
    assert float(facets.weight[inside].sum() / (1 << 16)) == pytest.approx(expected, rel=0.03)
