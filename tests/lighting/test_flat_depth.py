"""Depth on planes: a floor without texture whose depth has a dent and a hole, and a ball on it, all known."""

from dataclasses import replace

import torch
from depth_scene import CENTER, RADIUS, depth_views

from nerf_insert.lighting.flat_depth import flattened, moved_points

DENT = torch.tensor([-0.5, 0.5, 0.0])  # clear of the ball and its shadow


def damaged():
    """The views with depths around DENT 0.05 too deep; one of them sees right through the floor there."""
    views = []
    for number, view in enumerate(depth_views()):
        points = view.camera.rays().at(view.depth.reshape(-1)).view(*view.depth.shape, 3)
        there = ((points - DENT).norm(dim=-1) < 0.2) & (points[..., 2].abs() < 0.01)
        wrong = torch.full_like(view.depth, 30.0) if number == 2 else view.depth + 0.05
        views.append(replace(view, depth=torch.where(there, wrong, view.depth)))
    return views


def test_a_dent_and_a_hole_become_flat_and_the_ball_stays():
    views, truth = damaged(), depth_views()
    flat = flattened(views, torch.zeros(3), 1.0)
    wrong = right = 0
    for before, view, true in zip(views, flat, truth, strict=True):
        points = true.camera.rays().at(true.depth.reshape(-1)).view(*true.depth.shape, 3)
        dent = (before.depth != true.depth) & true.depth.isfinite()
        wrong += int(dent.sum())
        right += int(((view.depth - true.depth).abs() < 0.01)[dent].sum())
        # what is well above the floor, of another color, keeps its depth to the bit
        ball = ((points - CENTER).norm(dim=-1) < RADIUS + 0.01) & (points[..., 2] > 0.15)
        assert torch.equal(view.depth[ball], before.depth[ball])
    assert wrong > 100
    assert right > 0.95 * wrong  # at a dent's rim depth is interpolated between right and wrong


def test_what_moved_is_told_before_and_after():
    views = damaged()
    moved = moved_points(views, flattened(views, torch.zeros(3), 1.0))
    deep = moved.shown[:, 2] < -0.02
    assert int(deep.sum()) > 100
    assert float(moved.likely[deep, 2].abs().median()) < 0.005  # the floor is z = 0


def test_without_planes_depth_stays():
    views = [replace(view, depth=torch.full_like(view.depth, float("inf"))) for view in depth_views()]
    for before, after in zip(views, flattened(views, torch.zeros(3), 1.0), strict=True):
        assert torch.equal(before.depth, after.depth)
    assert flattened([], torch.zeros(3), 1.0) == []
