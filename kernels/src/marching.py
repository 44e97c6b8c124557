"""Rays through an occupancy grid, into packed samples.

N rays, M samples; distances are in the units of the rays' origins, directions have unit length. All
of it is computed in float64, so that every backend keeps exactly the same samples.
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
    occupancy: Bool[Tensor, "R R R"],
    *,
    bounds: Float[Tensor, "2 3"],
    step: float,
    offsets: Float[Tensor, " N"] | None = None,
    near: float = 0.0,
    far: float = math.inf,
    contract: bool = False,
) -> Samples:
    """The samples of each ray whose midpoints fall into occupied cells (axes of `occupancy`: x, y, z).

    A ray is cut from where it enters the box `bounds` (lowest and highest corner), but not before
    `near`, to where it leaves it, but not beyond `far`. All pieces are `step` long but the first,
    shortened by `offsets` (0..1) times that, and the last. Which pieces there are depends on the box
    and the step only; empty cells just leave theirs out.

    With `contract` the cells divide the cube [-2, 2]^3 of contracted space (arXiv 2111.12077, equation
    10, with the maximum norm as in nerfacto), a ray is cut from `near` to `far`, and a piece that starts
    at x is step * max(1, |x|)^2 long, about equal steps in contracted space. `bounds` is ignored.

    Raises ValueError for a step that is not positive, and for an infinite `far` with `contract`.
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
