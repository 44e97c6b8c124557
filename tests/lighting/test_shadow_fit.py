"""Lights fitted to shadows against lights that are known: a ball over a textured plane."""

import math
from dataclasses import replace

import torch
from lit_ball import BOUNDS, UP, ball, plane, sun

from nerf_insert.geometry.frames import orthonormal_frame
from nerf_insert.lighting.light import Light
from nerf_insert.lighting.light_fit import Samples, weighted_median
from nerf_insert.lighting.light_parts import irradiance_ratios
from nerf_insert.lighting.shadow_fit import fit_light, fit_shadow, share_at

TRUE = Light(torch.tensor([0.2, 0.25, 0.4]).expand(256, 3), (sun((0.9, 0.3, 1.0)),))


def squares(points, contrast=0.8):
    """A chequer of squares as large as the ball, with noise on it."""
    noise = 0.05 * torch.randn(len(points), 1, generator=torch.Generator().manual_seed(0))
    dark = ((points[:, :2] / 0.3).floor().sum(-1) % 2)[:, None]
    return torch.log(torch.tensor([0.4, 0.35, 0.3])) - contrast * dark + noise


def samples():
    generator = torch.Generator().manual_seed(1)
    flat = (torch.rand(20_000, 2, generator=generator) - 0.5) * 3
    return torch.cat([flat, torch.zeros(len(flat), 1)], -1), UP.expand(len(flat), 3)


def turned(light, degrees):
    key = light.keys[0]
    side = orthonormal_frame(key.direction)[0]
    moved = torch.nn.functional.normalize(key.direction + math.tan(math.radians(degrees)) * side, dim=0)
    return replace(light, keys=(replace(key, direction=moved, angle=math.radians(20)),))


def test_a_rough_light_becomes_the_one_whose_shadow_is_seen():
    """It is 7 degrees off, 20 degrees wide and half as strong; what is seen is as sharp as a sun's."""
    points, normals = samples()
    ratio = irradiance_ratios(plane(), TRUE, ball(), BOUNDS, points, normals, "cast")
    rough = turned(TRUE, 7.0)
    rough = replace(rough, keys=(replace(rough.keys[0], irradiance=torch.full((3,), 0.5)),))
    fit = fit_shadow(plane(), rough, ball(), BOUNDS, Samples(points, normals, squares(points) + ratio.log()))
    assert fit is not None
    key = fit.light.keys[0]
    off = math.degrees(math.acos(min(1.0, float(key.direction @ TRUE.keys[0].direction))))
    # the last steps are of 1 degree, along directions 60 degrees apart
    assert off < 1.5 and math.degrees(key.angle) < 4
    # the last factors on a strength are 0.93 and 1.07, and the chequer stays
    assert float((key.irradiance / TRUE.keys[0].irradiance - 1).abs().max()) < 0.2
    assert 0.9 < float(share_at(fit.places, fit.shares, torch.tensor([[-0.3, -0.1, 0.0]]))) <= 1.1


def test_a_shadow_that_is_seen_on_one_side_alone_is_told_apart():
    """Where the photographs show none of it, next to none is taken back."""
    points, normals = samples()
    ratio = irradiance_ratios(plane(), TRUE, ball(), BOUNDS, points, normals, "cast")
    shown = (points[:, 1] < -0.1)[:, None]  # the shadow lies around y = -0.1
    seen = squares(points, contrast=0.0) + torch.where(shown, ratio.log(), 0.0)
    fit = fit_shadow(plane(), TRUE, ball(), BOUNDS, Samples(points, normals, seen))
    assert fit is not None
    there, missing = torch.tensor([[-0.4, -0.3, 0.0]]), torch.tensor([[-0.45, 0.1, 0.0]])
    shares = [float(share_at(fit.places, fit.shares, place)) for place in (there, missing)]
    assert shares[0] > shares[1] + 0.4


def test_where_nothing_is_in_the_light_it_stays_as_it_was():
    """All of a bare plane is lit alike by any sun: texture must not be taken for shadows."""
    points, normals = (values[:3000] for values in samples())
    rough = turned(TRUE, 7.0)
    assert fit_light(plane(), rough, Samples(points, normals, squares(points)), 1.0) is rough


def test_a_weighted_median_is_that_of_repeated_values():
    values = torch.tensor([[3.0, 1.0, 2.0, 9.0], [5.0, 4.0, 3.0, 2.0]])
    weights = torch.tensor([[1.0, 2.0, 1.0, 3.0], [0.0, 0.0, 0.0, 0.0]])
    assert weighted_median(values, weights).tolist() == [3.0, 0.0]  # of 1, 1, 2, 3, 9, 9, 9
