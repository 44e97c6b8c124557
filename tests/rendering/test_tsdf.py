"""Fusion of depth maps: where the distance is known, and what it is."""

import torch
from depth_scene import BOX, CENTER, RADIUS, depth_views

from nerf_insert.rendering.tsdf import TRUNCATION_CELLS, TsdfGrid


def fused(index=None, **options):
    grid = TsdfGrid(BOX, 0.05)
    for view in depth_views():
        grid.integrate(view, index, **options)
    return grid


def test_the_grid_covers_the_box_in_whole_cells():
    grid = TsdfGrid(BOX, 0.05)
    assert grid.shape == (41, 41, 27)
    last = torch.tensor([41 * 41 * 27 - 1])
    torch.testing.assert_close(grid.points(torch.tensor([0])), BOX[:1])
    torch.testing.assert_close(grid.points(last), BOX[1:])
    assert TsdfGrid(BOX, 3.0).shape == (2, 2, 2)


def test_points_that_too_few_views_see_are_unknown():
    grid = fused()
    points = grid.points(torch.arange(len(grid.total)))
    inside = ((points - CENTER).norm(dim=-1) < RADIUS - 2 * TRUNCATION_CELLS * 0.05).view(grid.shape)
    assert not grid.known()[points[:, 2].view(grid.shape) < -0.25].any()
    assert grid.distance().isnan().equal(~grid.known())
    assert bool((grid.distance()[:, :, -1] == 1).all())  # high over the ball there is nothing
    assert not bool((grid.known() & inside).any())


def test_the_sign_is_that_of_the_surface():
    """Of the points about a cell away from it."""
    grid = fused()
    points = grid.points(torch.arange(len(grid.total)))
    true = torch.minimum((points - CENTER).norm(dim=-1) - RADIUS, points[:, 2])
    near = grid.known().view(-1) & (true.abs() > 0.05) & (true.abs() < 0.1)
    # where ball and floor meet, rays pass one on the way to the other
    agree = (grid.mean().view(-1)[near] > 0) == (true[near] > 0)
    assert int(near.sum()) > 2000 and float(agree.float().mean()) > 0.97


def test_parts_of_the_grid_are_fused_as_the_whole_is():
    views, grid = depth_views(), TsdfGrid(BOX, 0.05)
    near = grid.near(views)
    assert 0 < len(near) < len(grid.total)
    part, whole = fused(near), fused()
    assert part.total[near].equal(whole.total[near]) and part.views[near].equal(whole.views[near])
    left = torch.ones(len(grid.total), dtype=torch.bool)
    left[near] = False
    assert not part.views[left].any()
    # what is known and not near the surface is free space
    assert bool((whole.mean().view(-1)[left & whole.known().view(-1)] == 1).all())


def test_without_interpolation_depth_is_that_of_the_nearest_pixel():
    assert not fused(interpolate=False).total.equal(fused().total)
    flat = depth_views()[0]
    constant = type(flat)(camera=flat.camera, depth=torch.full_like(flat.depth, 2.0))
    grids = [TsdfGrid(BOX, 0.05) for _ in range(2)]
    for grid, interpolate in zip(grids, (True, False), strict=True):
        grid.integrate(constant, interpolate=interpolate)
    torch.testing.assert_close(grids[0].total, grids[1].total, atol=1e-5, rtol=0)
