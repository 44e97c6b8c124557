"""A mesh in a scene's light: the light that leaves its surface, and its effect on the light around it.

Everything is computed once, for samples on the surfaces (mesh_colors.py), and looked up afterwards.
World coordinates and units, linear light. M is a number of hits, Q of samples, N of points.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from nerf_insert.geometry.color import srgb_to_linear
from nerf_insert.geometry.mesh import Hits, Mesh
from nerf_insert.geometry.mesh_topology import adjacent_faces, merge_vertices
from nerf_insert.lighting.finish import Place, Reflector, finish_at, finished_radiance
from nerf_insert.lighting.light import DiskLight, Light, Occluder, Occluders
from nerf_insert.lighting.mesh_colors import MeshColors, place_samples
from nerf_insert.lighting.reflection import ANGLES, highlight, reflected_fractions
from nerf_insert.lighting.surface import SceneSurface
from nerf_insert.lighting.surroundings import Surroundings
from nerf_insert.regions.region import Region

MAX_SAMPLES = 20_000
FINE_SPACING = 1 / 200  # of samples, as a fraction of the mesh's or the region's diagonal
COARSE_SPACING = 1 / 60  # the same for the light that the mesh gives to its surroundings
DEFAULT_ROUGHNESS = 0.6  # of the object's surface: wood, plastic, paint
FADE = 0.025  # distance along a surface in which a shadow fades out, as a fraction of the region's diagonal
FADE_DIRECTIONS = 12  # along the surface in which the region's border is looked for
MIN_IRRADIANCE = 1e-4
BOUNCES = 5  # after as many, a fraction of albedo^5 of the light in a closed space is missing
SETTLED = 0.02  # change of an irradiance by one bounce, relative to the mean, that is not worth another


@dataclass(frozen=True, eq=False)
class ShadedMesh:
    """The light that leaves a mesh: diffuse under a dielectric's clear surface.

    Irradiances have 3 + 3 L channels: three from everything but the L key lights, three from each of these.
    """

    mesh: Mesh
    samples: MeshColors
    front: Float[Tensor, "Q C"]  # irradiance of the faces' front
    back: Float[Tensor, "Q C"] | None  # irradiance of their back, where that can be seen
    keys: tuple[DiskLight, ...]
    roughness: float
    surroundings: Surroundings | None  # what it reflects where its file describes the surface

    def radiance(
        self,
        face: Int64[Tensor, " M"],
        barycentric: Float[Tensor, "M 3"],
        directions: Float[Tensor, "M 3"],
        draw: Int64[Tensor, " M"] | None = None,
    ) -> Float[Tensor, "M 3"]:
        """Return the light that leaves points of the surface against rays of these directions.

        Args:
            face: The face that each ray has met.
            barycentric: Where on the face.
            directions: Unit directions of the rays, world axes.
            draw: Which direction of a reflecting surface's lobe each ray follows, see `finished_radiance`.
        """
        if self.surroundings is None:
            return self._plain(face, barycentric, directions)
        out = torch.empty(len(face), 3)
        finished = self.has_finish[face]
        for chosen in (finished, ~finished):
            index = chosen.nonzero()[:, 0]
            some = face[index], barycentric[index], directions[index]
            if not len(index):
                continue
            if chosen is finished:
                out[index] = self._finished(*some, None if draw is None else draw[index], self.surroundings)
            else:
                out[index] = self._plain(*some)
        return out

    def _finished(
        self,
        face: Int64[Tensor, " M"],
        barycentric: Float[Tensor, "M 3"],
        directions: Float[Tensor, "M 3"],
        draw: Int64[Tensor, " M"] | None,
        surroundings: Surroundings,
    ) -> Float[Tensor, "M 3"]:
        """`radiance` where the file describes the surface."""
        (around, *lit), normals = self._light_and_normals(face, barycentric, directions)
        facing = self.mesh.face_normals[face]
        side = torch.ones(len(face), 1)
        if self.back is not None:
            side = torch.where((facing * directions).sum(-1, keepdim=True) > 0, -1.0, 1.0)
        place = Place(
            self.mesh.points_at(face, barycentric),
            side * facing,
            normals,
            side * self.mesh.mapped_normal_at(face, barycentric),
            -directions,
            srgb_to_linear(self.mesh.color_at(face, barycentric)),
            around,
            lit,
        )
        finish = finish_at(self.mesh, face, barycentric, self.roughness)
        reflector = Reflector(
            surroundings, self.mesh, lambda hits, along: self.radiance(hits.face, hits.barycentric, along)
        )
        out = finished_radiance(place, finish, self.keys, reflector, draw)
        if self.mesh.emits:
            out = out + self.mesh.emission_at(face, barycentric)
        return out

    @cached_property
    def has_finish(self) -> Bool[Tensor, " F"]:
        """Which faces reflect as their material says."""
        index = self.mesh.material_index
        if index is None or self.surroundings is None:
            return torch.zeros(len(self.mesh.faces), dtype=torch.bool)
        return torch.tensor([material.has_finish for material in self.mesh.materials])[index]

    def _light_and_normals(
        self, face: Int64[Tensor, " M"], barycentric: Float[Tensor, "M 3"], directions: Float[Tensor, "M 3"]
    ) -> tuple[tuple[Float[Tensor, "M 3"], ...], Float[Tensor, "M 3"]]:
        """The irradiance, from around and from each key light, and the normals on the side that is seen."""
        irradiance = self.samples.interpolate(self.front, face, barycentric)
        normals = self.mesh.normal_at(face, barycentric)
        if self.back is not None:
            behind = (self.mesh.face_normals[face] * directions).sum(-1, keepdim=True) > 0
            back = self.samples.interpolate(self.back, face, barycentric)
            irradiance = torch.where(behind, back, irradiance)
            normals = torch.where(behind, -normals, normals)
        return irradiance.split(3, -1), normals

    def _plain(
        self, face: Int64[Tensor, " M"], barycentric: Float[Tensor, "M 3"], directions: Float[Tensor, "M 3"]
    ) -> Float[Tensor, "M 3"]:
        """`radiance` where the file says nothing of the surface but its color."""
        albedo = srgb_to_linear(self.mesh.color_at(face, barycentric))
        (around, *lit), normals = self._light_and_normals(face, barycentric, directions)
        cosine = -(normals * directions).sum(-1, keepdim=True)
        reflected = self._reflected(cosine.clamp(0, 1))
        out = (around + sum(lit)) * (1 - reflected) * albedo + around * reflected
        for key, part in zip(self.keys, lit, strict=True):
            light = key.center - self.mesh.points_at(face, barycentric)
            light = torch.nn.functional.normalize(light, dim=-1)
            out = out + part * highlight(normals, light, -directions, self.roughness)
        if self.mesh.emits:
            out = out + self.mesh.emission_at(face, barycentric)
        return out

    @cached_property
    def _reflected_fractions(self) -> Float[Tensor, " ANGLES"]:
        return reflected_fractions(self.roughness)

    def _reflected(self, cosine: Float[Tensor, "M 1"]) -> Float[Tensor, "M 1"]:
        at = cosine * (ANGLES - 1)
        low = at.long().clamp(0, ANGLES - 2)
        return self._reflected_fractions[low].lerp(self._reflected_fractions[low + 1], at - low)

    def differs_little_from(self, other: ShadedMesh) -> bool:
        """Tell whether no irradiance differs visibly from that of the same samples in other light."""
        front = self.front - other.front
        back = front[:0] if self.back is None or other.back is None else self.back - other.back
        change = torch.cat([front, back]).abs().sum(-1)
        return float(change.max()) < SETTLED * float(self.front.sum(-1).mean())

    @property
    def size(self) -> float:
        """The diagonal of the mesh's bounding box, world units."""
        return float((self.mesh.bounds[1] - self.mesh.bounds[0]).norm())

    def as_occluder(self) -> Occluder:
        """Return the mesh as something that hides and gives light."""
        return Occluder(
            self.mesh.cast, lambda hits, directions: self.radiance(hits.face, hits.barycentric, directions)
        )


def shade(
    mesh: Mesh,
    surface: SceneSurface,
    light: Light,
    roughness: float = DEFAULT_ROUGHNESS,
    surroundings: Surroundings | None = None,
) -> ShadedMesh:
    """Light a mesh that stands in a scene.

    The mesh and the scene's surface hide light from each other and give it to each other; light goes up to
    BOUNCES times from one point of the mesh to another, as it does in a cup.

    Args:
        mesh: The mesh; its colors are albedo.
        surface: The scene's surface.
        light: The scene's light.
        roughness: Of the mesh's surface, from 0, polished, to 1, chalk, where its file does not tell.
        surroundings: What it reflects; None: what the file says of its surface beside colors is left out.
    """
    size = float((mesh.bounds[1] - mesh.bounds[0]).norm())
    black = Occluder(mesh.cast, lambda hits, directions: torch.zeros(len(hits.face), 3))
    occluders = [black, surface.as_occluder()]
    coarse = _lit(mesh, COARSE_SPACING * size, MAX_SAMPLES // 8, light, occluders, roughness, surroundings)
    for _ in range(BOUNCES - 1):
        before, occluders = coarse, [coarse.as_occluder(), surface.as_occluder()]
        coarse = _lit(
            mesh, COARSE_SPACING * size, MAX_SAMPLES // 8, light, occluders, roughness, surroundings
        )
        if coarse.differs_little_from(before):
            break
    vertices = surface.mesh.vertices
    near = ((vertices > mesh.bounds[0] - size) & (vertices < mesh.bounds[1] + size)).all(-1).nonzero()[:, 0]
    radiance = surface.radiance.clone()
    normals = surface.normals[near]
    points = vertices[near] + 0.5 * surface.cell * normals
    ratio = irradiance_ratio(points, normals, light, surface, coarse.as_occluder())
    radiance[near] *= ratio
    occluders = [coarse.as_occluder(), surface.as_occluder(radiance)]
    if surroundings is not None:
        surroundings = surroundings.shaded(radiance, torch.ones_like(radiance).index_copy(0, near, ratio))
    return _lit(mesh, FINE_SPACING * size, MAX_SAMPLES, light, occluders, roughness, surroundings)


def _lit(
    mesh: Mesh,
    spacing: float,
    max_samples: int,
    light: Light,
    occluders: Occluders,
    roughness: float,
    surroundings: Surroundings | None,
) -> ShadedMesh:
    samples = place_samples(mesh.vertices[mesh.faces], mesh.corner_normals, spacing, max_samples)
    lift = 1e-3 * float((mesh.bounds[1] - mesh.bounds[0]).norm())
    above = samples.points + lift * samples.normals
    front = _channels(light.irradiance_parts(above, samples.normals, occluders))
    back = None
    if not is_closed(mesh):
        below = samples.points - lift * samples.normals
        back = _channels(light.irradiance_parts(below, -samples.normals, occluders))
    return ShadedMesh(mesh, samples, front, back, light.keys, roughness, surroundings)


def _channels(parts: tuple[Float[Tensor, "Q 3"], Float[Tensor, "Q L 3"]]) -> Float[Tensor, "Q C"]:
    around, lit = parts
    return torch.cat([around, lit.flatten(1)], -1)


def is_closed(mesh: Mesh) -> bool:
    """Tell whether every edge joins two faces."""
    pairs = adjacent_faces(merge_vertices(mesh.vertices, mesh.faces)).one
    return 2 * len(pairs) == 3 * len(mesh.faces)


def irradiance_ratio(
    points: Float[Tensor, "N 3"],
    normals: Float[Tensor, "N 3"],
    light: Light,
    surface: SceneSurface,
    added: Occluder,
) -> Float[Tensor, "N 3"]:
    """Return the factor by which an added object changes the irradiance of the scene's surface.

    Args:
        points: World coordinates, on the surface or a little in front of it.
        normals: Unit normals there.
        light: The scene's light.
        surface: The scene's surface.
        added: The object.
    """
    before = light.irradiance(points, normals, [surface.as_occluder()])
    after = light.irradiance(points, normals, [added, surface.as_occluder()])
    return after / before.clamp_min(MIN_IRRADIANCE)


@dataclass(frozen=True, eq=False)
class Shadow:
    """The factor by which an object changes the light of the scene's surface."""

    face_index: Int64[Tensor, " F"]  # of the surface's faces among those that `samples` lie on; -1: none
    samples: MeshColors
    ratio: Float[Tensor, "Q 3"]

    def factor(self, hits: Hits) -> Float[Tensor, "M 3"]:
        """Return the factor where rays have met the surface; 1 where they have not."""
        face = torch.where(hits.hit, self.face_index[hits.face], -1)
        index = (face >= 0).nonzero()[:, 0]
        out = torch.ones(len(hits.face), 3)
        out[index] = self.samples.interpolate(self.ratio, face[index], hits.barycentric[index])
        return out


def cast_shadow(surface: SceneSurface, light: Light, shaded: ShadedMesh, region: Region) -> Shadow | None:
    """Compute an object's shadow on the part of the surface that lies in a region.

    Nothing outside the region can change in an edit: a shadow on something behind it would hang in the air.

    Args:
        surface: The scene's surface.
        light: The scene's light.
        shaded: The object.
        region: Where the shadow falls, fading out towards its border.

    Returns:
        The shadow, or None if none of the surface is in the region.
    """
    vertices, faces = surface.mesh.vertices, surface.mesh.faces
    inside = ((vertices > region.bounds[0]) & (vertices < region.bounds[1])).all(-1)
    chosen = inside[faces].any(-1)
    if not bool(chosen.any()):
        return None
    corners, normals = vertices[faces[chosen]], surface.normals[faces[chosen]]
    samples = place_samples(corners, normals, FINE_SPACING * float(region.diagonal), MAX_SAMPLES)
    strength = _border_fade(samples, region)[:, None]
    index = (strength[:, 0] > 0).nonzero()[:, 0]
    ratio = torch.ones(len(samples.points), 3)
    n = samples.normals[index]
    x = samples.points[index] + 0.1 * surface.cell * n
    ratio[index] = irradiance_ratio(x, n, light, surface, shaded.as_occluder())
    face_index = torch.where(chosen, torch.cumsum(chosen, 0) - 1, -1)
    return Shadow(face_index, samples, 1 + strength * (ratio - 1))


def _border_fade(samples: MeshColors, region: Region) -> Float[Tensor, " Q"]:
    """Rise smoothly from 0, where the surface leaves the region, to 1, FADE away from there along it.

    A shadow ends with the region and should not look cut off.
    """
    reach, outside = FADE * region.diagonal, torch.zeros(len(samples.points))
    helper = torch.eye(3)[samples.normals.abs().argmin(-1)]
    across = torch.nn.functional.normalize(torch.linalg.cross(samples.normals, helper), dim=-1)
    along = torch.linalg.cross(samples.normals, across)
    for turn in torch.arange(FADE_DIRECTIONS) * (2 * math.pi / FADE_DIRECTIONS):
        moved = samples.points + reach * (turn.cos() * across + turn.sin() * along)
        outside = torch.maximum(outside, region.distance(moved))
    fade = (1 - outside / reach).clamp(0, 1) * region.contains(samples.points)
    return fade * fade * (3 - 2 * fade)
