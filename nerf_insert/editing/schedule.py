"""The rounds of an edit: which views are painted in each, how strongly, and how long the layer is fitted.

Round k of K paints with strength 1 - f sqrt(k / K), times the schedule's; f is the strength decay. With
anchors, round 0 paints only these, jointly; the other views follow in the next K - 2 rounds, nearest to the
anchors first, from the render of what is there (with K = 3 this is one round, where the order means nothing);
the last round paints only views that are inconsistent with the others. Without anchors every round paints all
views, and f is 0.8, as in the paper's code. With anchors f is small: a layer fitted to a few views is a poor
start, and only its coarsest features, color and position, should be followed (measured in docs/agreement.md).
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

MAX_ANCHORS = 8  # unless the schedule says otherwise
VIEWS_PER_ANCHOR = 3  # at most one view in three is an anchor
MIN_ANCHORS = 3  # fewer are too few to fit a layer to them alone
DECAY, PAPER_DECAY = 0.1, 0.8  # of the strength, with anchors and without


@dataclass(frozen=True)
class Round:
    """One round of painting and fitting.

    Attributes:
        number: From 0.
        strength: How far painting may depart from the input, 0..1.
        views: Views to paint, in this order, as indices into the views that see the region.
        joint: Whether they are painted in one call, so that the inpainter may tile them.
        repaint: Whether views that are inconsistent with the others are painted again.
        steps: Steps of the layer's fit.
    """

    number: int
    strength: float
    views: tuple[int, ...]
    joint: bool
    repaint: bool
    steps: int


def round_strength(number: int, rounds: int, decay: float) -> float:
    """Return 1 - f sqrt(k / K)."""
    return 1 - decay * (number / rounds) ** 0.5


def select_anchors(
    schedule: Schedule,
    rounds: int,
    views: Sequence[RegionView],
    center: Float[Tensor, "3"],
    approved: Sequence[int] = (),
) -> tuple[int, ...]:
    """Choose the views that are painted first; none if all are painted at once.

    Args:
        schedule: Its `anchors` is their number, if given.
        rounds: The number of rounds.
        views: The views that see the region.
        center: The region's center, world coordinates.
        approved: Views that have their images already; they are anchors.
    """
    count = schedule.anchors
    if count is None:
        count = min(MAX_ANCHORS, len(views) // VIEWS_PER_ANCHOR)
        count = count if count >= MIN_ANCHORS else 0
    if rounds < 2 or (not count and not approved) or count >= len(views):
        return ()
    return choose_anchors(views, center, max(count, len(approved)), approved)


def plan_rounds(
    schedule: Schedule,
    rounds: int,
    views: Sequence[RegionView],
    center: Float[Tensor, "3"],
    approved: Sequence[int] = (),
) -> list[Round]:
    """Plan the rounds of an edit.

    Args:
        schedule: What the recipe says; its `steps` is a number.
        rounds: The number of rounds, K.
        views: The views that see the region.
        center: The region's center, world coordinates.
        approved: Views that have their images already and are never painted.
    """
    anchors = select_anchors(schedule, rounds, views, center, approved)
    decay = schedule.strength_decay
    decay = (DECAY if anchors else PAPER_DECAY) if decay is None else decay
    everything = tuple(index for index in range(len(views)) if index not in approved)
    if anchors:
        others = nearest_first(views, center, anchors)
        parts = [tuple(part.tolist()) for part in torch.tensor(others).tensor_split(max(1, rounds - 2))]
        painted = [tuple(index for index in anchors if index not in approved), *parts]
        painted += [()] * (rounds - len(painted))
        weights = [1.0] * (rounds - 1) + [2.0]  # of the steps
    else:
        painted, weights = [everything] * rounds, [1.0] * rounds
    if schedule.repaint == "all" and anchors:
        painted[-1] = everything
    steps = schedule.steps or 0
    return [
        Round(
            number=k,
            strength=schedule.strength * round_strength(k, rounds, decay),
            views=painted[k],
            joint=bool(anchors) and k == 0,
            repaint=bool(anchors) and k >= 2 and schedule.repaint == "inconsistent",
            steps=max(1, int(steps * weights[k] / sum(weights))),
        )
        for k in range(rounds)
    ]
