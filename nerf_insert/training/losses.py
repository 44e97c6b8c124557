"""Losses on where along its ray a pixel has its weight. M samples of N rays, packed."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from nerf_insert.kernels import distortion_loss

EXACT = 0.005  # difference of s that costs nothing: stereo is not more exact
FAR = 0.1  # difference of s beyond which all cost the same


def mean_distortion_loss(
    optical_depth: Float[Tensor, " M"], distances: Float[Tensor, " M"], offsets: Int64[Tensor, " N_plus_1"]
) -> Float[Tensor, ""]:
    """Return the mean distortion loss over rays (mip-NeRF 360, arXiv 2111.12077, eq. 15, first term).

    It contracts haze to surfaces.

    Args:
        optical_depth: Density times length of each sample.
        distances: The samples' s of the paper, ascending along each ray. They get no gradient.
        offsets: Where each ray's samples begin.
    """
    return distortion_loss(optical_depth, distances, offsets).sum() / max(len(offsets) - 1, 1)


def misplacement(
    distances: Float[Tensor, " M"], measured: Float[Tensor, " N"], ray_index: Int64[Tensor, " M"]
) -> Float[Tensor, " M"]:
    """Return what weight in each sample costs that should be at a measured distance, 0..1.

    The mean over a ray's weight draws it to the measured distance from wherever it is, since what costs is a
    weight's place and not the mean of the places.

    Args:
        distances: The samples' s, as for `mean_distortion_loss`.
        measured: The rays' s; NaN: not measured, so nothing costs anything.
        ray_index: The ray of each sample.
    """
    off = (distances - measured.index_select(0, ray_index)).abs()
    return torch.nan_to_num(((off - EXACT) / (FAR - EXACT)).clamp(0, 1), nan=0.0)
