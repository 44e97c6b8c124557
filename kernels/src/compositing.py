"""Volume rendering of packed samples (arXiv 2003.08934, equation 3).

N rays, M samples in all; ray i owns the samples offsets[i] to offsets[i + 1] - 1, front to back. A
sample's `optical_depth` is its density times its length: its opacity is alpha = 1 - exp(-optical_depth), the
transmittance T in front of it exp(-sum of the optical depths before it), its weight T * alpha.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from nerf_insert.kernels.dispatch import implementation


class Composite(NamedTuple):
    """What N rays see: color without background, opacity, and depth not divided by it."""

    rgb: Float[Tensor, "N 3"]
    accumulation: Float[Tensor, " N"]
    depth: Float[Tensor, " N"]


def composite(
    optical_depth: Float[Tensor, " M"],
    rgb: Float[Tensor, "M 3"],
    distances: Float[Tensor, " M"],
    offsets: Int64[Tensor, " N_plus_1"],
) -> Composite:
    """Sums of the samples' weights times their color, one, and distance.

    `optical_depth` is at least zero. Gradients go to `optical_depth` and `rgb`, none to `distances`.
    """
    return implementation("composite", optical_depth)(optical_depth, rgb, distances.detach(), offsets)


def distortion_loss(
    optical_depth: Float[Tensor, " M"], places: Float[Tensor, " M"], offsets: Int64[Tensor, " N_plus_1"]
) -> Float[Tensor, " N"]:
    """How far apart the samples of each ray are that matter: the sum over pairs of them of
    w_i w_j |s_i - s_j| (arXiv 2111.12077, equation 15, first term), in O(M).

    `places` are the samples' s, ascending along each ray. Gradients go to `optical_depth`, none to `places`.
    """
    return implementation("distortion_loss", optical_depth)(optical_depth, places.detach(), offsets)


@torch.no_grad()
def median_depth(
    optical_depth: Float[Tensor, " M"], distances: Float[Tensor, " M"], offsets: Int64[Tensor, " N_plus_1"]
) -> Float[Tensor, " N"]:
    """The distance of the sample in which the transmittance falls below 1/2; infinity where none does."""
    return implementation("median_depth", optical_depth)(optical_depth, distances, offsets)


@torch.no_grad()
def transmittance(
    optical_depth: Float[Tensor, " M"], offsets: Int64[Tensor, " N_plus_1"]
) -> Float[Tensor, " M"]:
    """The share of light that reaches the front of each sample."""
    return implementation("transmittance", optical_depth)(optical_depth, offsets)
