"""The frame in which a normal map tilts a surface: along u, along v, outwards.

Normals and tangents come from the mesh's file where it has them, else from its shape and its UVs. F faces, N
points.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn.functional import normalize

HASH = [0x9E3779B97F4A7C15 * (2 * k + 1) % (1 << 63) | 1 for k in range(9)]  # odd: sums of rows differ
MIN_LENGTH = 1e-6  # of a tangent, below which a face has no direction of u


@dataclass(frozen=True, eq=False)
class TangentFrames:
    """Frames at the corners of faces.

    Attributes:
        normals: Unit normals, outwards.
        tangents: Unit vectors along u, about at a right angle to them; 0 where UVs tell no direction.
        sides: 1 where u, v and the normal are right-handed, -1 where the UVs are mirrored.
    """

    normals: Float[Tensor, "F 3 3"]
    tangents: Float[Tensor, "F 3 3"]
    sides: Float[Tensor, " F"]

    def tilted(
        self, face: Int64[Tensor, " N"], barycentric: Float[Tensor, "N 3"], tilt: Float[Tensor, "N 3"]
    ) -> Float[Tensor, "N 3"]:
        """Return unit normals in the mesh's coordinates, of normals in the frames of points."""
        normal = normalize((barycentric[:, :, None] * self.normals[face]).sum(1), dim=-1)
        along = (barycentric[:, :, None] * self.tangents[face]).sum(1)
        along = along - (along * normal).sum(-1, keepdim=True) * normal
        known = along.norm(dim=-1, keepdim=True) > MIN_LENGTH
        along = normalize(along, dim=-1)
        across = self.sides[face][:, None] * torch.linalg.cross(normal, along)
        mapped = tilt[:, :1] * along + tilt[:, 1:2] * across + tilt[:, 2:] * normal
        return torch.where(known, normalize(mapped, dim=-1), normal)


def tangent_frames(
    corners: Float[Tensor, "F 3 3"],
    uv: Float[Tensor, "F 3 2"],
    outward: Float[Tensor, "F 3"],
    smooth: Float[Tensor, "F 3 3"],
    normals: Float[Tensor, "F 3 3"] | None = None,
    tangents: Float[Tensor, "F 3 3"] | None = None,
) -> TangentFrames:
    """Compute the frames of faces.

    Args:
        corners: Coordinates of the faces' corners.
        uv: UVs of the normal map there.
        outward: The faces' unit normals.
        smooth: Normals at the corners, used where the file has none.
        normals: Of the file, whichever side they point to; 0 where it has none.
        tangents: Of the file; 0 where it has none.
    """
    if normals is not None:
        side = torch.where((normals * outward[:, None]).sum(-1, keepdim=True) < 0, -1.0, 1.0)
        given = normals.norm(dim=-1, keepdim=True) > MIN_LENGTH
        smooth = torch.where(given, normalize(side * normals, dim=-1), smooth)
    along, across = _gradients(corners, uv)
    mirrored = (torch.linalg.cross(outward, along) * across).sum(-1) < 0
    sides = torch.where(mirrored, -1.0, 1.0)
    found = _shared(corners, uv, sides, smooth, along)
    if tangents is not None:
        given = tangents.norm(dim=-1, keepdim=True) > MIN_LENGTH
        found = torch.where(given, normalize(tangents, dim=-1), found)
    return TangentFrames(smooth, found, sides)


def _gradients(
    corners: Float[Tensor, "F 3 3"], uv: Float[Tensor, "F 3 2"]
) -> tuple[Float[Tensor, "F 3"], Float[Tensor, "F 3"]]:
    """Unit vectors along which u, and v, grow on each face; 0 where the UVs of a face have no area."""
    one, two = (corners[:, k].double() - corners[:, 0].double() for k in (1, 2))
    a, b = (uv[:, k].double() - uv[:, 0].double() for k in (1, 2))
    turn = torch.where(a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0] < 0, -1.0, 1.0).double()[:, None]
    along = normalize(turn * (b[:, 1:] * one - a[:, 1:] * two), dim=-1, eps=1e-30)
    across = normalize(turn * (a[:, :1] * two - b[:, :1] * one), dim=-1, eps=1e-30)
    return along.float(), across.float()


def _shared(
    corners: Float[Tensor, "F 3 3"],
    uv: Float[Tensor, "F 3 2"],
    sides: Float[Tensor, " F"],
    smooth: Float[Tensor, "F 3 3"],
    along: Float[Tensor, "F 3"],
) -> Float[Tensor, "F 3 3"]:
    """The mean direction of u of the faces that share a corner, UVs, a normal and a side, by angle."""
    key = torch.cat(
        [corners, uv, (smooth * 64).round() / 64, sides[:, None, None].expand(-1, 3, 1)], -1
    ).reshape(-1, 9)
    bits = (key.float() + 0.0).contiguous().view(torch.int32).long()  # -0 is 0
    group = (bits * torch.tensor(HASH)).sum(-1).unique(return_inverse=True)[1]
    edge = normalize(corners.roll(-1, 1) - corners, dim=-1)
    angle = torch.acos((-edge * edge.roll(1, 1)).sum(-1).clamp(-1, 1))
    weighted = (angle[..., None] * along[:, None]).reshape(-1, 3)
    total = torch.zeros(int(group.max()) + 1, 3).index_add_(0, group, weighted)
    return normalize(total, dim=-1)[group].view(-1, 3, 3)


def turned_normals(
    normals: Float[Tensor, "F 3 3"] | None, matrix: Float[Tensor, "r 4"]
) -> Float[Tensor, "F 3 3"] | None:
    """Return normals of a surface that an affine matrix, acting on columns, has moved."""
    return (
        None if normals is None else (normals.double() @ torch.linalg.pinv(matrix[:3, :3].double())).float()
    )


def turned_tangents(
    tangents: Float[Tensor, "F 3 3"] | None, matrix: Float[Tensor, "r 4"]
) -> Float[Tensor, "F 3 3"] | None:
    """Return tangents of a surface that an affine matrix, acting on columns, has moved."""
    return None if tangents is None else (tangents.double() @ matrix[:3, :3].double().T).float()
