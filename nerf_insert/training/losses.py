"""The distortion loss of mip-NeRF 360. M samples of N rays, packed."""

from __future__ import annotations

from jaxtyping import Float, Int64
from torch import Tensor

from nerf_insert.kernels import distortion_loss


def distortion(
    optical_depth: Float[Tensor, " M"], places: Float[Tensor, " M"], offsets: Int64[Tensor, " N_plus_1"]
) -> Float[Tensor, ""]:
    """How far apart along their rays the samples are that make up a pixel, mean over rays (mip-NeRF 360,
    arXiv 2111.12077, equation 15, first term). It makes haze contract to surfaces.

    `places` are the samples' s, ascending along each ray; they get no gradient.
    """
    return distortion_loss(optical_depth, places, offsets).sum() / max(len(offsets) - 1, 1)
