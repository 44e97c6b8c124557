"""A mesh in a scene's light: what leaves its surface, and what light it takes from the scene's.

All of it is worked out once, for places on the surfaces (baking.py), and looked up afterwards.
World coordinates and units, linear light. M is a number of hits, Q of places.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from nerf_insert.geometry.color import srgb_to_linear
from nerf_insert.geometry.mesh import Hits, Mesh
from nerf_insert.geometry.mesh_topology import adjacent_faces, merge_vertices
from nerf_insert.lighting.depth_fusion import Surface
from nerf_insert.lighting.light import Key, Light, Occluder, Occluders, sphere
from nerf_insert.lighting.mesh_colors import MeshColors, places_on
from nerf_insert.regions.region import Region

MOST_PLACES = 20_000
FINE = 1 / 200  # distance of places, as a share of the mesh's or the region's diagonal
ROUGH = 1 / 60  # the same where only the light is wanted that the mesh gives to its surroundings
ROUGHNESS = 0.6  # of the object's surface, where nobody says it: wood, plastic, paint
FADE = 0.025  # way along a surface in which its shadow fades out, as a share of the region's diagonal
WAYS = 12  # directions along the surface that are looked in
ANGLES = 33  # at which the share of mirrored light is kept
FINE_SPHERE = 1 << 16  # directions that it is integrated over
MIRRORED = 0.04  # share of light that a dielectric of refractive index 1.5 reflects, uncolored, head-on


@dataclass(frozen=True, eq=False)
class ShadedMesh:
    """The light that leaves a mesh: matt under a dielectric's clear surface."""

    mesh: Mesh
    places: MeshColors
    front: Float[Tensor, "Q 6"]  # irradiance from everything but the key, and from the key
    back: Float[Tensor, "Q 6"] | None  # of the faces' other side, where that can be seen
    key: Key | None
    roughness: float

    def radiance(
        self, face: Int64[Tensor, " M"], barycentric: Float[Tensor, "M 3"], directions: Float[Tensor, "M 3"]
    ) -> Float[Tensor, "M 3"]:
        """What leaves places of the surface against rays of these directions."""
        albedo = srgb_to_linear(self.mesh.color_at(face, barycentric))
        arriving = self.places.interpolate(self.front, face, barycentric)
        normals = self.mesh.normal_at(face, barycentric)
        if self.back is not None:
            behind = (self.mesh.face_normals[face] * directions).sum(-1, keepdim=True) > 0
            arriving = torch.where(behind, self.places.interpolate(self.back, face, barycentric), arriving)
            normals = torch.where(behind, -normals, normals)
        around, key = arriving.split(3, -1)
        toward = -(normals * directions).sum(-1, keepdim=True)
        mirrored = self._mirrored(toward.clamp(0, 1))
        out = (around + key) * (1 - mirrored) * albedo + around * mirrored
        if self.key is not None:
            light = self.key.target + self.key.distance * self.key.direction
            light = torch.nn.functional.normalize(light - self.mesh.points_at(face, barycentric), dim=-1)
            out = out + key * highlight(normals, light, -directions, self.roughness)
        return out

    @cached_property
    def _shares(self) -> Float[Tensor, " ANGLES"]:
        return mirrored_shares(self.roughness)

    def _mirrored(self, cosine: Float[Tensor, "M 1"]) -> Float[Tensor, "M 1"]:
        at = cosine * (ANGLES - 1)
        low = at.long().clamp(0, ANGLES - 2)
        return self._shares[low].lerp(self._shares[low + 1], at - low)

    @property
    def size(self) -> float:
        """The diagonal of the mesh's box."""
        return float((self.mesh.bounds[1] - self.mesh.bounds[0]).norm())

    def thing(self) -> Occluder:
        return Occluder(
            self.mesh.cast, lambda hits, directions: self.radiance(hits.face, hits.barycentric, directions)
        )


def highlight(
    normals: Float[Tensor, "M 3"], light: Float[Tensor, "M 3"], eye: Float[Tensor, "M 3"], roughness: float
) -> Float[Tensor, "M 1"]:
    """How much of the irradiance from a light the clear surface sends to an eye, both in unit directions:
    the GGX lobe (Walter et al. 2007), in units of what a white matt surface sends."""
    alpha2 = roughness**4
    half = torch.nn.functional.normalize(light + eye, dim=-1)
    n_h, n_l, n_e, e_h = (
        (a * b).sum(-1, keepdim=True).clamp(1e-3, 1)
        for a, b in ((normals, half), (normals, light), (normals, eye), (eye, half))
    )
    spread = alpha2 / (n_h * n_h * (alpha2 - 1) + 1) ** 2  # over pi
    masked = 0.5 / (
        n_l * (n_e * n_e * (1 - alpha2) + alpha2).sqrt() + n_e * (n_l * n_l * (1 - alpha2) + alpha2).sqrt()
    )
    fresnel = MIRRORED + (1 - MIRRORED) * (1 - e_h) ** 5
    return spread * masked * fresnel


def mirrored_shares(roughness: float) -> Float[Tensor, " ANGLES"]:
    """The share of light from all around that the clear surface sends to an eye, by the cosine of the angle
    between that and the normal, from 0 to 1 in equal steps: `highlight` integrated over the hemisphere."""
    light = sphere(FINE_SPHERE)
    light = light[light[:, 2] > 0]
    cosine = torch.linspace(0, 1, ANGLES)
    eye = torch.stack([(1 - cosine * cosine).sqrt(), torch.zeros(ANGLES), cosine], -1)
    normal = torch.tensor([0.0, 0.0, 1.0])
    lobes = torch.stack([highlight(normal, light, e, roughness)[:, 0] for e in eye])
    return (2 * lobes * light[:, 2]).mean(-1).clamp(max=1)


def shade(mesh: Mesh, surface: Surface, light: Light, roughness: float = ROUGHNESS) -> ShadedMesh:
    """The mesh in the light and among the surfaces of a scene, which it shades in its turn; light goes
    once from one place of it to another."""
    size = (mesh.bounds[1] - mesh.bounds[0]).norm()
    black = Occluder(mesh.cast, lambda hits, directions: torch.zeros(len(hits.face), 3))
    rough = _lit(mesh, ROUGH * size, MOST_PLACES // 8, light, [black, surface.thing()], roughness)
    place = surface.mesh.vertices
    near = ((place > mesh.bounds[0] - size) & (place < mesh.bounds[1] + size)).all(-1).nonzero()[:, 0]
    radiance = surface.radiance.clone()
    x, n = place[near] + 0.5 * surface.cell * surface.normals[near], surface.normals[near]
    radiance[near] *= change(x, n, light, surface, rough.thing())
    return _lit(mesh, FINE * size, MOST_PLACES, light, [rough.thing(), surface.thing(radiance)], roughness)


def _lit(
    mesh: Mesh, spacing: float, most: int, light: Light, things: Occluders, roughness: float
) -> ShadedMesh:
    places = _places(mesh.vertices[mesh.faces], mesh.corner_normals, spacing, most)
    lift = 1e-3 * float((mesh.bounds[1] - mesh.bounds[0]).norm())
    front = light.in_parts(places.points + lift * places.normals, places.normals, things)
    back = None
    if not is_closed(mesh):
        back = light.in_parts(places.points - lift * places.normals, -places.normals, things)
    return ShadedMesh(
        mesh,
        places,
        torch.cat(front, -1),
        None if back is None else torch.cat(back, -1),
        light.key,
        roughness,
    )


def is_closed(mesh: Mesh) -> bool:
    """Whether every edge joins two faces."""
    pairs = adjacent_faces(merge_vertices(mesh.vertices, mesh.faces)).one
    return 2 * len(pairs) == 3 * len(mesh.faces)


def change(
    points: Float[Tensor, "N 3"],
    normals: Float[Tensor, "N 3"],
    light: Light,
    surface: Surface,
    thing: Occluder,
) -> Float[Tensor, "N 3"]:
    """By which factor a new thing changes the light at points of the scene's surface."""
    before = light.irradiance(points, normals, [surface.thing()])
    return light.irradiance(points, normals, [thing, surface.thing()]) / before.clamp_min(1e-4)


@dataclass(frozen=True, eq=False)
class Shadow:
    """By which factor an object changes the light of the scene's surface."""

    number: Int64[Tensor, " F"]  # of the surface's faces among those that `places` are on; -1: none
    places: MeshColors
    change: Float[Tensor, "Q 3"]

    def factor(self, hits: Hits) -> Float[Tensor, "M 3"]:
        """For hits of the surface."""
        number = torch.where(hits.hit, self.number[hits.face], -1)
        index = (number >= 0).nonzero()[:, 0]
        out = torch.ones(len(hits.face), 3)
        out[index] = self.places.interpolate(self.change, number[index], hits.barycentric[index])
        return out


def cast_shadow(surface: Surface, light: Light, shine: ShadedMesh, region: Region) -> Shadow | None:
    """The object's shadow on what of the surface is inside the region, None where nothing is.

    Nothing else can change in an edit: a shadow on something behind the region would hang in the air.
    """
    vertices, faces = surface.mesh.vertices, surface.mesh.faces
    inside = ((vertices > region.bounds[0]) & (vertices < region.bounds[1])).all(-1)
    chosen = inside[faces].any(-1)
    if not bool(chosen.any()):
        return None
    corners, normals = vertices[faces[chosen]], surface.normals[faces[chosen]]
    places = _places(corners, normals, FINE * region.diagonal, MOST_PLACES)
    share = _fade(places, region)[:, None]
    index = (share[:, 0] > 0).nonzero()[:, 0]
    factor = torch.ones(len(places.points), 3)
    x, n = places.points[index], places.normals[index]
    factor[index] = change(x + 0.1 * surface.cell * n, n, light, surface, shine.thing())
    number = torch.where(chosen, torch.cumsum(chosen, 0) - 1, -1)
    return Shadow(number, places, 1 + share * (factor - 1))


def _fade(places: MeshColors, region: Region) -> Float[Tensor, " Q"]:
    """From 0, where the surface leaves the region, smoothly to 1, FADE away from there along the surface: a
    shadow ends with the region and should not seem cut off."""
    reach, outside = FADE * region.diagonal, torch.zeros(len(places.points))
    helper = torch.eye(3)[places.normals.abs().argmin(-1)]
    across = torch.nn.functional.normalize(torch.linalg.cross(places.normals, helper), dim=-1)
    along = torch.linalg.cross(places.normals, across)
    for turn in torch.arange(WAYS) * (2 * math.pi / WAYS):
        there = places.points + reach * (turn.cos() * across + turn.sin() * along)
        outside = torch.maximum(outside, region.distance(there))
    share = (1 - outside / reach).clamp(0, 1) * region.contains(places.points)
    return share * share * (3 - 2 * share)


def _places(corners: Tensor, normals: Tensor, spacing: float, most: int) -> MeshColors:
    """Places `spacing` apart, or as much farther as `most` of them asks for."""
    places = places_on(corners, normals, float(spacing))
    while len(places.points) > most:
        spacing = 1.3 * spacing
        places = places_on(corners, normals, float(spacing))
    return places
