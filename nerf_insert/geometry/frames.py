"""Orthonormal frames."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def orthonormal_frame(axis: Float[Tensor, " 3"]) -> Float[Tensor, "3 3"]:
    """Complete a unit axis to a right-handed orthonormal frame: rows u, v and the axis itself."""
    helper = torch.eye(3).to(axis)[axis.abs().argmin()]
    u = torch.nn.functional.normalize(torch.linalg.cross(helper, axis), dim=0)
    return torch.stack([u, torch.linalg.cross(axis, u), axis])
