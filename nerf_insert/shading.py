"""A mesh in a scene's light: what leaves its surface, and what it takes from the scene's.

All of it is worked out once, for places on the surfaces (baking.py), and looked up afterwards.
World coordinates and units, linear light.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from nerf_insert.baking import Places, places_on
from nerf_insert.fusion import Surface
from nerf_insert.light import Light, Thing, Things
from nerf_insert.meshes import Hits, Mesh, to_linear
from nerf_insert.regions.base import Region

MOST_PLACES = 30_000
GLOSS = 0.04  # of the light that a dielectric reflects at its surface, uncoloured


@dataclass(frozen=True, eq=False)
class Shine:
    """The light that leaves a mesh."""

    mesh: Mesh
    places: Places
    irradiance: Float[Tensor, "Q 3"]

    def radiance(self, face: Int64[Tensor, " M"], barycentric: Float[Tensor, "M 3"]) -> Float[Tensor, "M 3"]:
        albedo = to_linear(self.mesh.colour_at(face, barycentric))
        arriving = self.places.interpolate(self.irradiance, face, barycentric)
        return arriving * (GLOSS + (1 - GLOSS) * albedo)

    @property
    def size(self) -> float:
        return float((self.mesh.bounds[1] - self.mesh.bounds[0]).norm())

    def thing(self) -> Thing:
        return Thing(self.mesh.cast, lambda hits: self.radiance(hits.face, hits.barycentric))


def shade(mesh: Mesh, surface: Surface, light: Light) -> Shine:
    """The mesh in the light and among the surfaces of a scene, which it shades in its turn; light goes
    once from one place of it to another."""
    corners, normals = mesh.vertices[mesh.faces], mesh.corner_normals
    size = float((mesh.bounds[1] - mesh.bounds[0]).norm())
    lift = 1e-3 * size
    black = Thing(mesh.cast, lambda hits: torch.zeros(len(hits.face), 3))
    places = _limited(corners, normals, size / 60, MOST_PLACES // 8)
    rough = Shine(
        mesh,
        places,
        light.irradiance(places.points + lift * places.normals, places.normals, [black, surface.thing()]),
    )
    near = (
        (surface.mesh.vertices > mesh.bounds[0] - size) & (surface.mesh.vertices < mesh.bounds[1] + size)
    ).all(-1)
    index = near.nonzero()[:, 0]
    radiance = surface.radiance.clone()
    x, n = surface.mesh.vertices[index], surface.normals[index]
    radiance[index] *= darkening(x + 0.5 * surface.cell * n, n, light, surface, rough.thing())
    places = _limited(corners, normals, size / 250, MOST_PLACES)
    things = [rough.thing(), surface.thing(radiance)]
    return Shine(
        mesh, places, light.irradiance(places.points + lift * places.normals, places.normals, things)
    )


def _limited(corners: Tensor, normals: Tensor, spacing: float, most: int) -> Places:
    """As many places as there may be, not closer than `spacing`."""
    places = places_on(corners, normals, spacing)
    while len(places.points) > most:
        spacing *= 1.3
        places = places_on(corners, normals, spacing)
    return places


def darkening(
    points: Tensor, normals: Tensor, light: Light, surface: Surface, thing: Thing
) -> Float[Tensor, "N 3"]:
    """By which factor a new thing changes the light at points of the scene's surface."""
    without = light.irradiance(points, normals, [surface.thing()])
    return light.irradiance(points, normals, [thing, surface.thing()]) / without.clamp_min(1e-4)


def cast_shadow(surface: Surface, light: Light, shine: Shine, region: Region):
    """The factor by which the object changes the light of the scene's surface, for hits of it. Only what is
    inside the region changes, for nothing else can: a shadow behind it would hang in the air."""
    vertices, faces = surface.mesh.vertices, surface.mesh.faces
    tolerance = surface.cell
    inside = ((vertices > region.bounds[0] - tolerance) & (vertices < region.bounds[1] + tolerance)).all(-1)
    chosen = inside[faces].any(-1)
    places = _limited(
        vertices[faces[chosen]], surface.normals[faces[chosen]], region.diagonal / 150, MOST_PLACES
    )
    share = (1 - region.distance(places.points) / tolerance).clamp(0, 1)[:, None]
    index = (share[:, 0] > 0).nonzero()[:, 0]
    factor = torch.ones(len(places.points), 3)
    x, n = places.points[index], places.normals[index]
    factor[index] = darkening(x + 0.1 * surface.cell * n, n, light, surface, shine.thing())
    factor = 1 + share * (factor - 1)
    number = torch.cumsum(chosen, 0) - 1

    def of(hits: Hits) -> Float[Tensor, "M 3"]:
        out = torch.ones(len(hits.face), 3)
        here = (hits.hit & chosen[hits.face]).nonzero()[:, 0]
        out[here] = places.interpolate(factor, number[hits.face[here]], hits.barycentric[here])
        return out

    return of
