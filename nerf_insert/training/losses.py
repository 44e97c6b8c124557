"""The distortion loss of mip-NeRF 360. M samples of N rays, packed."""

from __future__ import annotations

from jaxtyping import Float, Int64
from torch import Tensor

from nerf_insert.kernels import distortion_loss


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
