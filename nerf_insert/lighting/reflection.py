"""Reflection at the clear surface of a dielectric: the GGX lobe (Walter et al. 2007).

Directions are unit vectors away from the surface, in one frame with the normals. M is a number of points.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from nerf_insert.lighting.light import fibonacci_sphere

REFLECTANCE = 0.04  # fraction of light that refractive index 1.5 reflects head-on, uncolored
ANGLES = 33  # at which the reflected fraction is tabulated
LOBE_DIRECTIONS = 1 << 16  # that it is integrated over


def highlight(
    normals: Float[Tensor, "#M 3"],
    light: Float[Tensor, "#M 3"],
    eye: Float[Tensor, "#M 3"],
    roughness: float,
) -> Float[Tensor, "#M 1"]:
    """Return how much of the irradiance from a light the surface reflects to an eye.

    Args:
        normals: Unit normals.
        light: Directions to the light.
        eye: Directions to the eye.
        roughness: From 0, polished, to 1, chalk.

    Returns:
        Radiance per irradiance, in units of what a white diffuse surface sends.
    """
    facets, e_h = lobe(normals, light, eye, roughness**4)
    return facets * (REFLECTANCE + (1 - REFLECTANCE) * (1 - e_h) ** 5)


def lobe(
    normals: Float[Tensor, "#M 3"],
    light: Float[Tensor, "#M 3"],
    eye: Float[Tensor, "#M 3"],
    alpha2: float | Float[Tensor, "#M 1"],
) -> tuple[Float[Tensor, "#M 1"], Float[Tensor, "#M 1"]]:
    """Return what `highlight` does of facets that reflect everything, and the cosine at which they are seen.

    Args:
        normals: Unit normals.
        light: Directions to the light.
        eye: Directions to the eye.
        alpha2: The square of how much the facets are tilted: roughness to the power of 4.
    """
    half = torch.nn.functional.normalize(light + eye, dim=-1)
    n_h, n_l, n_e, e_h = (
        (a * b).sum(-1, keepdim=True).clamp(1e-3, 1)
        for a, b in ((normals, half), (normals, light), (normals, eye), (eye, half))
    )
    distribution = alpha2 / (n_h * n_h * (alpha2 - 1) + 1) ** 2  # over pi
    masking = 0.5 / (
        n_l * (n_e * n_e * (1 - alpha2) + alpha2).sqrt() + n_e * (n_l * n_l * (1 - alpha2) + alpha2).sqrt()
    )
    return distribution * masking, e_h


def reflected_fractions(roughness: float) -> Float[Tensor, " ANGLES"]:
    """Return the fraction of uniform light that the surface reflects to an eye: `highlight`, integrated.

    Args:
        roughness: From 0, polished, to 1, chalk.

    Returns:
        By the cosine between normal and eye, from 0 to 1 in equal steps.
    """
    light = fibonacci_sphere(LOBE_DIRECTIONS)
    light = light[light[:, 2] > 0]
    cosine = torch.linspace(0, 1, ANGLES)
    eye = torch.stack([(1 - cosine * cosine).sqrt(), torch.zeros(ANGLES), cosine], -1)
    normal = torch.tensor([[0.0, 0.0, 1.0]])
    lobes = torch.stack([highlight(normal, light, e[None], roughness)[:, 0] for e in eye])
    return (2 * lobes * light[:, 2]).mean(-1).clamp(max=1)
