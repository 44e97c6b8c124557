"""Rendering rays through a hash-grid field, in one pass where a backend has one.

N rays, M samples in all, F view features. Distances are in the unit of the rays' origins, directions have
unit length.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
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


@torch.no_grad()
def query_along(
    units: Float[Tensor, "M 3"],
    lengths: Float[Tensor, " M"],
    offsets: Int64[Tensor, " N_plus_1"],
    view_features: Float[Tensor, "N F"],
    field: FieldWeights,
    stop: float = 0.0,
) -> tuple[Float[Tensor, " M"], Float[Tensor, "M 3"]]:
    """Return density and color of samples along rays, as far as light reaches.

    A sample that less than the fraction `stop` of the light reaches, or that adds less than `stop` to its
    pixel, gets density and color 0. The result for a ray does not depend on the other rays.

    Args:
        units: The samples' points in the unit cube of the hash grid.
        lengths: Of the samples, in the unit of the field's density.
        offsets: Where each ray's samples begin, and the end of the last ray's.
        view_features: What the field's head is told of each ray.
        field: The field.
        stop: At least 0.
    """
    run = implementation("query_along", field.table)
    return run(units, lengths, offsets, view_features, field, stop)


def renders_in_one_pass(like: Tensor) -> bool:
    """Tell whether the active backend renders rays itself, for tensors like this one."""
    return provides("render_rays", like)
