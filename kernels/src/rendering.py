"""Rendering rays through a hash-grid field of contracted space, in one pass where a backend has one.

N rays, F view features. Distances are in the unit of the rays' origins, directions have unit length.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from nerf_insert.kernels.dispatch import implementation, provides
from nerf_insert.kernels.hashgrid import GridSpec


class FieldWeights(NamedTuple):
    """A hash-grid radiance field: encoding, an MLP for density and features, an MLP for color.

    The trunk's first output plus `density_bias` is the logarithm of the density, at most 15. With a head, its
    inputs are the trunk's other outputs and the ray's view features; without one, the trunk's next three
    outputs are the color. Colors are sigmoids of what the MLPs return.
    """

    spec: GridSpec
    table: Float[Tensor, "entries features"]
    trunk: Sequence[Float[Tensor, "_ _"]]
    head: Sequence[Float[Tensor, "_ _"]] = ()
    density_bias: float = 0.0


class RenderedRays(NamedTuple):
    """N rays: color without background, opacity, and the distance at which half of the light is stopped."""

    rgb: Float[Tensor, "N 3"]
    accumulation: Float[Tensor, " N"]
    depth: Float[Tensor, " N"]  # infinity: never


@torch.no_grad()
def render_rays(
    origins: Float[Tensor, "N 3"],
    directions: Float[Tensor, "N 3"],
    view_features: Float[Tensor, "N F"],
    field: FieldWeights,
    occupancy: Bool[Tensor, "R R R"],
    *,
    step: float,
    near: float,
    far: float,
    stop: float = 0.0,
) -> RenderedRays:
    """Render rays through a field of contracted space, which fills the unit cube of its hash grid.

    Samples are those of `march` with `contract`. A sample that less than the fraction `stop` of the light
    reaches, or that adds less than `stop` to its pixel, adds nothing. The result for a ray does not depend on
    the other rays.

    Args:
        origins: Where the rays start.
        directions: Unit vectors.
        view_features: What the field's head is told of each ray.
        field: The field; density is per unit of the origins.
        occupancy: Cells of [-2, 2]^3, axes x, y, z.
        step: Length of a sample within [-1, 1]^3.
        near: Least distance.
        far: Greatest distance, finite.
        stop: Fraction of a pixel's light that is not looked for, at least 0.
    """
    run = implementation("render_rays", field.table)
    return run(origins, directions, view_features, field, occupancy, step, near, far, stop)


def renders_in_one_pass(like: Tensor) -> bool:
    """Tell whether the active backend renders rays itself, for tensors like this one."""
    return provides("render_rays", like)
