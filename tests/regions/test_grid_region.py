"""Regions of cells, against the ball that the cells fill; what is damaged is refused."""

import pytest
import torch
from analytic import look_at

from nerf_insert.errors import InputError
from nerf_insert.io.files import write_tensors
from nerf_insert.regions import GridRegion, load_region
from nerf_insert.regions.distance_grid import Lattice

CENTER, RADIUS = torch.tensor([0.2, -0.1, 0.3]), 0.4


@pytest.fixture(scope="module")
def lattice():
    return Lattice.over(torch.stack([CENTER - RADIUS, CENTER + RADIUS]), 0.05, 40_000)


@pytest.fixture(scope="module")
def ball(lattice):
    inside = (lattice.points() - CENTER).norm(dim=-1) < RADIUS
    return GridRegion.of_cells(lattice, inside.view(lattice.shape))


def test_membership_and_distance_are_those_of_the_ball_within_a_cell(ball, lattice):
    points = CENTER + 1.4 * (torch.rand(20_000, 3, generator=torch.Generator().manual_seed(0)) - 0.5)
    true = (points - CENTER).norm(dim=-1) - RADIUS
    sure = true.abs() > lattice.spacing
    assert torch.equal(ball.contains(points)[sure], true[sure] < 0)
    # the nearest cell's border is at most half a cell's diagonal from the ball's; outside, never too large
    assert float((ball.distance(points) - true)[true < 0.1].abs().max()) < 0.87 * 1.5 * lattice.spacing
    assert float((ball.distance(points) - true).max()) <= ball.precision


def test_rays_meet_it_where_they_meet_the_ball(ball, lattice):
    camera = look_at((1.8, 0.4, 0.9), CENTER.tolist(), (60, 45), focal=70.0)
    rays = camera.rays()
    toward = CENTER - rays.origins
    along = (toward * rays.directions).sum(-1)
    off = (toward.square().sum(-1) - along**2).sqrt()
    met = ball.entry(rays)
    sure = (off - RADIUS).abs() > lattice.spacing
    assert torch.equal(met.isfinite()[sure], (off < RADIUS)[sure])
    central = off < 0.8 * RADIUS
    true = along - (RADIUS**2 - off**2).clamp_min(0).sqrt()
    # a cell's error across the border is at most 1 / cos of 53 degrees along the ray, and a step is added
    assert float((met - true)[central].abs().max()) < 1.7 * lattice.spacing + ball.step


def test_a_saved_grid_is_the_same_and_a_damaged_one_is_refused(ball, lattice, tmp_path):
    data = ball.save(tmp_path)
    points = lattice.points()
    assert torch.equal(load_region(data, tmp_path).distance(points), ball.distance(points))
    with pytest.raises(InputError, match="damaged"):
        load_region({**data, "spacing": 0}, tmp_path)
    with pytest.raises(InputError, match="damaged"):
        load_region({**data, "low": [0.0, 1.0]}, tmp_path)
    write_tensors(tmp_path / "grid.safetensors", {"distance": torch.zeros(4, 4)})
    with pytest.raises(InputError, match="damaged"):
        load_region(data, tmp_path)
    with pytest.raises(InputError, match="empty"):
        GridRegion.of_cells(lattice, torch.zeros(lattice.shape, dtype=torch.bool))
