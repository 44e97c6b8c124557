"""Volume rendering of packed samples (NeRF, arXiv 2003.08934, equation 3).

N rays, M samples in all; ray i owns the samples offsets[i] to offsets[i + 1] - 1, front to back. A
sample's optical depth is its density times its length, at least 0. Its opacity is alpha =
1 - exp(-optical_depth), the transmittance T in front of it exp(-sum of the optical depths before it), its
weight T * alpha.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from nerf_insert.kernels.dispatch import implementation


class Composite(NamedTuple):
    """N rays: color without background, opacity, and weighted depth (not divided by opacity)."""

    rgb: Float[Tensor, "N 3"]
    accumulation: Float[Tensor, " N"]
    depth: Float[Tensor, " N"]


def composite(
    optical_depth: Float[Tensor, " M"],
    rgb: Float[Tensor, "M 3"],
    distances: Float[Tensor, " M"],
    offsets: Int64[Tensor, " N_plus_1"],
) -> Composite:
    """Sum up the samples' weights times their color, one, and distance along each ray.

    Gradients go to `optical_depth` and `rgb`, none to `distances`.
    """
    return implementation("composite", optical_depth)(optical_depth, rgb, distances.detach(), offsets)


def distortion_loss(
    optical_depth: Float[Tensor, " M"], positions: Float[Tensor, " M"], offsets: Int64[Tensor, " N_plus_1"]
) -> Float[Tensor, " N"]:
    """Compute the distortion loss of each ray, in O(M).

    It is the sum over pairs of the ray's samples of w_i w_j |s_i - s_j| (mip-NeRF 360, arXiv 2111.12077,
    equation 15, first term). Gradients go to `optical_depth`, none to `positions`.

    Args:
        optical_depth: Density times length of each sample.
        positions: The samples' s, in any unit, ascending along each ray.
        offsets: Where each ray's samples begin, and the end of the last ray's.
    """
    return implementation("distortion_loss", optical_depth)(optical_depth, positions.detach(), offsets)


@torch.no_grad()
def median_depth(
    optical_depth: Float[Tensor, " M"], distances: Float[Tensor, " M"], offsets: Int64[Tensor, " N_plus_1"]
) -> Float[Tensor, " N"]:
    """Return the distance of the sample in which the transmittance falls below 1/2; infinity if none."""
    return implementation("median_depth", optical_depth)(optical_depth, distances, offsets)


@torch.no_grad()
def transmittance(
    optical_depth: Float[Tensor, " M"], offsets: Int64[Tensor, " N_plus_1"]
) -> Float[Tensor, " M"]:
    """Return the fraction of light that reaches the front of each sample."""
    return implementation("transmittance", optical_depth)(optical_depth, offsets)
