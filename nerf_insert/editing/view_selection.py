"""Which views are painted first, and in which order the others follow.

Views are told apart by the direction from which they look at the region; V is their number.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from nerf_insert.editing.region_views import RegionView


def directions(views: Sequence[RegionView], center: Float[Tensor, "3"]) -> Float[Tensor, "V 3"]:
    """From the region to the cameras, of length one, in world coordinates."""
    away = torch.stack([seen.view.camera.center for seen in views]) - center
    return torch.nn.functional.normalize(away, dim=-1)


def choose_anchors(
    views: Sequence[RegionView], center: Float[Tensor, "3"], count: int, given: Sequence[int] = ()
) -> tuple[int, ...]:
    """`count` views that look at the region from around and show much of it; `given` ones come first.

    Farthest-point sampling over directions: the next is the one at the largest angle to all those chosen,
    in which a view that shows little of the region counts as nearer than it is.
    """
    towards = directions(views, center)
    shown = torch.tensor([float(seen.mask.sum()) / seen.mask.numel() for seen in views])
    worth = (shown / shown.max()).sqrt()
    chosen = list(given)
    if not chosen and count:
        chosen.append(int(worth.argmax()))
    while len(chosen) < min(count, len(views)):
        score = _angle_to_nearest(towards, chosen) * worth
        score[chosen] = -1
        chosen.append(int(score.argmax()))
    return tuple(chosen)


def nearest_first(
    views: Sequence[RegionView], center: Float[Tensor, "3"], painted: Sequence[int]
) -> tuple[int, ...]:
    """The views that are not painted, those first whose direction is nearest to a painted one's."""
    angles = _angle_to_nearest(directions(views, center), painted)
    left = [index for index in range(len(views)) if index not in painted]
    return tuple(sorted(left, key=lambda index: float(angles[index])))


def _angle_to_nearest(towards: Float[Tensor, "V 3"], chosen: Sequence[int]) -> Float[Tensor, " V"]:
    """Radians."""
    return (towards @ towards[list(chosen)].T).clamp(-1, 1).acos().amin(1)
