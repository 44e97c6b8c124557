"""Anchors and rounds: laws that hold for every number of views and rounds, and plans worked out by hand."""

import math
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from analytic import look_at

from nerf_insert.capture.view import View
from nerf_insert.editing.region_views import RegionView
from nerf_insert.editing.schedule import plan_rounds
from nerf_insert.editing.view_selection import choose_anchors, nearest_first, view_directions
from nerf_insert.scene.recipe import Schedule

CENTER = torch.zeros(3)


def around(count, shown=None):
    """Views from a circle around the region, each of which shows so many pixels of it."""
    views = []
    for index in range(count):
        angle = 2 * math.pi * index / count
        camera = look_at((2 * math.cos(angle), 2 * math.sin(angle), 0.5), (0, 0, 0), (16, 12), focal=16.0)
        mask = torch.zeros(12, 16, dtype=torch.bool)
        mask.view(-1)[: (shown or {}).get(index, 100)] = True
        views.append(RegionView(View(f"images/{index:03d}.png", Path(f"{index:03d}.png"), camera), mask))
    return views


def plan(count, rounds, approved=(), **schedule):
    return plan_rounds(Schedule(**{"steps": 400, **schedule}), rounds, around(count), CENTER, approved)


@pytest.mark.parametrize("count", [3, 4, 6, 8])
def test_anchors_are_from_around(count):
    """No direction is farther from an anchor than twice the best there is, as is known of the method."""
    views = around(48)
    chosen = choose_anchors(views, CENTER, count)
    assert len(set(chosen)) == count
    directions = view_directions([seen.view.camera for seen in views], CENTER)
    gaps = (directions @ directions[list(chosen)].T).clamp(-1, 1).acos().amin(1)
    assert math.degrees(float(gaps.max())) <= 360 / count + 1


def test_anchors_show_much_of_the_region():
    views = around(24, {index: 100 if index % 2 else 2 for index in range(24)})
    assert all(index % 2 for index in choose_anchors(views, CENTER, 6))
    assert choose_anchors(views, CENTER, 4, given=(2, 3))[:2] == (2, 3)
    assert choose_anchors(views, CENTER, 0) == () and len(choose_anchors(views, CENTER, 99)) == 24


def test_the_nearest_come_first():
    order = nearest_first(around(12), CENTER, [0])
    assert sorted(order) == list(range(1, 12))
    assert set(order[:2]) == {1, 11} and order[-1] == 6


# (views, rounds, anchors asked for): (views painted in each round, strengths, steps of 400)
PLANS = {
    (12, 3, None): ([4, 8, 0], [1.0, 0.9423, 0.9184], [100, 100, 200]),
    (40, 3, None): ([8, 32, 0], [1.0, 0.9423, 0.9184], [100, 100, 200]),
    (40, 2, None): ([8, 32], [1.0, 0.9293], [133, 266]),
    (40, 5, 6): ([6, 12, 11, 11, 0], [1.0, 0.9553, 0.9368, 0.9225, 0.9106], [66, 66, 66, 66, 133]),
    (40, 1, None): ([40], [1.0], [400]),  # one round paints everything
    (8, 3, None): ([8, 8, 8], [1.0, 0.5381, 0.3468], [133, 133, 133]),  # two anchors are too few
    (12, 3, 0): ([12, 12, 12], [1.0, 0.5381, 0.3468], [133, 133, 133]),  # the paper's way
    (4, 3, 6): ([4, 4, 4], [1.0, 0.5381, 0.3468], [133, 133, 133]),  # more anchors than views
}


@pytest.mark.parametrize("case", PLANS, ids=str)
def test_plans_worked_out_by_hand(case):
    count, rounds, anchors = case
    painted, strengths, steps = PLANS[case]
    made = plan(count, rounds, anchors=anchors)
    assert [len(this.views) for this in made] == painted
    assert [this.strength for this in made] == pytest.approx(strengths, abs=1e-4)
    assert [this.steps for this in made] == steps


def test_strength_and_its_decay_are_the_schedules():
    assert [this.strength for this in plan(12, 4, strength=0.5, strength_decay=0.0)] == [0.5] * 4
    assert [this.strength for this in plan(12, 4, strength_decay=1.0)] == pytest.approx(
        [1.0, 0.5, 1 - 0.5**0.5, 1 - 0.75**0.5]
    )


@pytest.mark.parametrize("rounds", [1, 2, 3, 8])
@pytest.mark.parametrize("count", [4, 12, 40])
@pytest.mark.parametrize("anchors", [None, 0, 3])
def test_what_holds_for_every_plan(rounds, count, anchors):
    made = plan(count, rounds, anchors=anchors, steps=800)
    assert [this.number for this in made] == list(range(rounds))
    assert all(later.strength < sooner.strength for sooner, later in pairwise(made))
    assert 800 - rounds <= sum(this.steps for this in made) <= 800
    painted = [view for this in made for view in this.views]
    first = made[0]
    assert not any(this.joint for this in made[1:]) and not any(this.repaint for this in made[:2])
    if first.joint:  # anchors alone, then each of the others once, nearest to them first
        assert sorted(painted) == list(range(count)) and len(first.views) < count
        assert painted[len(first.views) :] == list(nearest_first(around(count), CENTER, first.views))
    else:
        assert all(sorted(this.views) == list(range(count)) and not this.repaint for this in made)


def test_approved_views_are_anchors_and_are_never_painted():
    made = plan(24, 3, approved=(5, 11))
    painted = [view for this in made for view in this.views]
    assert made[0].joint and len(made[0].views) == 6 and not {5, 11} & set(painted)
    assert sorted([*painted, 5, 11]) == list(range(24))
    once = plan(24, 1, approved=(5,))
    assert once[0].views == tuple(v for v in range(24) if v != 5)


def test_what_is_painted_again():
    last = {how: plan(24, 3, repaint=how)[-1] for how in ("inconsistent", "all", "none")}
    assert last["inconsistent"].repaint and not last["all"].repaint and not last["none"].repaint
    assert last["all"].views == tuple(range(24)) and last["none"].views == last["inconsistent"].views == ()
