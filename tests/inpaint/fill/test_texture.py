"""Completing textures and finding planes, against closed forms."""

import math

import numpy as np
import pytest
import torch

from nerf_insert.geometry.cameras import Rays
from nerf_insert.geometry.planes import Plane, find_planes
from nerf_insert.inpaint.fill.patchmatch import repeats
from nerf_insert.inpaint.fill.texture import complete, light, membrane

H, W = 90, 110
Y, X = np.mgrid[:H, :W].astype(np.float32)
HOLE = ((X - 55) / 20) ** 2 + ((Y - 45) / 15) ** 2 < 1


def gray(values):
    return np.repeat(values[..., None], 3, -1).astype(np.float32)


def chequer(side=9.0, turn=0.3):
    u, v = X * math.cos(turn) + Y * math.sin(turn), Y * math.cos(turn) - X * math.sin(turn)
    return 0.3 + 0.4 * ((np.floor(u / side) + np.floor(v / side)) % 2)


def psnr(a, b):
    return -10 * math.log10(float(((a - b)[HOLE] ** 2).mean()))


def test_a_membrane_is_harmonic():
    # x^2 - y^2 solves the discrete Laplace equation exactly, so only the solver's rounding is left
    values = np.stack([X, (X**2 - Y**2) / 100], -1)
    filled = membrane(np.where(HOLE[..., None], 7, values).astype(np.float32), ~HOLE, HOLE)
    np.testing.assert_allclose(filled, values, atol=1e-3)


def test_a_membrane_does_not_look_across_what_is_neither_known_nor_wanted():
    known, wanted = X < 20, X > 40
    values = np.where(known, 0.25, 9.0)[..., None].astype(np.float32)
    np.testing.assert_allclose(membrane(values, known, wanted)[wanted], 0.25, atol=1e-5)


@pytest.mark.parametrize(
    ("picture", "bar"),
    [
        (gray(0.3 + 0.003 * X + 0.002 * Y), 40),  # a slope of light
        (gray(chequer() * (0.7 + 0.3 * X / W)), 24),  # tiles under a slope; edges are one pixel wide
        (gray(0.5 + 0.3 * np.sin(X / 2.5)), 26),  # stripes
    ],
    ids=["slope", "tiles", "stripes"],
)
def test_what_follows_a_rule_is_carried_on(picture, bar):
    known = ~HOLE
    filled = complete(picture * known[..., None], known, HOLE, seed=0)
    assert psnr(filled, picture) > bar
    np.testing.assert_array_equal(filled[known], picture[known])


def test_a_print_is_no_light():
    """Dark dots, of which some touch the hole, on a third of a wall in a slope of light."""
    slope = np.log(0.4 + 0.002 * X)
    dots = (np.hypot((X + 5) % 20 - 10, (Y + 5) % 20 - 10) < 6.5) & ~HOLE
    found = light(gray(slope - 0.7 * dots), ~HOLE, HOLE)
    # Means over everything would be darker by the share of the dots, 0.2.
    assert np.abs(found - gray(slope))[HOLE].mean() < 0.06


def test_pixels_that_are_neither_known_nor_wanted_play_no_part():
    picture, void = gray(chequer()), X > 95
    known = ~HOLE & ~void
    one = complete(np.where(void[..., None], 0, picture), known, HOLE, seed=1)
    two = complete(np.where(void[..., None], 1, picture), known, HOLE, seed=1)
    np.testing.assert_array_equal(one[~void], two[~void])


def test_the_same_seed_gives_the_same_picture():
    noise = np.random.default_rng(0).random((H, W, 3), dtype=np.float32)
    one, same, other = (complete(noise, ~HOLE, HOLE, seed=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()


def test_next_to_nothing_known():
    nothing, little = np.zeros((H, W), bool), np.zeros((H, W), bool)
    little[40:44, 50:54] = True  # smaller than a patch
    picture = gray(np.full((H, W), 0.25))
    assert (complete(picture, nothing, HOLE)[HOLE] == 0.5).all()
    np.testing.assert_allclose(complete(picture, little, HOLE)[HOLE], 0.25, atol=1e-4)
    np.testing.assert_array_equal(complete(picture, ~nothing, nothing), picture)


def test_a_pattern_repeats_by_its_period():
    picture = gray(((X // 8) + (Y // 6)) % 2)
    found = repeats(picture, ~HOLE, HOLE)
    assert len(found) >= 4
    for row, column in found[:4]:  # a shift by a tile each way, or by two along one axis
        assert row % 6 == 0 and column % 8 == 0 and (row // 6 + column // 8) % 2 == 0


def points_on(normal, offset, count, noise, generator):
    normal = torch.nn.functional.normalize(torch.tensor(normal), dim=0)
    points = torch.rand(count, 3, generator=generator) * 2 - 1
    points -= ((points @ normal) - offset)[:, None] * normal
    return points + noise * torch.randn(count, 1, generator=generator) * normal, normal


def test_planes_are_found_among_noise_and_others():
    generator = torch.Generator().manual_seed(0)
    table, up = points_on((0.1, 0.0, 1.0), 0.05, 2000, 0.004, generator)
    wall, front = points_on((1.0, 0.2, 0.0), -0.6, 1200, 0.004, generator)
    clutter = torch.rand(1500, 3, generator=generator) * 2 - 1
    eyes = torch.tensor([[2.0, 0.0, 2.0], [2.0, 1.0, 1.0], [1.0, -1.0, 2.0]])
    planes = find_planes(torch.cat([table, wall, clutter]), eyes, 1.0, max_planes=2, seed=0)
    for plane, normal, offset in zip(planes, (up, front), (0.05, -0.6), strict=True):
        # noise 0.004 over 1200 points leaves 1e-4 of offset; the clutter within the tolerance adds to it
        assert float(plane.axes[2] @ normal) > 0.9995
        assert float(plane.origin @ normal) == pytest.approx(offset, abs=0.003)
        assert 0.004 < plane.tolerance < 0.03
        torch.testing.assert_close(plane.axes @ plane.axes.T, torch.eye(3), atol=1e-6, rtol=0)


def test_no_plane_in_a_cloud():
    cloud = torch.rand(3000, 3, generator=torch.Generator().manual_seed(0)) * 2 - 1
    assert find_planes(cloud, torch.zeros(1, 3), 1.0, max_planes=3, seed=0) == []
    assert find_planes(cloud[:10], torch.zeros(1, 3), 1.0, max_planes=3, seed=0) == []


def test_rays_meet_a_plane_from_its_front_only():
    plane = Plane(torch.tensor([0.0, 0.0, 0.5]), torch.eye(3), 0.01)
    origins = torch.tensor([[0.0, 0, 2], [0, 0, 2], [0, 0, 2], [0, 0, -1]])
    directions = torch.tensor([[0.0, 0.6, -0.8], [0, 0, 1], [1, 0, 0], [0, 0, 1]])
    hit = plane.hit(Rays(origins, directions))
    assert hit.tolist() == [pytest.approx(1.875), math.inf, math.inf, math.inf]
    points = Rays(origins, directions).at(hit)[:1]
    torch.testing.assert_close(plane.points(plane.coordinates(points)), points)
