"""Places of a surface that are compared with each other: neighbors that face the same side.

World coordinates and units. N or M samples of the surface, P pairs of them.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from nerf_insert.lighting.light import POINTS_AT_ONCE

RANKS = (3, 12, 40, 110)  # of a sample's neighbors, those that it is compared with
FEWEST = 4 * max(RANKS)  # samples that tell anything
NEIGHBORS = 24  # samples around one, whose normals are compared with its own
ROUGH, SMOOTH = 0.75, 0.97  # mean cosines at which a sample counts nothing, and fully
SIDES_APART = 2.0  # diagonals of the thing, by which samples that face different sides are kept apart


class Pairs(NamedTuple):
    """Samples that are compared, and how much each pair counts; weights sum to 1."""

    one: Int64[Tensor, " P"]
    other: Int64[Tensor, " P"]
    weight: Float[Tensor, " P"]

    @staticmethod
    def among(points: Float[Tensor, "M 3"], normals: Float[Tensor, "M 3"], size: float) -> Pairs:
        """Return each sample with some of its neighbors, nearer and farther ones, that face the same side.

        Where the surface is rough, its shading is not to be trusted.
        """
        from scipy.spatial import KDTree

        place = torch.cat([points, SIDES_APART * size * normals], -1).numpy()
        near = torch.from_numpy(np.asarray(KDTree(place).query(place, max(RANKS) + 1)[1], np.int64))
        smooth = ((evenness(points, normals) - ROUGH) / (SMOOTH - ROUGH)).clamp(0, 1)
        one, other = torch.arange(len(points)).repeat(len(RANKS)), near[:, list(RANKS)].T.reshape(-1)
        weight = smooth[one] * smooth[other]
        return Pairs(one, other, weight / weight.sum().clamp_min(1e-9))


def evenness(points: Float[Tensor, "N 3"], normals: Float[Tensor, "N 3"]) -> Float[Tensor, " N"]:
    """Return the mean cosine between each sample's normal and those of the samples around it."""
    from scipy.spatial import KDTree

    count = min(NEIGHBORS, len(points))
    around = np.asarray(KDTree(points.numpy()).query(points.numpy(), count)[1], np.int64)
    parts = zip(
        torch.from_numpy(around.reshape(-1, count)).split(POINTS_AT_ONCE),
        normals.split(POINTS_AT_ONCE),
        strict=True,
    )
    return torch.cat([(normals[near] * own[:, None]).sum(-1).mean(1) for near, own in parts])
