"""A region from a thing's outlines in many photographs, some of which are wrong: a hull by vote.

A point belongs to the hull where nearly all views in which nothing hides it show it within the outline.
World coordinates and units.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from scipy.ndimage import binary_closing, binary_fill_holes, label
from torch import Tensor

from nerf_insert.errors import InputError
from nerf_insert.geometry.planes import Plane
from nerf_insert.regions.distance_grid import Lattice
from nerf_insert.selection.cloud import SeenPart

POINTS = 300_000  # of the lattice
SHARE = 0.85  # of the views that have to show a point within the outline
SURFACE_SHARE = 0.6  # the same for points where the thing's surface was seen
MIN_VOTES = 3
STRIDE = 5  # between views that vote one after the other
SMALLEST_PIECE = 0.02  # of the largest piece: smaller ones are noise


class Outline(NamedTuple):
    """A view and the thing's pixels in it."""

    part: SeenPart
    mask: Bool[Tensor, "h w"]


def carve(
    outlines: Sequence[Outline],
    surface: Float[Tensor, "N 3"],
    supports: Sequence[Plane],
    tolerance: float,
    ball: tuple[Float[Tensor, " 3"], float],
) -> tuple[Lattice, Bool[Tensor, "X Y Z"]]:
    """Return the cells that the outlines agree about.

    Args:
        outlines: Views with the thing's pixels.
        surface: Points of the thing's surface.
        supports: Planes that the thing stands on; it does not reach below them.
        tolerance: By how much depth is trusted.
        ball: Center and radius of the ball that the views were looked at in.

    Raises:
        InputError: The views agree about no point.
    """
    bounds = torch.stack([surface.amin(0), surface.amax(0)])
    margin = 0.08 * float((bounds[1] - bounds[0]).norm()) + 2 * tolerance
    lattice = Lattice.over(bounds, margin, POINTS)
    points = lattice.points()
    cells = ((surface - lattice.low) / lattice.spacing).round().long()
    shown = torch.zeros(lattice.shape, dtype=torch.bool)
    shown[tuple(cells.T)] = True
    possible = (points - ball[0]).norm(dim=-1) < ball[1]
    for plane in supports:
        possible &= plane.height(points) > -plane.tolerance
    left = possible.nonzero()[:, 0]
    enough = torch.where(shown.view(-1)[left], SURFACE_SHARE, SHARE)
    filled = torch.zeros(len(points), dtype=torch.bool)
    filled[left[_elected(points[left], enough, outlines, tolerance)]] = True
    solid = _tidy(filled.view(lattice.shape).numpy())
    if not solid.any():
        raise InputError("the photographs do not agree about where the thing is: click on another part of it")
    return lattice, torch.from_numpy(solid)


def _elected(
    points: Float[Tensor, "N 3"], enough: Float[Tensor, " N"], outlines: Sequence[Outline], tolerance: float
) -> Int64[Tensor, " K"]:
    """The indices of the points that a large enough share of the views shows within the outline."""
    left = torch.arange(len(points))
    votes, against = torch.zeros(len(points)), torch.zeros(len(points))
    for k in range(STRIDE):  # views from all sides first
        for part, mask in outlines[k::STRIDE]:
            projection = part.camera.project(points[left])
            seen = projection.inside.nonzero()[:, 0]
            x, y = projection.pixels[seen].long().unbind(-1)
            within = mask[y, x]
            free = part.valid[y, x] & (part.depth[y, x] > projection.distance[seen] - tolerance)
            votes[left[seen]] += (within | free).float()
            against[left[seen]] += (free & ~within).float()
            # Those that lose even if all other views show them within drop out.
            left = left[against[left] <= (1 - enough[left]) * len(outlines)]
    for_it = votes[left] - against[left]
    return left[(votes[left] >= MIN_VOTES) & (for_it >= enough[left] * votes[left])]


def _tidy(filled: np.ndarray) -> np.ndarray:
    """The cells without small holes and scattered pieces."""
    filled = np.asarray(binary_fill_holes(filled | binary_closing(filled)))
    pieces, count = label(filled, structure=np.ones((3, 3, 3)))  # type: ignore[misc]
    if count < 2:
        return filled
    sizes = np.bincount(pieces.reshape(-1))[1:]
    return np.isin(pieces, 1 + np.flatnonzero(sizes >= SMALLEST_PIECE * sizes.max()))
