"""Anchors and rounds: laws that hold for every number of views and rounds."""

import math

import pytest
import torch
from analytic import look_at

from nerf_insert.capture.view import View
from nerf_insert.editing.region_views import RegionView
from nerf_insert.editing.schedule import plan
from nerf_insert.editing.view_selection import choose_anchors, directions, nearest_first
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
        views.append(RegionView(View(f"images/{index:03d}.png", f"{index:03d}.png", camera), mask))
    return views


@pytest.mark.parametrize("count", [3, 4, 6, 8])
def test_anchors_are_from_around(count):
    """No direction is farther from an anchor than twice the best there is, as is known of the method."""
    views = around(48)
    chosen = choose_anchors(views, CENTER, count)
    assert len(set(chosen)) == count
    towards = directions(views, CENTER)
    gaps = (towards @ towards[list(chosen)].T).clamp(-1, 1).acos().amin(1)
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


@pytest.mark.parametrize("rounds", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("count", [4, 12, 40])
@pytest.mark.parametrize("anchors", [None, 0, 3, 6])
@pytest.mark.parametrize("fall", [None, 0.0, 0.5])
def test_every_view_is_painted(rounds, count, anchors, fall):
    schedule = Schedule(anchors=anchors, steps=800, strength_decay=fall)
    made = plan(schedule, rounds, around(count), CENTER)
    assert [this.number for this in made] == list(range(rounds))
    fall = (0.1 if made[0].together else 0.8) if fall is None else fall
    strengths = [1 - fall * math.sqrt(k / rounds) for k in range(rounds)]
    assert [this.strength for this in made] == pytest.approx(strengths)
    assert 800 - 2 * rounds <= sum(this.steps for this in made) <= 800
    painted = [view for this in made for view in this.views]
    first = made[0]
    if first.together:  # anchors alone, then each of the others once, nearest to them first
        assert sorted(painted) == list(range(count)) and len(first.views) < count
        assert not any(this.doubted for this in made[:2])
        assert rounds < 3 or made[-1].views == ()
        if rounds >= 2:
            assert painted[len(first.views) :] == list(nearest_first(around(count), CENTER, first.views))
    else:  # the paper's way
        assert all(this.views == tuple(range(count)) and not this.doubted for this in made)
    assert first.together == (
        rounds > 1 and anchors != 0 and (anchors or min(8, count // 3)) in range(3, count)
    )


def test_approved_views_are_anchors_and_are_never_painted():
    made = plan(Schedule(steps=400), 3, around(24), CENTER, approved=(5, 11))
    painted = [view for this in made for view in this.views]
    assert made[0].together and len(made[0].views) == 6 and not {5, 11} & set(painted)
    assert sorted([*painted, 5, 11]) == list(range(24))
    once = plan(Schedule(steps=400), 1, around(24), CENTER, approved=(5,))
    assert once[0].views == tuple(v for v in range(24) if v != 5)


def test_what_is_painted_again():
    last = {
        how: plan(Schedule(steps=400, repaint=how), 3, around(24), CENTER)[-1]
        for how in ("inconsistent", "all", "none")
    }
    assert last["inconsistent"].doubted and not last["all"].doubted and not last["none"].doubted
    assert last["all"].views == tuple(range(24)) and last["none"].views == last["inconsistent"].views == ()
