"""Marching rays through an occupancy grid, into packed samples.

N rays, M samples; X, Y, Z cells along the sides. Distances are in the unit of the rays' origins, directions
have unit length. Everything is computed in float64, so that every backend keeps exactly the same
samples.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from nerf_insert.kernels.dispatch import implementation
from nerf_insert.kernels.samples import Samples


@torch.no_grad()
def march(
    origins: Float[Tensor, "N 3"],
    directions: Float[Tensor, "N 3"],
    occupancy: Bool[Tensor, "X Y Z"],
    *,
    bounds: Float[Tensor, "2 3"],
    step: float,
    offsets: Float[Tensor, " N"] | None = None,
    near: float = 0.0,
    far: float = math.inf,
    contract: bool = False,
) -> Samples:
    """Return the samples of each ray whose midpoints lie in occupied cells.

    A ray is divided from where it enters the box `bounds`, but not before `near`, to where it leaves it,
    but not beyond `far`, into samples of length `step`; the first and the last may be shorter. The division
    depends on box, step and offsets only: an empty cell leaves samples out and moves none.

    With `contract` the cells divide the cube [-2, 2]^3 of contracted space (mip-NeRF 360, arXiv
    2111.12077, equation 10, with the maximum norm as in nerfacto). A ray is divided from `near` to `far`,
    and a sample that starts at x has the length step * max(1, |x|)^2: about equal steps in contracted space.

    Args:
        origins: Where the rays start.
        directions: Unit vectors.
        occupancy: Axes x, y, z.
        bounds: Lowest and highest corner of the box that the cells divide; ignored with `contract`.
        step: Length of a sample.
        offsets: Fraction in 0..1 of `step` by which each ray's first sample is shortened; None: 0.
        near: Least distance.
        far: Greatest distance; must be finite with `contract`.
        contract: Whether the cells divide contracted space instead of `bounds`.

    Raises:
        ValueError: `step` is not positive, or `far` is infinite with `contract`.
    """
    if not step > 0:
        raise ValueError(f"the step between samples should be positive, not {step}")
    if contract and not math.isfinite(far):
        raise ValueError("marching through contracted space needs a finite far distance")
    if offsets is None:
        offsets = origins.new_zeros(origins.shape[0])
    run = implementation("march_contracted" if contract else "march_box", origins)
    limits = (near, far) if contract else (bounds.tolist(), near, far)
    return run(origins, directions, occupancy, offsets, step, *limits)
