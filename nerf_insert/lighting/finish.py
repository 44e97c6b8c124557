"""The light that leaves a surface whose material its file describes: metal or not, polished or rough.

After glTF 2.0: a metal has no diffuse part and reflects its base color; anything else is diffuse under a
clear surface. Both reflect the scene around, blurred as the roughness says. World coordinates, linear light.
M is a number of points on the mesh.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn.functional import normalize

from nerf_insert.geometry.cameras import Rays
from nerf_insert.geometry.mesh import Hits, Mesh
from nerf_insert.lighting.light import DiskLight
from nerf_insert.lighting.microfacets import MIN_ALPHA, facet_samples, fresnel, reflectances, spread_places
from nerf_insert.lighting.reflection import REFLECTANCE, lobe
from nerf_insert.lighting.surroundings import Surroundings

LOBE_SAMPLES = 36  # directions that stand for a lobe: one for each of a pixel's rays
OVERLAP = 2.0  # of what they stand for, so that none is seen by itself
STRIDE = 11  # between the places of successive ones: neighbors in a pixel are apart in the lobe
MIN_COSINE = 0.02  # between normal and eye; normals that a map tilts further are bent towards the eye
MAX_GAIN = 4.0  # by which a tilted normal gets more light from around
MIN_LIT = 0.05  # cosine between normal and light; a relief in flatter light gets no more of it
MIN_KEY_ROUGHNESS = 0.15  # a sharper highlight would fall between the pixels
MIN_THROWN_ROUGHNESS = 0.5  # or between the directions in which the scene around is lit by it
LIFT = 1e-3  # of rays off the surface, in the mesh's diagonals

# The light that leaves points of the mesh against rays of unit directions: [M, 3].
Radiance = Callable[[Hits, Float[Tensor, "M 3"]], Float[Tensor, "M 3"]]


class Finish(NamedTuple):
    """How points of a surface reflect."""

    metallic: Float[Tensor, "M 1"]
    roughness: Float[Tensor, "M 1"]
    head_on: Float[Tensor, "M 3"]  # reflected share where it is not metallic
    grazing: Float[Tensor, "M 1"]
    occlusion: Float[Tensor, "M 1"]  # share of the light from around that reaches the surface


def finish_at(
    mesh: Mesh, face: Int64[Tensor, " M"], barycentric: Float[Tensor, "M 3"], roughness: float
) -> Finish:
    """Return the finish at points of a mesh.

    Args:
        mesh: The mesh.
        face: The points' faces.
        barycentric: Where on the faces.
        roughness: Where the file says nothing of it.
    """
    out = Finish(
        torch.zeros(len(face), 1),
        torch.full((len(face), 1), roughness),
        torch.full((len(face), 3), REFLECTANCE),
        torch.ones(len(face), 1),
        torch.ones(len(face), 1),
    )

    def channel(use, here):
        return mesh.sampled(use, face[here], barycentric[here])[:, use.channel, None]

    for material, here in mesh.by_material(face):
        for name, values in (("metallic", out.metallic), ("roughness", out.roughness)):
            factor, use = getattr(material, name), getattr(material, f"{name}_texture")
            if factor is not None:
                values[here] = factor if use is None else factor * channel(use, here)
        if material.reflectance is not None:
            out.head_on[here] = torch.tensor(material.reflectance)
        out.grazing[here] = material.edge_reflectance
        if (use := material.occlusion_texture) is not None:
            out.occlusion[here] = 1 + material.occlusion_strength * (channel(use, here) - 1)
    return out


class Place(NamedTuple):
    """Points of a mesh, as the eye sees them.

    Normals are on the eye's side of the surface; of a closed one, which shows nothing but its color to an eye
    within, they point outwards.
    """

    points: Float[Tensor, "M 3"]
    face_normals: Float[Tensor, "M 3"]
    smooth: Float[Tensor, "M 3"]
    mapped: Float[Tensor, "M 3"]  # `smooth`, tilted by a normal map
    eye: Float[Tensor, "M 3"]  # directions to the eye
    albedo: Float[Tensor, "M 3"]  # linear light
    around: Float[Tensor, "M 3"]  # irradiance of `smooth` without the key lights
    lit: list[Float[Tensor, "M 3"]]  # the same from each key light


class Reflector(NamedTuple):
    """What a mesh reflects.

    Attributes:
        surroundings: The scene around it.
        mesh: The mesh itself.
        radiance: The light that leaves it, without tracing reflections further.
    """

    surroundings: Surroundings
    mesh: Mesh
    radiance: Radiance

    def seen_along(self, rays: Rays, solid_angle: Float[Tensor, " M"]) -> Float[Tensor, "M 3"]:
        """Return the light that comes back along rays from the mesh, averaged over solid angles."""
        light, distance = self.surroundings.seen_along(rays, solid_angle)
        hits = self.mesh.cast(rays)
        own = (hits.distance < distance).nonzero()[:, 0]
        if len(own):
            light[own] = self.radiance(Hits(*(part[own] for part in hits)), rays.directions[own])
        return light


def finished_radiance(
    place: Place,
    finish: Finish,
    keys: Sequence[DiskLight],
    reflector: Reflector,
    draw: Int64[Tensor, " M"] | None,
) -> Float[Tensor, "M 3"]:
    """Return the light that leaves points of a mesh towards the eye.

    Args:
        place: The points.
        finish: How they reflect.
        keys: The key lights.
        reflector: What they reflect.
        draw: Which of LOBE_SAMPLES directions of the lobe each point reflects; the mean over all of them is
            what the eye sees. None: all around the mirrored direction at once, not traced.
    """
    surroundings = reflector.surroundings
    cosine = (place.mapped * place.eye).sum(-1, keepdim=True)
    bent = normalize(place.mapped + (MIN_COSINE - cosine).clamp_min(0) * place.eye, dim=-1)
    normals = torch.where(cosine < MIN_COSINE, bent, place.mapped)
    cosine = (normals * place.eye).sum(-1, keepdim=True).clamp(0, 1)
    metal, rest = finish.metallic, 1 - finish.metallic
    head_on = rest * finish.head_on + metal * place.albedo
    grazing = rest * finish.grazing + metal
    shares = reflectances(finish.roughness, cosine)
    passed = rest * (1 - shares.of(finish.head_on, finish.grazing).amax(-1, keepdim=True))
    out = _tilted_around(place, normals, surroundings) * finish.occlusion * passed * place.albedo
    if draw is None:
        mirrored = 2 * cosine * normals - place.eye
        alpha = (finish.roughness**2).clamp_min(MIN_ALPHA)
        width = (4 * torch.pi * alpha**2)[:, 0].clamp_max(2 * torch.pi)
        reflected = shares.of(head_on, grazing) * surroundings.from_center(mirrored, width)
    else:
        at = spread_places(LOBE_SAMPLES)[draw * STRIDE % LOBE_SAMPLES]
        facets = facet_samples(normals, place.eye, finish.roughness, at, LOBE_SAMPLES)
        under = (facets.light * place.face_normals).sum(-1, keepdim=True).clamp_max(0)
        light = facets.light - 2 * under * place.face_normals
        size = float((reflector.mesh.bounds[1] - reflector.mesh.bounds[0]).norm())
        rays = Rays(place.points + LIFT * size * place.face_normals, light)
        share = facets.weight * fresnel(head_on, grazing, facets.cosine) * shares.gain(head_on)
        reflected = share * reflector.seen_along(rays, OVERLAP * facets.solid_angle)
    outside = (place.face_normals * place.eye).sum(-1, keepdim=True) > 0
    out = out + finish.occlusion * reflected * outside
    sharpest = MIN_THROWN_ROUGHNESS if draw is None else MIN_KEY_ROUGHNESS
    for key, part in zip(keys, place.lit, strict=True):
        toward = normalize(key.center - place.points, dim=-1)
        part = part * _tilted_share(place, normals, toward)
        alpha2 = finish.roughness.clamp_min(sharpest) ** 4 + (key.angle / 2) ** 2
        lobes, facing = lobe(normals, toward, place.eye, alpha2)
        shine = outside * lobes * fresnel(head_on, grazing, facing) * shares.gain(head_on)
        out = out + part * (passed * place.albedo + shine)
    return out


def _tilted_share(
    place: Place, normals: Float[Tensor, "M 3"], toward: Float[Tensor, "M 3"]
) -> Float[Tensor, "M 1"]:
    """The factor on the light of a key light, in a direction, that falls on a surface in relief."""
    straight, tilted = ((n * toward).sum(-1, keepdim=True) for n in (place.smooth, normals))
    share = (tilted / straight.clamp_min(MIN_LIT)).clamp(0, MAX_GAIN)
    return torch.where((place.mapped != place.smooth).any(-1, keepdim=True), share, 1.0)


def _tilted_around(
    place: Place, normals: Float[Tensor, "M 3"], surroundings: Surroundings
) -> Float[Tensor, "M 3"]:
    """The light from around that falls on a surface in relief.

    It is known for the surface without: the light at the center tells how the tilt changes it.
    """
    tilted = (place.mapped != place.smooth).any(-1).nonzero()[:, 0]
    if not len(tilted):
        return place.around
    there, here = (surroundings.irradiance(n[tilted]) for n in (normals, place.smooth))
    around = place.around.clone()
    around[tilted] *= (there / here.clamp_min(1e-4)).clamp(0, MAX_GAIN)
    return around
