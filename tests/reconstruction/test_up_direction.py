"""Up from how cameras were held and moved, and from planes, in scenes whose up is known."""

import numpy as np
import pytest
import walks
from known_up import (
    UP,
    a_board_that_leans,
    blob,
    degrees,
    facing_a_wall,
    leaning_phones_on_one_side,
    on_a_table,
    ring,
    room_from_inside,
    solve,
    steeply_down,
    table,
    turned_phones,
    walk_through_a_corridor,
)

from nerf_insert.reconstruction.scene_planes import scene_planes
from nerf_insert.reconstruction.up_direction import find_up, held_score, loop_axis

SCENES = [on_a_table, leaning_phones_on_one_side, room_from_inside, facing_a_wall, walk_through_a_corridor,
          a_board_that_leans, turned_phones, steeply_down]  # fmt: skip


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.__name__)
def test_up_is_found(scene):
    solution = solve(*scene())
    up = find_up(solution, {})
    assert up.origin == "scene"
    assert up.sure or scene is leaning_phones_on_one_side  # cameras and table say different things
    assert degrees(up.direction, UP) < 1.0


def test_it_is_better_than_the_cameras_alone():
    leaning, turned = (
        solve(*scene()).c2w[:, :, 1].mean(0) for scene in (leaning_phones_on_one_side, turned_phones)
    )
    assert degrees(leaning, UP) > 10 and degrees(turned, UP) > 80


def test_without_planes_the_cameras_are_what_is_left():
    solution = solve(ring(200), np.random.default_rng(0).uniform(-0.6, 0.6, (1500, 3)))
    up = find_up(solution, {})
    assert up.origin == "cameras" and degrees(up.direction, UP) < 6
    assert not scene_planes(solution)
    few = solve(ring(200), np.zeros((5, 3)))
    assert find_up(few, {}).origin == "cameras"


def test_it_is_said_when_nothing_tells_up():
    """All photographs from nearly one place, no plane: up may be anywhere above the rows."""
    poses = [walks.look_at((0.1 * k, -2, 1), (0, 0, 1), roll=8 * (-1) ** k) for k in range(6)]
    up = find_up(solve(poses, blob((0, 0, 1), 0.5)), {})
    assert up.origin == "cameras" and not up.sure


def test_planes_face_the_cameras_and_know_their_share():
    plane, *others = scene_planes(solve(*on_a_table()))
    assert degrees(plane.normal, UP) < 0.5 and 0.5 < plane.share < 0.9 and not others


def test_a_loop_is_told_from_a_line_and_from_a_turn_on_the_spot():
    points = table()
    axis = loop_axis(solve(ring(), points))
    assert axis is not None and min(degrees(axis, UP), degrees(-axis, UP)) < 5
    assert loop_axis(solve(walk_through_a_corridor()[0], points)) is None
    assert loop_axis(solve(ring(90), points)) is None
    outward = [np.column_stack([-pose[:, 0], pose[:, 1], -pose[:, 2], pose[:, 3]]) for pose in ring()]
    assert loop_axis(solve(outward, points)) is None


def test_rows_are_level_and_people_look_down_rather_than_up():
    pose = walks.look_at((0, -2, 0), (0, 0, 0))[None]
    level, up_30, down_30, rolled = (
        np.array([[0, s, c]]) if tilt else np.array([[s, 0, c]])
        for tilt, s, c in [
            (1, 0.0, 1.0),
            (1, 0.5, np.sqrt(0.75)),
            (1, -0.5, np.sqrt(0.75)),
            (0, 0.5, np.sqrt(0.75)),
        ]
    )
    scores = [float(held_score(direction, pose)[0]) for direction in (level, down_30, up_30, rolled)]
    assert scores == sorted(scores, reverse=True)
