"""Which views come first: well-spread views that show much of the region, and the order of the others.

Views are compared by the direction from which they see the region; V is their number. World coordinates.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from nerf_insert.editing.region_views import RegionView
from nerf_insert.geometry.cameras import Camera


def view_directions(cameras: Sequence[Camera], center: Float[Tensor, "3"]) -> Float[Tensor, "V 3"]:
    """Return unit vectors from the region's center to the cameras."""
    away = torch.stack([camera.center for camera in cameras]) - center
    return torch.nn.functional.normalize(away, dim=-1)


def spread_views(
    cameras: Sequence[Camera],
    coverage: Float[Tensor, " V"],
    center: Float[Tensor, "3"],
    count: int,
    given: Sequence[int] = (),
) -> tuple[int, ...]:
    """Choose views that are well spread around the region and show much of it.

    Farthest-point sampling over directions: the next view is the one at the largest angle to all chosen ones,
    times the square root of its relative coverage.

    Args:
        cameras: The views.
        coverage: The fraction of each image that shows the region; not all 0.
        center: The region's center.
        count: Most views to choose.
        given: Views that are chosen first.

    Returns:
        Indices of views in the order of their choice.
    """
    directions = view_directions(cameras, center)
    worth = (coverage / coverage.max()).sqrt()
    chosen = list(given)
    if not chosen and count:
        chosen.append(int(worth.argmax()))
    while len(chosen) < min(count, len(cameras)):
        score = _angle_to_nearest(directions, chosen) * worth
        score[chosen] = -1
        chosen.append(int(score.argmax()))
    return tuple(chosen)


def choose_anchors(
    views: Sequence[RegionView], center: Float[Tensor, "3"], count: int, given: Sequence[int] = ()
) -> tuple[int, ...]:
    """Choose `count` anchor views as `spread_views` does; `given` ones come first."""
    coverage = torch.tensor([float(seen.mask.sum()) / seen.mask.numel() for seen in views])
    return spread_views([seen.view.camera for seen in views], coverage, center, count, given)


def nearest_first(
    views: Sequence[RegionView], center: Float[Tensor, "3"], painted: Sequence[int]
) -> tuple[int, ...]:
    """Order the views that are not painted by the angle to the nearest painted one."""
    angles = _angle_to_nearest(view_directions([seen.view.camera for seen in views], center), painted)
    rest = [index for index in range(len(views)) if index not in painted]
    return tuple(sorted(rest, key=lambda index: float(angles[index])))


def _angle_to_nearest(directions: Float[Tensor, "V 3"], chosen: Sequence[int]) -> Float[Tensor, " V"]:
    """Return angles in radians."""
    return (directions @ directions[list(chosen)].T).clamp(-1, 1).acos().amin(1)
