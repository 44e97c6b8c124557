"""A quantity kept on the surface of a mesh, finer than its vertices.

Each face carries a triangular lattice of places, as fine as its size asks for ("mesh colors": Yuksel,
Keyser, House 2010): a box of twelve faces gets as many as a sculpture of a million. Places of one point
and one normal are one, so that neighboring faces agree, and so are places in one cell half as wide as
the spacing: in between them a value may come from half a spacing away.

World coordinates and units. F is the number of faces, Q that of places, N of points asked for.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

FINEST = 64  # pieces along the side of a face at most


@dataclass(frozen=True, eq=False)
class MeshColors:
    """Q places on a mesh, and the way from any point of its faces to those around it."""

    points: Float[Tensor, "Q 3"]
    normals: Float[Tensor, "Q 3"]
    lattice: Int64[Tensor, " L"]  # the place of each lattice point, face after face
    first: Int64[Tensor, " F"]  # a face's first lattice point
    pieces: Int64[Tensor, " F"]  # along each of a face's sides

    def interpolate(
        self, values: Float[Tensor, "Q C"], face: Int64[Tensor, " N"], barycentric: Float[Tensor, "N 3"]
    ) -> Float[Tensor, "N C"]:
        """Values of the places, linear between them, at points of faces."""
        pieces = self.pieces[face]
        u, v = (barycentric[:, 1:] * pieces[:, None]).clamp_min(0).unbind(-1)
        i = torch.minimum(u.long(), pieces - 1)
        j = torch.minimum(v.long(), pieces - 1 - i)
        u, v = u - i, v - j
        upper = u + v > 1  # the other half of the lattice's parallelogram
        upper &= i + j < pieces - 1
        corners = [
            (torch.where(upper, i + 1, i), torch.where(upper, j + 1, j)),
            (torch.where(upper, i, i + 1), torch.where(upper, j + 1, j)),
            (torch.where(upper, i + 1, i), torch.where(upper, j, j + 1)),
        ]
        first, second = torch.where(upper, 1 - u, u), torch.where(upper, 1 - v, v)
        weights = [1 - first - second, first, second]
        out = 0
        for (a, b), weight in zip(corners, weights, strict=True):
            index = self.lattice[self.first[face] + _number(a, b, pieces)]
            out = out + weight[:, None] * values[index]
        return out


def _number(i: Tensor, j: Tensor, pieces: Tensor) -> Tensor:
    """Of the lattice point i steps towards the second and j towards the third corner; rows of equal i."""
    return i * (pieces + 1) - i * (i - 1) // 2 + j


def places_on(corners: Float[Tensor, "F 3 3"], normals: Float[Tensor, "F 3 3"], spacing: float) -> MeshColors:
    """Places on faces given by their corners and the unit normals there, at most `spacing` (world units)
    apart, but for faces wider than FINEST of them."""
    longest = (corners - corners.roll(1, 1)).norm(dim=-1).amax(1)
    pieces = (longest / spacing).ceil().long().clamp(1, FINEST)
    counts = (pieces + 1) * (pieces + 2) // 2
    first = counts.cumsum(0) - counts
    face = torch.repeat_interleave(torch.arange(len(pieces)), counts)
    barycentric = torch.empty(len(face), 3)
    for k in pieces.unique().tolist():
        of_one_face = _lattice(k)
        index = first[pieces == k][:, None] + torch.arange(len(of_one_face))
        barycentric[index] = of_one_face
    points = (barycentric[:, :, None] * corners[face]).sum(1)
    normals = torch.nn.functional.normalize((barycentric[:, :, None] * normals[face]).sum(1), dim=-1)
    _, lattice, many = _key(points, normals, spacing).unique(return_inverse=True, return_counts=True)
    mean = torch.zeros(len(many), 6).index_add_(0, lattice, torch.cat([points, normals], -1)) / many[:, None]
    return MeshColors(mean[:, :3], torch.nn.functional.normalize(mean[:, 3:], dim=-1), lattice, first, pieces)


def _key(points: Tensor, normals: Tensor, spacing: float) -> Int64[Tensor, " L"]:
    """One number for each cell of space and of directions; 17 bits for each axis and 3 for each normal's."""
    low, high = points.amin(0), points.amax(0)
    width = max(spacing / 2, float((high - low).max()) / (2**17 - 2))
    cell = ((points - low) / width + 0.5).long()
    side = (normals * 2).round().long() + 2
    key = torch.zeros(len(points), dtype=torch.int64)
    for axis in range(3):
        key = ((key << 17 | cell[:, axis]) << 3) | side[:, axis]
    return key


def _lattice(pieces: int) -> Float[Tensor, "L 3"]:
    """Barycentric coordinates of the lattice points of a face, in the order of `_number`."""
    i, j = torch.meshgrid(torch.arange(pieces + 1), torch.arange(pieces + 1), indexing="ij")
    inside = i + j <= pieces
    i, j = i[inside], j[inside]
    return torch.stack([pieces - i - j, i, j], -1).float() / pieces
