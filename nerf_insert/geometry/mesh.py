"""Colored triangle meshes at which rays can be cast.

V vertices, F faces, N rays or points on the surface, which are given by a face and barycentric weights of its
corners. Coordinates are world coordinates, colors float32 sRGB in 0..1.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor

from nerf_insert.geometry.cameras import Rays
from nerf_insert.geometry.color import linear_to_srgb, srgb_to_linear
from nerf_insert.geometry.material import Material, Texture, TextureUse
from nerf_insert.geometry.mesh_normals import corner_normals, geometric_normals, outward_signs
from nerf_insert.geometry.mesh_tangents import (
    TangentFrames,
    tangent_frames,
    turned_normals,
    turned_tangents,
)
from nerf_insert.geometry.sampling import sample_texture

RAYS_AT_ONCE = 1 << 20


class Hits(NamedTuple):
    """The first hits of N rays."""

    distance: Float[Tensor, " N"]  # world units; infinity: nothing
    face: Int64[Tensor, " N"]  # -1: nothing
    barycentric: Float[Tensor, "N 3"]  # weights of the face's corners, in their order

    @property
    def hit(self) -> Bool[Tensor, " N"]:
        """Which rays hit anything."""
        return self.face >= 0


@dataclass(frozen=True, eq=False)
class Mesh:
    """A colored triangle mesh in world coordinates. It may have holes, many parts, any winding.

    Attributes:
        vertices: World coordinates.
        faces: Numbers of each face's three vertices.
        corner_colors: sRGB at each face's corners, in the order of `faces`; where a face has a texture, they
            tint it in linear light.
        uv_sets: Sets of texture coordinates of the corners, origin bottom left.
        materials: How surfaces look, as far as `corner_colors` does not say it.
        material_index: The material of each face; None: there are no materials.
        textures: The images that materials refer to.
        normals: Of the file, at the corners of faces with a normal map, pointing to either side; 0 elsewhere.
        tangents: The same of directions of u.
        warnings: What the mesh's file says and the mesh does not show.
    """

    vertices: Float[Tensor, "V 3"]
    faces: Int64[Tensor, "F 3"]
    corner_colors: Float[Tensor, "F 3 3"]
    uv_sets: tuple[Float[Tensor, "F 3 2"], ...] = ()
    materials: tuple[Material, ...] = ()
    material_index: Int64[Tensor, " F"] | None = None
    textures: tuple[Texture, ...] = ()
    normals: Float[Tensor, "F 3 3"] | None = None
    tangents: Float[Tensor, "F 3 3"] | None = None
    warnings: tuple[str, ...] = ()

    @staticmethod
    def plain(
        vertices: Float[Tensor, "V 3"],
        faces: Int64[Tensor, "F 3"],
        color: tuple[float, float, float] = (0.7, 0.7, 0.7),
    ) -> Mesh:
        """Create a mesh of one color."""
        colors = torch.tensor(color, dtype=torch.float32).expand(len(faces), 3, 3)
        return Mesh(torch.as_tensor(vertices).float(), torch.as_tensor(faces).long(), colors)

    @property
    def bounds(self) -> Float[Tensor, "2 3"]:
        """Lowest and highest corner of the box around all faces, world coordinates."""
        used = self.vertices[self.faces.reshape(-1)]
        return torch.stack([used.amin(0), used.amax(0)])

    def transformed(self, matrix: Float64[Tensor, "4 4"]) -> Mesh:
        """Transform the mesh by an affine matrix that acts on columns."""
        matrix = torch.as_tensor(matrix, dtype=torch.float64)
        moved = self.vertices.double() @ matrix[:3, :3].T + matrix[:3, 3]
        return replace(
            self,
            vertices=moved.float(),
            normals=turned_normals(self.normals, matrix),
            tangents=turned_tangents(self.tangents, matrix),
        )

    def points_at(self, face: Int64[Tensor, " N"], barycentric: Float[Tensor, "N 3"]) -> Float[Tensor, "N 3"]:
        """Return points on the surface, world coordinates."""
        return (barycentric[:, :, None] * self.vertices[self.faces[face]]).sum(1)

    def color_at(self, face: Int64[Tensor, " N"], barycentric: Float[Tensor, "N 3"]) -> Float[Tensor, "N 3"]:
        """Return sRGB at points on the surface: corner colors blend in linear light, textures bilinearly."""
        color = linear_to_srgb((barycentric[:, :, None] * srgb_to_linear(self.corner_colors[face])).sum(1))
        for material, here in self.by_material(face):
            if material.base_texture is not None:
                texture = self.sampled(material.base_texture, face[here], barycentric[here])
                color[here] = tinted(texture, color[here])
        return color.clamp(0, 1)

    @property
    def has_finish(self) -> bool:
        """Whether the file describes any part of the surface beyond its color."""
        return any(material.has_finish for material in self.materials)

    def with_roughness(self, roughness: float) -> Mesh:
        """Return the mesh with one roughness wherever the file describes the surface."""
        changed = (
            replace(m, roughness=roughness, roughness_texture=None) if m.has_finish else m
            for m in self.materials
        )
        return replace(self, materials=tuple(changed))

    @property
    def emits(self) -> bool:
        """Whether any part of the surface gives light by itself."""
        return any(any(material.emissive) for material in self.materials)

    def emission_at(
        self, face: Int64[Tensor, " N"], barycentric: Float[Tensor, "N 3"]
    ) -> Float[Tensor, "N 3"]:
        """Return the light that points of the surface give by themselves: linear, 1 is a white pixel."""
        out = torch.zeros(len(face), 3)
        for material, here in self.by_material(face):
            if any(material.emissive):
                light = torch.tensor(material.emissive)
                if material.emissive_texture is not None:
                    texture = self.sampled(material.emissive_texture, face[here], barycentric[here])
                    light = light * srgb_to_linear(texture)
                out[here] = light
        return out

    def by_material(self, face: Int64[Tensor, " N"]) -> Iterator[tuple[Material, Int64[Tensor, " n"]]]:
        """Yield the materials of some faces, each with the indices of those that have it."""
        if self.material_index is None:
            return
        which = self.material_index[face]
        for number in which.unique().tolist():
            yield self.materials[number], (which == number).nonzero()[:, 0]

    def sampled(
        self, use: TextureUse, face: Int64[Tensor, " N"], barycentric: Float[Tensor, "N 3"]
    ) -> Float[Tensor, "N 3"]:
        """Return a texture at points on the surface, as its image holds it: sRGB, or plain values."""
        uv = (barycentric[:, :, None] * self.uv_sets[use.uv_set][face]).sum(1)
        texture = self.textures[use.texture]
        return sample_texture(texture.image, use.place(uv), texture.wrap, texture.nearest)

    @cached_property
    def face_normals(self) -> Float[Tensor, "F 3"]:
        """Unit normals of the faces, outwards as far as that can be told, whatever the winding."""
        signs = outward_signs(self.vertices, self.faces, self.occluded)
        return geometric_normals(self.vertices, self.faces) * signs[:, None]

    @cached_property
    def corner_normals(self) -> Float[Tensor, "F 3 3"]:
        """Unit normals at the corners of faces, smooth except across sharp edges."""
        return corner_normals(self.vertices, self.faces, self.face_normals)

    def normal_at(self, face: Int64[Tensor, " N"], barycentric: Float[Tensor, "N 3"]) -> Float[Tensor, "N 3"]:
        """Return smooth unit normals at points on the surface."""
        smooth = (barycentric[:, :, None] * self.corner_normals[face]).sum(1)
        length = smooth.norm(dim=-1, keepdim=True)
        return torch.where(length > 1e-3, smooth / length.clamp_min(1e-9), self.face_normals[face])

    def mapped_normal_at(
        self, face: Int64[Tensor, " N"], barycentric: Float[Tensor, "N 3"]
    ) -> Float[Tensor, "N 3"]:
        """Return unit normals at points on the surface, tilted where it has a normal map."""
        normal = self.normal_at(face, barycentric)
        for material, here in self.by_material(face):
            if material.normal_texture is not None:
                tilt = 2 * self.sampled(material.normal_texture, face[here], barycentric[here]) - 1
                tilt[:, :2] *= material.normal_scale
                normal[here] = self._tangent_frames.tilted(face[here], barycentric[here], tilt)
        return normal

    @cached_property
    def _tangent_frames(self) -> TangentFrames:
        """Where the mesh has normal maps, their frames."""
        uv = torch.zeros(len(self.faces), 3, 2)
        for material, here in self.by_material(torch.arange(len(self.faces))):
            if (use := material.normal_texture) is not None:
                uv[here] = use.place(self.uv_sets[use.uv_set][here].reshape(-1, 2)).view(-1, 3, 2)
        corners = self.vertices[self.faces]
        return tangent_frames(
            corners, uv, self.face_normals, self.corner_normals, self.normals, self.tangents
        )

    def cast(self, rays: Rays) -> Hits:
        """Find the first hit of each ray, from either side of a face."""
        parts = [self._cast(rays[k : k + RAYS_AT_ONCE]) for k in range(0, max(1, rays.count), RAYS_AT_ONCE)]
        return Hits(*(torch.cat(column) for column in zip(*parts, strict=True)))

    def occluded(
        self,
        origins: Float[Tensor, "N 3"],
        directions: Float[Tensor, "N 3"],
        max_distance: float | Float[Tensor, " N"] = float("inf"),
    ) -> Bool[Tensor, " N"]:
        """Tell which rays hit the mesh within a distance.

        Args:
            origins: World coordinates; one on the surface should be lifted a little off it first.
            directions: Unit vectors.
            max_distance: World units.
        """
        far = torch.as_tensor(max_distance, dtype=torch.float32).expand(len(origins))
        parts = [
            self._run(
                origins[k : k + RAYS_AT_ONCE], directions[k : k + RAYS_AT_ONCE], far[k : k + RAYS_AT_ONCE]
            )
            for k in range(0, len(origins), RAYS_AT_ONCE)
        ]
        found = np.concatenate(parts) if parts else np.zeros(0, np.int32)
        return torch.from_numpy(found >= 0)

    def _cast(self, rays: Rays) -> Hits:
        if rays.count == 0:
            return Hits(torch.zeros(0), torch.zeros(0, dtype=torch.int64), torch.zeros(0, 3))
        out = self._run(rays.origins, rays.directions)
        face = torch.from_numpy(out["primID"]).long()
        u, v = torch.from_numpy(out["u"]), torch.from_numpy(out["v"])
        hit = face >= 0
        barycentric = torch.stack([1 - u - v, u, v], -1) * hit[:, None]
        distance = torch.full((rays.count,), float("inf"))
        distance[hit] = torch.from_numpy(out["tfar"])[hit] / self._embree[2]
        return Hits(distance, face, barycentric)

    def _run(self, origins: Tensor, directions: Tensor, far: Tensor | None = None):
        """Embree's answer; with `far` only whether (0 or -1) something is nearer than that."""
        scene, center, scale = self._embree
        starts = ((origins.double() - center) * scale).float().contiguous().numpy()
        along = directions.float().contiguous().numpy()
        if far is None:
            return scene.run(starts, along, output=1)
        return scene.run(starts, along, (far * scale).contiguous().numpy(), query="OCCLUDED")

    @cached_property
    def _embree(self):
        """The mesh in Embree, moved and scaled into a cube around zero because Embree has 32 bits."""
        from embreex.mesh_construction import TriangleMesh
        from embreex.rtcore_scene import EmbreeScene

        low, high = self.bounds.double()
        center, scale = (low + high) / 2, 1 / float((high - low).max())
        scene = EmbreeScene()
        vertices = ((self.vertices.double() - center) * scale).float().contiguous().numpy()
        TriangleMesh(scene, vertices, self.faces.int().contiguous().numpy())
        return scene, center, scale


def tinted(color: Float[Tensor, "N 3"], tint: Float[Tensor, "N 3"]) -> Float[Tensor, "N 3"]:
    """Multiply two sRGB colors in linear light; white changes nothing."""
    return torch.where(tint >= 1, color, linear_to_srgb(srgb_to_linear(color) * srgb_to_linear(tint)))
