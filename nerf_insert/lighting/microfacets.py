"""Reflection at rough surfaces: the microfacets of Trowbridge and Reitz (GGX) with Smith's masking.

Directions are unit vectors away from the surface. The lobe is sampled by the facets that the eye sees (Heitz
2018). What facets throw at each other is not lost but added in proportion (Turquin 2019). M is a number of
points.
"""

from __future__ import annotations

import math
from functools import cache
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

MIN_ALPHA = 1e-3  # of a mirror: its lobe is a tenth of a degree wide
ANGLES, ROUGHNESSES = 33, 33  # at which reflected shares are tabulated
TABLE_SAMPLES = 256


class Facets(NamedTuple):
    """What facets reflect towards the eye, one direction for each point.

    Attributes:
        light: Unit directions that the light comes from.
        weight: The share of that light that reaches the eye, of facets that reflect everything; 0: none.
        cosine: Between the facet's normal and the eye.
        solid_angle: For which the direction stands, steradians.
    """

    light: Float[Tensor, "M 3"]
    weight: Float[Tensor, "M 1"]
    cosine: Float[Tensor, "M 1"]
    solid_angle: Float[Tensor, " M"]


def facet_samples(
    normals: Float[Tensor, "M 3"],
    eye: Float[Tensor, "M 3"],
    roughness: Float[Tensor, "M 1"],
    place: Float[Tensor, "M 2"],
    count: int,
) -> Facets:
    """Choose one direction of the lobe for each point.

    The mean of `weight` times Fresnel's factor times the light, over evenly spread places, is what a surface
    reflects.

    Args:
        normals: Unit normals.
        eye: Directions to the eye, on the normals' side.
        roughness: From 0, polished, to 1, rough.
        place: Places in the unit square, one for each point.
        count: How many places share a lobe.
    """
    alpha = (roughness * roughness).clamp_min(MIN_ALPHA)
    frame = tangent_frame(normals)
    local = (frame @ eye[..., None])[..., 0]
    stretched = normalize(torch.cat([alpha * local[:, :2], local[:, 2:]], -1), dim=-1)
    turn = 2 * math.pi * place[:, :1]
    z = (1 - place[:, 1:]) * (1 + stretched[:, 2:]) - stretched[:, 2:]
    radius = (1 - z * z).clamp_min(0).sqrt()
    cap = torch.cat([radius * turn.cos(), radius * turn.sin(), z], -1) + stretched
    facet = normalize(torch.cat([alpha * cap[:, :2], cap[:, 2:].clamp_min(1e-6)], -1), dim=-1)
    cosine = (facet * local).sum(-1, keepdim=True).clamp(1e-4, 1)
    light = 2 * cosine * facet - local
    n_l, n_e = light[:, 2:], local[:, 2:].clamp_min(1e-4)
    seen, lit = (_shadowing(c, alpha) for c in (n_e, n_l.clamp_min(1e-4)))
    weight = torch.where(n_l > 0, (1 + seen) / (1 + seen + lit), 0.0)
    density = distribution(facet[:, 2:], alpha) / (4 * n_e * (1 + seen))
    light = (frame.transpose(1, 2) @ light[..., None])[..., 0]
    return Facets(light, weight, cosine, 1 / (count * density[:, 0]))


def tangent_frame(normals: Float[Tensor, "M 3"]) -> Float[Tensor, "M 3 3"]:
    """Return right-handed orthonormal frames: rows u, v and the normal itself."""
    helper = torch.eye(3)[normals.abs().argmin(-1)]
    u = normalize(torch.linalg.cross(helper, normals), dim=-1)
    return torch.stack([u, torch.linalg.cross(normals, u), normals], 1)


def distribution(cosine: Tensor, alpha: Tensor) -> Tensor:
    """Return the density of facets at this cosine to the normal, per steradian."""
    return alpha**2 / (math.pi * (1 + cosine**2 * (alpha**2 - 1)) ** 2).clamp_min(1e-12)


def _shadowing(cosine: Tensor, alpha: Tensor) -> Tensor:
    """Smith's Lambda."""
    return 0.5 * ((1 + alpha**2 * (1 / cosine**2 - 1)).sqrt() - 1)


def fresnel(
    head_on: Float[Tensor, "M C"], grazing: Float[Tensor, "M 1"], cosine: Float[Tensor, "M 1"]
) -> Float[Tensor, "M C"]:
    """Return the reflected share by Schlick's formula, between head-on and grazing angles."""
    return head_on + (grazing - head_on) * (1 - cosine) ** 5


class Reflectances(NamedTuple):
    """Shares of uniform light that a rough surface reflects, by what its facets reflect.

    The whole is `head_on * straight + grazing * edge`, without what facets throw at each other.
    """

    straight: Float[Tensor, "M 1"]
    edge: Float[Tensor, "M 1"]

    def of(self, head_on: Float[Tensor, "M 3"], grazing: Float[Tensor, "M 1"]) -> Float[Tensor, "M 3"]:
        """Return the share with what facets throw at each other: of facets that reflect everything, 1."""
        return (head_on * self.straight + grazing * self.edge) * self.gain(head_on)

    def gain(self, head_on: Float[Tensor, "M 3"]) -> Float[Tensor, "M 3"]:
        """Return the factor by which facets that throw light at each other reflect more than once."""
        return 1 + head_on * (1 / (self.straight + self.edge) - 1)


def reflectances(roughness: Float[Tensor, "M 1"], cosine: Float[Tensor, "M 1"]) -> Reflectances:
    """Look up what surfaces reflect, by their roughness and the cosine to the eye."""
    r, c = roughness[:, 0] * (ROUGHNESSES - 1), cosine[:, 0].clamp(0, 1) * (ANGLES - 1)
    r0, c0 = r.long().clamp(0, ROUGHNESSES - 2), c.long().clamp(0, ANGLES - 2)
    fr, fc = (r - r0)[:, None], (c - c0)[:, None]
    table = _table()
    low = table[r0, c0].lerp(table[r0, c0 + 1], fc)
    high = table[r0 + 1, c0].lerp(table[r0 + 1, c0 + 1], fc)
    found = low.lerp(high, fr)
    return Reflectances(found[:, :1], found[:, 1:])


@cache
def _table() -> Float[Tensor, "ROUGHNESSES ANGLES 2"]:
    """The factors of `Reflectances` by roughness and cosine."""
    roughness, cosine = torch.meshgrid(
        torch.linspace(0, 1, ROUGHNESSES), torch.linspace(0, 1, ANGLES).clamp_min(1e-3), indexing="ij"
    )
    roughness, cosine = (x.reshape(-1, 1).repeat_interleave(TABLE_SAMPLES, 0) for x in (roughness, cosine))
    eye = torch.cat([(1 - cosine**2).sqrt(), torch.zeros_like(cosine), cosine], -1)
    up = torch.tensor([[0.0, 0.0, 1.0]]).expand(len(eye), 3)
    place = spread_places(TABLE_SAMPLES).repeat(ROUGHNESSES * ANGLES, 1)
    facets = facet_samples(up, eye, roughness, place, TABLE_SAMPLES)
    rest = (1 - facets.cosine) ** 5
    parts = torch.cat([facets.weight * (1 - rest), facets.weight * rest], -1)
    return parts.view(ROUGHNESSES, ANGLES, TABLE_SAMPLES, 2).mean(2)


@cache
def spread_places(count: int) -> Float[Tensor, "count 2"]:
    """Return places spread evenly over the unit square: a Fibonacci lattice."""
    k = torch.arange(count) + 0.5
    return torch.stack([(k * (math.sqrt(5) - 1) / 2) % 1, k / count], -1)
