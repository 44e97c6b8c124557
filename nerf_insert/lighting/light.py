"""The light of a scene as far as photographs show it, and the irradiance of surfaces in it.

Light comes from a far environment, known where a photograph shows it and uniform elsewhere; from near
surfaces, whose radiance the photographs show too; and from *key lights*: the sun, lamps, windows outside
all photographs, modeled as disks at some distance. Light is linear, in sRGB's primaries, scaled so
that a white diffuse surface shows its irradiance as its color (irradiance over pi, in physical terms).

World coordinates and units. N is the number of points, M of rays, K of directions, S of points on the disk.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from nerf_insert.geometry.cameras import Rays
from nerf_insert.geometry.frames import orthonormal_frame
from nerf_insert.geometry.mesh import Hits

DIRECTIONS = 256
DISK_SAMPLES = 24
MIN_RISE = 0.2  # cosine to the normal, from which on a ray rises at least so fast
RAYS_AT_ONCE = 1 << 17  # towards several lights
POINTS_AT_ONCE = 4096
GOLDEN_ANGLE = math.pi * (3 - math.sqrt(5))


@dataclass(frozen=True, eq=False)
class Occluder:
    """A near surface that hides light and gives light."""

    cast: Callable[[Rays], Hits]  # what each ray meets first
    radiance: Callable[[Hits, Tensor], Tensor]  # [M, 3], towards rays of directions [M, 3] at their hits


Occluders = Sequence[Occluder]


def is_occluded(occluders: Occluders, rays: Rays, distance: Float[Tensor, " M"]) -> Bool[Tensor, " M"]:
    """Tell which rays meet an occluder nearer than `distance` (world units)."""
    occluded = torch.zeros(rays.count, dtype=torch.bool)
    for occluder in occluders:
        free = (~occluded).nonzero()[:, 0]
        occluded[free] = occluder.cast(rays[free]).distance < distance[free]
    return occluded


def incoming_radiance(occluders: Occluders, rays: Rays) -> tuple[Float[Tensor, "M 3"], Bool[Tensor, " M"]]:
    """Return the radiance of the occluder that each ray meets first, and whether it meets any."""
    radiance, nearest = torch.zeros(rays.count, 3), torch.full((rays.count,), float("inf"))
    for occluder in occluders:
        hits = occluder.cast(rays)
        index = (hits.distance < nearest).nonzero()[:, 0]
        nearest[index] = hits.distance[index]
        found = Hits(*(column[index] for column in hits))
        radiance[index] = occluder.radiance(found, rays.directions[index])
    return radiance, nearest.isfinite()


@dataclass(frozen=True, eq=False)
class DiskLight:
    """A disk that shines on `target` and faces it."""

    target: Float[Tensor, "3"]
    direction: Float[Tensor, "3"]  # from the target to the disk, unit length
    distance: float  # from the target, world units
    angle: float  # half of the angle under which the disk is seen from the target, radians
    irradiance: Float[Tensor, "3"]  # of a surface at the target that faces the disk

    @property
    def center(self) -> Float[Tensor, "3"]:
        """The center of the disk, world coordinates."""
        return self.target + self.distance * self.direction

    def samples(self, count: int = DISK_SAMPLES) -> Float[Tensor, "S 3"]:
        """Return points spread evenly over the disk, world coordinates."""
        k = torch.arange(count) + 0.5
        radius = (k / count).sqrt() * self.distance * math.tan(self.angle)
        turn = k * GOLDEN_ANGLE
        across = torch.stack([radius * turn.cos(), radius * turn.sin(), torch.zeros(count)], -1)
        return self.target + self.distance * self.direction + across @ orthonormal_frame(self.direction)

    def relative_irradiance(
        self,
        points: Float[Tensor, "N 3"],
        normals: Float[Tensor, "N 3"],
        occluders: Occluders,
        count: int = DISK_SAMPLES,
    ) -> Float[Tensor, " N"]:
        """Return the irradiance at points, in units of `irradiance`: cosine, falloff and visibility.

        Args:
            points: World coordinates.
            normals: Unit normals of the surface there.
            occluders: What may hide the disk.
            count: Points on the disk that are averaged over.
        """
        return relative_irradiances([self], points, normals, occluders, count)[0]


def risen(cosine: Float[Tensor, " N"], clearance: float) -> Float[Tensor, " N"]:
    """Return how far along rays with these cosines to the surface's normal a height above it is reached.

    Starting there, and not above their feet, rays pass over bumps and still come from where they should:
    shadows stay in their places.
    """
    return clearance / cosine.clamp_min(MIN_RISE)


def relative_irradiances(
    keys: Sequence[DiskLight],
    points: Float[Tensor, "N 3"],
    normals: Float[Tensor, "N 3"],
    occluders: Occluders,
    count: int = DISK_SAMPLES,
    clearance: float = 0.0,
) -> Float[Tensor, "L N"]:
    """Return what `DiskLight.relative_irradiance` does of several lights at the same points, all at once.

    What hides the light at most `clearance` above the surface does not count: these are its own bumps.
    """
    rows = [points.new_zeros(0, len(points))]
    at_once = max(1, RAYS_AT_ONCE // max(1, count * len(points)))
    for start in range(0, len(keys), at_once):
        some = keys[start : start + at_once]
        toward = torch.stack([key.samples(count) for key in some])[:, None] - points[:, None]
        distance = toward.norm(dim=-1)
        toward = toward / distance[..., None]
        cosine = (toward * normals[:, None]).sum(-1).clamp_min(0)
        at = cosine.nonzero().unbind(-1)
        skipped = risen(cosine[at], clearance)
        start = points[at[1]] + skipped[:, None] * toward[at]
        occluded = is_occluded(occluders, Rays(start, toward[at]), distance[at] - skipped)
        cosine[tuple(axis[occluded] for axis in at)] = 0
        away = torch.tensor([key.distance for key in some])[:, None, None]
        rows.append((cosine * (away / distance) ** 2).mean(-1))
    return torch.cat(rows)


@dataclass(frozen=True, eq=False)
class Light:
    """A far environment and key lights."""

    environment: Float[Tensor, "K 3"]  # radiance from each direction of `fibonacci_sphere(K)`
    keys: tuple[DiskLight, ...] = ()

    @staticmethod
    def flat(level: float = 1.0) -> Light:
        """Return light that is the same from everywhere."""
        return Light(torch.full((DIRECTIONS, 3), level))

    def scaled(self, factor: float) -> Light:
        """Return this light, brighter by a factor."""
        keys = tuple(replace(key, irradiance=factor * key.irradiance) for key in self.keys)
        return Light(factor * self.environment, keys)

    def irradiance(
        self, points: Float[Tensor, "N 3"], normals: Float[Tensor, "N 3"], occluders: Occluders = ()
    ) -> Float[Tensor, "N 3"]:
        """Return the irradiance at points (world coordinates) of surfaces with these unit normals.

        Args:
            points: World coordinates.
            normals: Unit normals.
            occluders: Near surfaces, which may hide the light and give light themselves.
        """
        around, keys = self.irradiance_parts(points, normals, occluders)
        return around + keys.sum(1)

    def irradiance_parts(
        self, points: Float[Tensor, "N 3"], normals: Float[Tensor, "N 3"], occluders: Occluders = ()
    ) -> tuple[Float[Tensor, "N 3"], Float[Tensor, "N L 3"]]:
        """Return `irradiance` in parts: environment and near surfaces, and each of the L key lights."""
        around, lit = [points.new_zeros(0, 3)], [points.new_zeros(0, len(self.keys), 3)]
        for x, n in zip(points.split(POINTS_AT_ONCE), normals.split(POINTS_AT_ONCE), strict=True):
            near, far = transport(x, n, fibonacci_sphere(len(self.environment)), occluders)
            around.append(near + far @ self.environment)
            parts = torch.zeros(len(x), len(self.keys), 3)
            for k, key in enumerate(self.keys):
                parts[:, k] = key.relative_irradiance(x, n, occluders)[:, None] * key.irradiance
            lit.append(parts)
        return torch.cat(around), torch.cat(lit)


def transport(
    points: Float[Tensor, "N 3"],
    normals: Float[Tensor, "N 3"],
    directions: Float[Tensor, "K 3"],
    occluders: Occluders,
) -> tuple[Float[Tensor, "N 3"], Float[Tensor, "N K"]]:
    """Return how light from all around reaches points of surfaces.

    Args:
        points: World coordinates.
        normals: Unit normals.
        directions: Unit vectors spread evenly over the sphere.
        occluders: Near surfaces.

    Returns:
        The irradiance from near surfaces, and the weight with which each far direction adds to it. The
        weights of a point that sees nothing near sum to 1.
    """
    cosine = (normals @ directions.T).clamp_min(0)
    cosine = cosine / cosine.sum(-1, keepdim=True).clamp_min(1e-9)
    point, direction = cosine.nonzero().unbind(-1)
    weight = cosine[point, direction]
    radiance, met = incoming_radiance(occluders, Rays(points[point], directions[direction]))
    near = torch.zeros(len(points), 3).index_add_(0, point[met], weight[met, None] * radiance[met])
    cosine[point[met], direction[met]] = 0
    return near, cosine


def fibonacci_sphere(count: int = DIRECTIONS) -> Float[Tensor, "K 3"]:
    """Return unit vectors spread evenly over the sphere: a Fibonacci lattice."""
    k = torch.arange(count, dtype=torch.float64) + 0.5
    z = 1 - 2 * k / count
    turn = k * GOLDEN_ANGLE
    radius = (1 - z * z).sqrt()
    return torch.stack([radius * turn.cos(), radius * turn.sin(), z], -1).float()
