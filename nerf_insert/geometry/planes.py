"""Planes among points, found by RANSAC. World coordinates and units; N is the number of points or rays."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from nerf_insert.geometry.cameras import Rays
from nerf_insert.geometry.frames import orthonormal_frame

MAX_POINTS = 6000  # that are used
TRIALS = 600  # planes that are tried for each one that is found
MIN_TOLERANCE, MAX_TOLERANCE = 0.005, 0.03  # as fractions of the points' extent
MIN_INLIER_FRACTION = 0.08  # of the points that a plane has to explain
MIN_INLIERS = 50


@dataclass(frozen=True, eq=False)
class Plane:
    """A plane with coordinates on it."""

    origin: Float[Tensor, " 3"]
    axes: Float[Tensor, "3 3"]  # unit rows: two in the plane, then the normal
    tolerance: float  # heights below which a point counts as on it, world units

    def coordinates(self, points: Float[Tensor, "N 3"]) -> Float[Tensor, "N 2"]:
        """Return the points' coordinates along the two axes from the origin, world units."""
        return (points - self.origin) @ self.axes[:2].T

    def points(self, coordinates: Float[Tensor, "N 2"]) -> Float[Tensor, "N 3"]:
        """Return the points of the plane at these coordinates, world coordinates."""
        return self.origin + coordinates @ self.axes[:2]

    def height(self, points: Float[Tensor, "N 3"]) -> Float[Tensor, " N"]:
        """Return the signed distance of points, positive on the normal's side."""
        return (points - self.origin) @ self.axes[2]

    def hit(self, rays: Rays) -> Float[Tensor, " N"]:
        """Return the distance at which rays meet the plane from the normal's side; infinity: never."""
        sinking = -(rays.directions @ self.axes[2])
        distance = self.height(rays.origins) / sinking.clamp_min(1e-6)
        return torch.where((sinking > 1e-4) & (distance > 0), distance, float("inf"))


def find_planes(
    points: Float[Tensor, "N 3"], eyes: Float[Tensor, "V 3"], extent: float, max_planes: int, seed: int
) -> list[Plane]:
    """Find planes that each explain a good part of the points (RANSAC, Fischler and Bolles 1981).

    Args:
        points: World coordinates.
        eyes: Camera centers; normals point to where most of them are.
        extent: Scale of the points, world units.
        max_planes: Most planes.
        seed: Random seed of the search.

    Returns:
        The planes, in the order in which they are found: roughly, the largest first.
    """
    generator = torch.Generator().manual_seed(seed)
    left = points[torch.randperm(len(points), generator=generator)[:MAX_POINTS]]
    enough = max(MIN_INLIERS, MIN_INLIER_FRACTION * len(left))
    widest = MAX_TOLERANCE * extent
    planes: list[Plane] = []
    while len(planes) < max_planes and len(left) >= enough:
        origin, normal = _best_of_trials(left, widest / 2, generator)
        for tolerance in (widest, widest, widest / 2):
            near = left[_heights(left, origin, normal).abs() < tolerance]
            if len(near) < enough:
                return planes
            origin = near.mean(0)
            normal = torch.linalg.svd(near - origin, full_matrices=False).Vh[2]
        height = _heights(left, origin, normal)
        spread = 1.4826 * float(height[height.abs() < widest].abs().median())
        tolerance = min(max(3 * spread, MIN_TOLERANCE * extent), widest)
        if ((eyes - origin) @ normal > 0).float().mean() < 0.5:
            normal = -normal
        planes.append(Plane(origin, orthonormal_frame(normal), tolerance))
        left = left[height.abs() > 2 * tolerance]
    return planes


def _best_of_trials(points: Tensor, tolerance: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """The plane through three points, of TRIALS of them, that most points are close to."""
    # The second and third are the nearest of a few, for neighbors tend to lie on one surface.
    first = points[torch.randint(len(points), (TRIALS, 1), generator=generator)]
    others = points[torch.randint(len(points), (TRIALS, 12), generator=generator)]
    nearest = (others - first).norm(dim=-1).argsort(1)[:, 2:4]
    second, third = others.gather(1, nearest[..., None].expand(-1, -1, 3)).unbind(1)
    origin = first[:, 0]
    normal = torch.nn.functional.normalize(torch.linalg.cross(second - origin, third - origin), dim=-1)
    counts = [
        int((_heights(points, o, n).abs() < tolerance).sum()) for o, n in zip(origin, normal, strict=True)
    ]
    best = counts.index(max(counts))
    return origin[best], normal[best]


def _heights(points: Tensor, origin: Tensor, normal: Tensor) -> Tensor:
    return (points - origin) @ normal
