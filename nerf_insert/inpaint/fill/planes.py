"""Flat surfaces among points. World coordinates and units; N points or rays."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from nerf_insert.geometry.cameras import Rays
from nerf_insert.geometry.frames import orthonormal_frame

SAMPLE = 6000  # points that are looked at
TRIALS = 600  # planes that are tried for each one that is found
NEAR, FAR = 0.005, 0.03  # least and largest tolerance, as shares of the points' extent
SHARE = 0.08  # of the points that a plane has to explain


@dataclass(frozen=True, eq=False)
class Plane:
    """A plane with coordinates on it. `axes` are unit rows: two in the plane, then the normal."""

    origin: Float[Tensor, " 3"]
    axes: Float[Tensor, "3 3"]
    tolerance: float  # heights below which a point counts as on it, world units

    def coordinates(self, points: Float[Tensor, "N 3"]) -> Float[Tensor, "N 2"]:
        """World units from the origin, along the two axes."""
        return (points - self.origin) @ self.axes[:2].T

    def points(self, coordinates: Float[Tensor, "N 2"]) -> Float[Tensor, "N 3"]:
        return self.origin + coordinates @ self.axes[:2]

    def height(self, points: Float[Tensor, "N 3"]) -> Float[Tensor, " N"]:
        """Signed distance, positive on the normal's side."""
        return (points - self.origin) @ self.axes[2]

    def hit(self, rays: Rays) -> Float[Tensor, " N"]:
        """Distances to where the rays meet the plane from the normal's side; infinity where they do not."""
        sinking = -(rays.directions @ self.axes[2])
        distance = self.height(rays.origins) / sinking.clamp_min(1e-6)
        return torch.where((sinking > 1e-4) & (distance > 0), distance, float("inf"))


def find_planes(
    points: Float[Tensor, "N 3"], eyes: Float[Tensor, "V 3"], extent: float, most: int, seed: int
) -> list[Plane]:
    """At most `most` planes, each explaining a good share of the points, the largest first (RANSAC,
    Fischler and Bolles 1981). Normals point to where most `eyes` (camera centers) are; `extent` is the
    points' scale, world units."""
    generator = torch.Generator().manual_seed(seed)
    left = points[torch.randperm(len(points), generator=generator)[:SAMPLE]]
    enough = max(50, SHARE * len(left))
    planes: list[Plane] = []
    while len(planes) < most and len(left) >= enough:
        origin, normal = _best(left, FAR * extent / 2, generator)
        for tolerance in (FAR * extent, FAR * extent, FAR * extent / 2):
            near = left[_heights(left, origin, normal).abs() < tolerance]
            if len(near) < enough:
                return planes
            origin = near.mean(0)
            normal = torch.linalg.svd(near - origin, full_matrices=False).Vh[2]
        height = _heights(left, origin, normal)
        spread = 1.4826 * float(height[height.abs() < FAR * extent].abs().median())
        tolerance = min(max(3 * spread, NEAR * extent), FAR * extent)
        if ((eyes - origin) @ normal > 0).float().mean() < 0.5:
            normal = -normal
        planes.append(Plane(origin, orthonormal_frame(normal), tolerance))
        left = left[height.abs() > 2 * tolerance]
    return planes


def _best(points: Tensor, tolerance: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """The plane through three points, of those tried, that most points are close to."""
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
