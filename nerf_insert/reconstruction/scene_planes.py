"""Large planes among the points of a capture, each with its share of what the cameras look at."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from nerf_insert.reconstruction.solution import Solution

BAD = 2.0  # pixels of reprojection error above which a point counts for nothing
CELL = 0.04  # side of the cells that count once each, as a fraction of the median distance of the points
MOST_CELLS = 5000
FEWEST = 60  # cells below which no plane is looked for
MOST_PLANES = 6
CLEAR = 2.0  # how many times as dense as beside it the points of a plane are
WIDE, LARGE = 0.25, 0.15  # spread across to spread along, and spread along, of the median distance


@dataclass(frozen=True, eq=False)
class ScenePlane:
    """A plane.

    Attributes:
        normal: Unit, on the side of most cameras.
        share: Of what the cameras look at, 0..1: points by cells and by distance, beyond chance.
    """

    normal: Float[np.ndarray, " 3"]
    share: float


def scene_planes(solution: Solution) -> list[ScenePlane]:
    """Return the large planes of the scene.

    Args:
        solution: Cameras and points; the planes are in its world.
    """
    import torch  # late, for it takes seconds and most of what imports this does without

    from nerf_insert.geometry.planes import find_planes

    points, distance = _points(solution)
    if len(points) < FEWEST:
        return []
    reach = float(np.median(distance))
    chosen = _one_per_cell(points, distance, reach)
    if len(chosen) < FEWEST:
        return []
    points = points[chosen]
    found = find_planes(
        torch.from_numpy(points).float(), torch.from_numpy(solution.centers).float(), reach, MOST_PLANES, 0
    )
    planes, left = [], np.ones(len(points), bool)
    for plane in found:
        height = (points - plane.origin.double().numpy()) @ plane.axes[2].double().numpy()
        on = left & (np.abs(height) < plane.tolerance)
        beside = left & ~on & (np.abs(height) < 3 * plane.tolerance)
        left &= np.abs(height) > 2 * plane.tolerance
        chance = int(beside.sum()) / 2
        if on.sum() < CLEAR * chance or not _is_wide(points[on], reach):
            continue
        normal = np.linalg.svd(points[on] - points[on].mean(0), full_matrices=False)[2][2]
        normal = normal if normal @ plane.axes[2].double().numpy() > 0 else -normal
        planes.append(ScenePlane(normal, (int(on.sum()) - chance) / len(points)))
    return planes


def _points(solution: Solution) -> tuple[Float[np.ndarray, "P 3"], Float[np.ndarray, " P"]]:
    """The points that were found well, and how far they are from the cameras that see them."""
    view, point = solution.seen[:, 0].astype(int), solution.seen[:, 1].astype(int)
    away = np.linalg.norm(solution.points[point] - solution.centers[view], axis=1)
    views = np.bincount(point, minlength=len(solution.points))
    distance = np.bincount(point, away, len(solution.points)) / np.maximum(views, 1)
    keep = (solution.errors < BAD) & (views > 1)
    return solution.points[keep], distance[keep]


def _one_per_cell(
    points: Float[np.ndarray, "P 3"], distance: Float[np.ndarray, " P"], reach: float
) -> np.ndarray:
    """Indices of points, one of each cell; of cells far away as many as they fill of the pictures."""
    rng = np.random.default_rng(0)
    order = rng.permutation(len(points))
    _, first = np.unique(np.floor(points[order] / (CELL * reach)).astype(int), axis=0, return_index=True)
    chosen = order[first]
    near = rng.uniform(size=len(chosen)) < (reach / distance[chosen]) ** 2
    return rng.permutation(chosen[near])[:MOST_CELLS]


def _is_wide(points: Float[np.ndarray, "n 3"], reach: float) -> bool:
    """Whether points fill an area and not a line or a spot."""
    along, across, _ = np.linalg.svd(points - points.mean(0), compute_uv=False) / np.sqrt(len(points))
    return bool(across > WIDE * along and along > LARGE * reach)
