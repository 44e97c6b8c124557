"""Where things of known shape stand on the plane z = 0."""

import torch

from nerf_insert.geometry.planes import Plane
from nerf_insert.selection.footing import Footing

FLOOR = Plane(torch.zeros(3), torch.eye(3), tolerance=0.02)
ROUGH, CELL, RADIUS = 0.08, 0.02, 0.3


def circle(radius, height):
    """Points of a body of revolution, from radii and heights of N points."""
    angle = 2 * torch.pi * torch.rand(len(height), generator=torch.Generator().manual_seed(1))
    return torch.stack([radius * angle.cos(), radius * angle.sin(), height], -1)


def heights(count=40_000):
    """Of points that depth shows to be clearly above the floor."""
    return FLOOR.tolerance + 0.3 * torch.rand(count, generator=torch.Generator().manual_seed(0))


def test_a_cylinder_stands_on_the_disc_below_it():
    footing = Footing.find(FLOOR, ROUGH, circle(torch.tensor(RADIUS), heights()), CELL)
    inside, outside = (circle(torch.full((500,), r), torch.zeros(500)) for r in (0.9 * RADIUS, 1.15 * RADIUS))
    assert bool(footing.under(inside).all()) and not bool(footing.under(outside).any())
    wall = circle(torch.full((500,), RADIUS), torch.full((500,), 0.05))
    assert not bool(footing.doubts(wall).any())  # low, but above the disc
    heap = circle(torch.full((500,), 1.15 * RADIUS), torch.full((500,), 0.05))
    assert bool(footing.doubts(heap).all())


def test_a_ball_touches_the_floor_in_a_point_only():
    height = heights()
    ball = circle((RADIUS**2 - (height - RADIUS) ** 2).sqrt(), height)
    footing = Footing.find(FLOOR, ROUGH, ball, CELL)
    floor = circle(RADIUS * torch.linspace(0.4, 1.2, 500), torch.zeros(500))
    assert not bool(footing.under(floor).any())


def test_nothing_that_rises_has_no_footing():
    footing = Footing.find(FLOOR, ROUGH, torch.zeros(0, 3), CELL)
    assert not bool(footing.under(torch.zeros(3, 3)).any())
