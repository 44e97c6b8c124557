"""The distortion loss of mip-NeRF 360. M samples of N rays, packed."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int64
from torch import Tensor


def distortion(
    thickness: Float[Tensor, " M"], places: Float[Tensor, " M"], offsets: Int64[Tensor, " N+1"]
) -> Float[Tensor, ""]:
    """How far apart along their rays the samples are that make up a pixel, mean over rays: the sum over
    pairs of w_i w_j |s_i - s_j| (mip-NeRF 360, arXiv 2111.12077, equation 15, first term), O(M).

    `places` are the samples' s, ascending along each ray. It makes haze contract to surfaces.
    """
    counts = offsets[1:] - offsets[:-1]

    def before(values: Tensor) -> Tensor:
        """Sum over the earlier samples of the same ray; in float64, for the sum runs over all rays."""
        total = torch.cumsum(values.double(), 0) - values.double()
        first = torch.repeat_interleave(offsets[:-1], counts)
        return (total - total[first]).float()

    weights = torch.exp(-before(thickness)) * -torch.expm1(-thickness)
    pairs = weights * (places * before(weights) - before(weights * places))
    return 2 * pairs.sum() / max(len(counts), 1)
