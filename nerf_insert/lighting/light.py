"""The light of a scene, as far as photographs tell it, and what it does to surfaces.

Light comes from a far environment, known where a photograph shows it and uniform elsewhere, from near
surfaces, whose radiance the photographs show too, and from one *key*: the sun, a lamp, a window that no
photograph looked into, a disc at some distance. All light is linear, in sRGB's primaries, scaled so that
a white diffuse surface shows its irradiance as its color (irradiance over pi, in physical terms).

World coordinates and units. N is the number of points, M of rays, K of directions, S of places on the key.
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
KEY_PLACES = 24
POINTS_AT_ONCE = 4096


@dataclass(frozen=True, eq=False)
class Occluder:
    """Something near that hides light and gives light."""

    cast: Callable[[Rays], Hits]
    radiance: Callable[[Hits, Tensor], Tensor]  # [M, 3], where rays of directions [M, 3] have met it


Occluders = Sequence[Occluder]


def hidden(things: Occluders, rays: Rays, distance: Float[Tensor, " M"]) -> Bool[Tensor, " M"]:
    """Whether rays meet anything before they have come so far."""
    out = torch.zeros(rays.count, dtype=torch.bool)
    for thing in things:
        free = (~out).nonzero()[:, 0]
        out[free] = thing.cast(rays[free]).distance < distance[free]
    return out


def arriving(things: Occluders, rays: Rays) -> tuple[Float[Tensor, "M 3"], Bool[Tensor, " M"]]:
    """The radiance of what each ray meets first, and whether it meets anything."""
    radiance, nearest = torch.zeros(rays.count, 3), torch.full((rays.count,), float("inf"))
    for thing in things:
        hits = thing.cast(rays)
        index = (hits.distance < nearest).nonzero()[:, 0]
        nearest[index] = hits.distance[index]
        radiance[index] = thing.radiance(Hits(*(column[index] for column in hits)), rays.directions[index])
    return radiance, nearest.isfinite()


@dataclass(frozen=True, eq=False)
class Key:
    """A disc that shines on `target`, facing it; `irradiance` is that of a surface there that faces it."""

    target: Float[Tensor, "3"]
    direction: Float[Tensor, "3"]  # from the target to the key, unit length
    distance: float  # from the target, world units
    angle: float  # half of that under which it is seen from the target, radians
    irradiance: Float[Tensor, "3"]

    def places(self, count: int = KEY_PLACES) -> Float[Tensor, "S 3"]:
        """Spread evenly over the disc."""
        k = torch.arange(count) + 0.5
        radius = (k / count).sqrt() * self.distance * math.tan(self.angle)
        turn = k * math.pi * (3 - math.sqrt(5))
        across = torch.stack([radius * turn.cos(), radius * turn.sin(), torch.zeros(count)], -1)
        return self.target + self.distance * self.direction + across @ orthonormal_frame(self.direction)

    def share(
        self,
        points: Float[Tensor, "N 3"],
        normals: Float[Tensor, "N 3"],
        things: Occluders,
        count: int = KEY_PLACES,
    ) -> Float[Tensor, " N"]:
        """What arrives at points, in units of `irradiance`: cosine, fall-off with distance, visibility."""
        toward = self.places(count) - points[:, None]
        distance = toward.norm(dim=-1)
        toward = toward / distance[..., None]
        cosine = (toward * normals[:, None]).sum(-1).clamp_min(0)
        point, place = cosine.nonzero().unbind(-1)
        met = hidden(things, Rays(points[point], toward[point, place]), distance[point, place])
        cosine[point[met], place[met]] = 0
        return (cosine * (self.distance / distance) ** 2).mean(-1)


@dataclass(frozen=True, eq=False)
class Light:
    """`environment`: the radiance from each direction of `sphere(K)`; `key` None: there is none."""

    environment: Float[Tensor, "K 3"]
    key: Key | None = None

    @staticmethod
    def flat(level: float = 1.0) -> Light:
        """The same from everywhere."""
        return Light(torch.full((DIRECTIONS, 3), level))

    def scaled(self, factor: float) -> Light:
        key = self.key and replace(self.key, irradiance=factor * self.key.irradiance)
        return Light(factor * self.environment, key)

    def irradiance(
        self, points: Float[Tensor, "N 3"], normals: Float[Tensor, "N 3"], things: Occluders = ()
    ) -> Float[Tensor, "N 3"]:
        """What arrives at points with unit normals; `things` are near and may hide the light."""
        around, key = self.in_parts(points, normals, things)
        return around + key

    def in_parts(
        self, points: Float[Tensor, "N 3"], normals: Float[Tensor, "N 3"], things: Occluders = ()
    ) -> tuple[Float[Tensor, "N 3"], Float[Tensor, "N 3"]]:
        """The same in two parts: from the environment and near surfaces, and from the key."""
        around, key = [points.new_zeros(0, 3)], [points.new_zeros(0, 3)]
        for x, n in zip(points.split(POINTS_AT_ONCE), normals.split(POINTS_AT_ONCE), strict=True):
            near, far = transport(x, n, sphere(len(self.environment)), things)
            around.append(near + far @ self.environment)
            share = torch.zeros(len(x)) if self.key is None else self.key.share(x, n, things)
            key.append(share[:, None] * (torch.zeros(3) if self.key is None else self.key.irradiance))
        return torch.cat(around), torch.cat(key)


def transport(
    points: Float[Tensor, "N 3"],
    normals: Float[Tensor, "N 3"],
    directions: Float[Tensor, "K 3"],
    things: Occluders,
) -> tuple[Float[Tensor, "N 3"], Float[Tensor, "N K"]]:
    """Irradiance from near surfaces, and the weight with which each far direction adds to it; the
    weights of a point that sees nothing near sum to 1."""
    cosine = (normals @ directions.T).clamp_min(0)
    cosine = cosine / cosine.sum(-1, keepdim=True).clamp_min(1e-9)
    point, direction = cosine.nonzero().unbind(-1)
    weight = cosine[point, direction]
    radiance, met = arriving(things, Rays(points[point], directions[direction]))
    near = torch.zeros(len(points), 3).index_add_(0, point[met], weight[met, None] * radiance[met])
    cosine[point[met], direction[met]] = 0
    return near, cosine


def sphere(count: int = DIRECTIONS) -> Float[Tensor, "K 3"]:
    """Directions spread evenly over the sphere: a Fibonacci lattice."""
    k = torch.arange(count, dtype=torch.float64) + 0.5
    z = 1 - 2 * k / count
    turn = k * math.pi * (3 - math.sqrt(5))
    radius = (1 - z * z).sqrt()
    return torch.stack([radius * turn.cos(), radius * turn.sin(), z], -1).float()
