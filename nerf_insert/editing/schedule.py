"""The rounds of an edit: which views are painted in each, how strongly, and how long the layer is fitted.

Round k of K paints with strength 1 - f sqrt(k / K), times the schedule's. With anchors, round 0 paints these
alone and together; the other views follow, from the render of what is there, in the K - 2 rounds after it,
nearest first (with K = 3 that is one round, in which their order means nothing); the last round paints only
views that contradict the others. Without anchors every round paints all views, and f is 0.8, which is the way
of the paper's code. With them f is small: a layer of a few views is a poor picture to start from, and only
the coarsest of it, its colors and where it is, should be followed (measured in docs/agreement.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from nerf_insert.editing.region_views import RegionView
from nerf_insert.editing.view_selection import choose_anchors, nearest_first
from nerf_insert.scene.recipe import Schedule

ANCHORS = 8  # unless the schedule says otherwise
SHARE = 3  # at most one view in so many is an anchor
FEWEST = 3  # anchors, to fit a layer to them alone
FALL, FALL_OF_PAPER = 0.1, 0.8  # of the strength, with anchors and without


@dataclass(frozen=True)
class Round:
    number: int
    strength: float
    views: tuple[int, ...]  # painted in this order; indices into the views that see the region
    together: bool  # in one call, so that the inpainter may tile them
    doubted: bool  # views that contradict the others are painted again
    steps: int  # of the layer's fit


def strength_of(number: int, rounds: int, fall: float) -> float:
    """1 - f sqrt(k / K)."""
    return 1 - fall * (number / rounds) ** 0.5


def anchors_of(
    schedule: Schedule,
    rounds: int,
    views: Sequence[RegionView],
    center: Float[Tensor, "3"],
    approved: Sequence[int] = (),
) -> tuple[int, ...]:
    """The views that are painted first, none where all are painted at once."""
    count = schedule.anchors
    if count is None:
        count = min(ANCHORS, len(views) // SHARE)
        count = count if count >= FEWEST else 0
    if rounds < 2 or (not count and not approved) or count >= len(views):
        return ()
    return choose_anchors(views, center, max(count, len(approved)), approved)


def plan(
    schedule: Schedule,
    rounds: int,
    views: Sequence[RegionView],
    center: Float[Tensor, "3"],
    approved: Sequence[int] = (),
) -> list[Round]:
    """The K = `rounds` rounds of an edit. `approved` views have their pictures already; `center` is the
    region's, in world coordinates."""
    anchors = anchors_of(schedule, rounds, views, center, approved)
    fall = schedule.strength_decay
    fall = (FALL if anchors else FALL_OF_PAPER) if fall is None else fall
    everything = tuple(index for index in range(len(views)) if index not in approved)
    if anchors:
        waves = max(1, rounds - 2)
        others = nearest_first(views, center, anchors)
        parts = [tuple(part.tolist()) for part in torch.tensor(others).tensor_split(waves)]
        painted = [tuple(index for index in anchors if index not in approved), *parts]
        painted += [()] * (rounds - len(painted))
        shares = [1.0] * (rounds - 1) + [2.0]
    else:
        painted, shares = [everything] * rounds, [1.0] * rounds
    if schedule.repaint == "all" and anchors:
        painted[-1] = everything
    return [
        Round(
            number=k,
            strength=schedule.strength * strength_of(k, rounds, fall),
            views=painted[k],
            together=bool(anchors) and k == 0,
            doubted=bool(anchors) and k >= 2 and schedule.repaint == "inconsistent",
            steps=max(1, int(schedule.steps * shares[k] / sum(shares))),
        )
        for k in range(rounds)
    ]
