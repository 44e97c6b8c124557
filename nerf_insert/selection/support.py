"""What a thing stands on or hangs at, and the thing as what rises from it around a click.

A support is a plane that goes on beyond what stands on it. Balls of growing size around the click are looked
at. In each, what rises from the supports and hangs together with the click is a candidate, if the ball holds
all of it; the one that stays the same over the widest range of sizes is the thing. World coordinates and
units; N points.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import cast

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy.ndimage import label
from scipy.spatial import KDTree
from torch import Tensor

from nerf_insert.geometry.planes import Plane, find_planes

SMALLEST, LARGEST, GROWTH = 0.06, 1.4, 1.35  # radii of the balls, relative to the camera's distance
MAX_PLANES = 3
MIN_POINTS = 40  # of a thing
CELLS = 14  # voxels along a ball's radius
ON_PLANE = 2.0  # tolerances of a plane within which a point counts as on it
NEAR_BORDER, MAX_AT_BORDER = 0.88, 0.02  # of a ball's radius; fraction of the thing's points beyond that
SECTORS = 8  # of a plane around a click
REACH = 0.7  # of the radius of a ball's cut with a plane, up to which a sector is filled
MIN_SECTORS = 3  # that a support fills; it may be a shelf's corner
FLAT_SECTORS = 6  # that a flat surface fills, to be a table, a floor or a wall
STABLE = 1.3  # times as large that a thing may be in the next ball
MOVED = 0.35  # of its radius that its middle may have moved there
MIN_LIFE = 2  # sizes of ball in which the same thing has to be found
STRAY = 0.02  # of a thing's points that may lie beyond either of its ends
MAX_BELOW = 0.1  # of a thing's height, that it may reach below a plane that it stands on
ISOLATED = 0.5  # of a ball's radius: a thing without a support is smaller


@dataclass(frozen=True, eq=False)
class Extent:
    """Roughly where a thing is.

    Attributes:
        points: Points of its surface.
        supports: The planes that it stands on or hangs at, normals towards the cameras.
        doubtful: Whether it was found in so few sizes of ball only that it may be several things.
    """

    points: Float[Tensor, "N 3"]
    supports: tuple[Plane, ...] = ()
    doubtful: bool = False

    @property
    def center(self) -> Float[Tensor, " 3"]:
        """The middle of the thing's bounding box."""
        return (self.points.amin(0) + self.points.amax(0)) / 2

    @property
    def radius(self) -> float:
        """Of the ball around `center` that holds the thing."""
        return float((self.points - self.center).norm(dim=-1).max())


def find_extent(
    points: Float[Tensor, "N 3"],
    overview: Float[Tensor, "M 3"],
    click: Float[Tensor, " 3"],
    eyes: Float[Tensor, "V 3"],
    distance: float,
) -> Extent | None:
    """Return what rises from its surroundings around a click; None where nothing does.

    Args:
        points: What the photographs show, with more points where the click is.
        overview: What they show, all photographs alike: one photograph's depth has steps of its own.
        click: A point of the thing.
        eyes: The cameras' centers.
        distance: Of the click from the camera.
    """
    lives: list[list[Extent]] = []  # of the things that were found, the sizes of ball in which they were
    radius, last = SMALLEST * distance, lives
    while radius <= LARGEST * distance:
        now = []
        for found in _look(points, overview, click, eyes, radius):
            life = next((life for life in last if is_same(found, life[-1])), None)
            if life is None:
                life = []
                lives.append(life)
            life.append(found)
            now.append(life)
        last = now
        radius *= GROWTH
    longest = max(lives, key=lambda life: (len(life), -life[0].radius), default=[])
    if len(longest) < MIN_LIFE:
        return None
    return replace(longest[0], doubtful=len(longest) == MIN_LIFE)


def is_same(one: Extent, other: Extent) -> bool:
    """Tell whether two extents are of one thing: of about the same size, at about the same place."""
    small, large = sorted((one.radius, other.radius))
    return large < STABLE * small and float((one.center - other.center).norm()) < MOVED * large


def _look(
    points: Float[Tensor, "N 3"],
    overview: Float[Tensor, "M 3"],
    click: Float[Tensor, " 3"],
    eyes: Float[Tensor, "V 3"],
    radius: float,
) -> list[Extent]:
    """Return the different things that a ball of this radius around a click holds all of.

    Each plane is taken for a support and left out, for it may go through the thing.
    """
    near = points[(points - click).norm(dim=-1) < radius]
    if len(near) < MIN_POINTS:
        return []
    around = overview[(overview - click).norm(dim=-1) < radius]
    planes = find_supports(around, click, eyes, radius) if len(around) >= MIN_POINTS else ()
    found: list[Extent] = []
    for count in range(len(planes), 0 if planes else -1, -1):
        for supports in combinations(planes, count):
            thing = near[connected(near, click[None], supports, radius / CELLS)]
            if len(thing) < MIN_POINTS or not _is_closed(thing, click, radius):
                continue
            extent = Extent(thing, supports)
            if (supports or extent.radius < ISOLATED * radius) and not any(
                is_same(extent, other) for other in found
            ):
                found.append(extent)
    return found


def find_supports(
    points: Float[Tensor, "N 3"], click: Float[Tensor, " 3"], eyes: Float[Tensor, "V 3"], radius: float
) -> tuple[Plane, ...]:
    """Return the planes that the click rises from, towards the cameras.

    A support goes on to where the ball ends: the seat of a chair does not carry its back, nor does a round
    thing stand on the plane that touches it.

    Args:
        points: What the photographs show in a ball around the click.
        click: A point of the thing.
        eyes: The cameras' centers.
        radius: Of the ball.
    """
    return tuple(
        plane
        for plane in find_planes(points, eyes, radius, MAX_PLANES, seed=0)
        if float(plane.height(click[None])) > ON_PLANE * plane.tolerance
        and float((plane.height(eyes) > 0).float().mean()) > 0.5
        and _filled_sectors(plane, points, click, radius) >= MIN_SECTORS
    )


def find_supports_of(
    thing: Float[Tensor, "T 3"],
    center: Float[Tensor, " 3"],
    points: Float[Tensor, "N 3"],
    eyes: Float[Tensor, "V 3"],
    radius: float,
) -> tuple[Plane, ...]:
    """Return the planes that a thing rises from, towards the cameras.

    A plane with some of the thing well below it carries none of it: it passes through the seat of a chair,
    and through the tops of what stands around it.

    Args:
        thing: Points of it.
        center: Of it.
        points: What the photographs show around it.
        eyes: The cameras' centers.
        radius: Within which they show it.
    """
    supports = []
    for plane in find_supports(points, center, eyes, radius):
        low, high = plane.height(thing).quantile(torch.tensor([STRAY, 1 - STRAY])).tolist()
        if low > -ON_PLANE * plane.tolerance - MAX_BELOW * (high - low):
            supports.append(plane)
    return tuple(supports)


def connected(
    points: Float[Tensor, "N 3"],
    seeds: Float[Tensor, "S 3"],
    supports: Sequence[Plane],
    cell: float,
) -> Bool[Tensor, " N"]:
    """Return which points rise from the supports and hang together with a seed.

    Args:
        points: World coordinates.
        seeds: Points of the thing.
        supports: What it rises from.
        cell: The side of the voxels; points in voxels that touch hang together.
    """
    above = rises(points, supports)
    if not bool(above.any()):
        return above
    low = points[above].amin(0) - cell
    index = ((points[above] - low) / cell).long()
    shape = (index.amax(0) + 2).tolist()
    filled = np.zeros(shape, dtype=bool)
    filled[tuple(index.T.numpy())] = True
    labels, _ = cast(tuple[np.ndarray, int], label(filled, structure=np.ones((3, 3, 3))))
    of_point = torch.from_numpy(labels[tuple(index.T.numpy())])
    gap, nearest = KDTree(points[above].numpy()).query(seeds.numpy(), distance_upper_bound=2 * cell)
    wanted = of_point[torch.from_numpy(np.asarray(nearest)[np.isfinite(gap)])].unique()
    result = torch.zeros(len(points), dtype=torch.bool)
    result[above] = torch.isin(of_point, wanted)
    return result


def rises(points: Float[Tensor, "N 3"], supports: Sequence[Plane]) -> Bool[Tensor, " N"]:
    """Return which points lie clearly above all supports."""
    above = torch.ones(len(points), dtype=torch.bool)
    for plane in supports:
        above &= plane.height(points) > ON_PLANE / 2 * plane.tolerance
    return above


def is_flat(
    points: Float[Tensor, "N 3"], click: Float[Tensor, " 3"], eyes: Float[Tensor, "V 3"], radius: float
) -> bool:
    """Tell whether a click lies on a flat surface that goes on around it in nearly all directions."""
    near = points[(points - click).norm(dim=-1) < radius]
    if len(near) < MIN_POINTS:
        return False
    for plane in find_planes(near, eyes, radius, MAX_PLANES, seed=0):
        if abs(float(plane.height(click[None]))) > ON_PLANE * plane.tolerance:
            continue
        if _filled_sectors(plane, near, click, radius) >= FLAT_SECTORS:
            return True
    return False


def _filled_sectors(
    plane: Plane, points: Float[Tensor, "N 3"], click: Float[Tensor, " 3"], radius: float
) -> int:
    """Count the sectors around a click in which a plane goes on to where a ball cuts it."""
    flat = points[plane.height(points).abs() < plane.tolerance]
    offset = plane.coordinates(flat) - plane.coordinates(click[None])
    cut = max(radius**2 - float(plane.height(click[None])) ** 2, 0.0) ** 0.5
    outer = offset[offset.norm(dim=-1) > REACH * cut]
    sector = ((torch.atan2(outer[:, 1], outer[:, 0]) / (2 * torch.pi) + 0.5) * SECTORS).long()
    return len(sector.clamp_max(SECTORS - 1).unique())


def _is_closed(thing: Float[Tensor, "N 3"], click: Float[Tensor, " 3"], radius: float) -> bool:
    """Whether a ball holds all of a thing, rather than the part of it that is near its center."""
    beyond = (thing - click).norm(dim=-1) > NEAR_BORDER * radius
    return float(beyond.float().mean()) < MAX_AT_BORDER
