"""A quantity kept on the surface of a mesh, at a finer resolution than its vertices.

"Mesh colors" (Yuksel, Keyser, House 2010): each face carries a triangular lattice of samples, as fine as its
size needs, so that a box of twelve faces gets as many as a sculpture of a million. Samples of one point and
one normal are one, so that neighboring faces agree; so are samples in one cell half as wide as the spacing:
a value may come from up to half a spacing away.

World coordinates and units. F is the number of faces, Q of samples, L of lattice points, N of points.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

MAX_SUBDIVISIONS = 64  # of a face's side


@dataclass(frozen=True, eq=False)
class MeshColors:
    """Q samples on the faces of a mesh, and how to interpolate between them."""

    points: Float[Tensor, "Q 3"]
    normals: Float[Tensor, "Q 3"]
    sample_index: Int64[Tensor, " L"]  # the sample of each lattice point, face after face
    first: Int64[Tensor, " F"]  # each face's first lattice point
    subdivisions: Int64[Tensor, " F"]  # of each of a face's sides

    def interpolate(
        self, values: Float[Tensor, "Q C"], face: Int64[Tensor, " N"], barycentric: Float[Tensor, "N 3"]
    ) -> Float[Tensor, "N C"]:
        """Interpolate values of the samples linearly, at points of faces.

        Args:
            values: A quantity at each sample.
            face: The face that each point lies on.
            barycentric: Its barycentric coordinates there.
        """
        pieces = self.subdivisions[face]
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
        second, third = torch.where(upper, 1 - u, u), torch.where(upper, 1 - v, v)
        weights = [1 - second - third, second, third]
        out = values.new_zeros(())
        for (a, b), weight in zip(corners, weights, strict=True):
            index = self.sample_index[self.first[face] + _lattice_number(a, b, pieces)]
            out = out + weight[:, None] * values[index]
        return out


def _lattice_number(i: Tensor, j: Tensor, pieces: Tensor) -> Tensor:
    """Number of the lattice point i steps towards the second and j towards the third corner, by rows of i."""
    return i * (pieces + 1) - i * (i - 1) // 2 + j


def place_samples(
    corners: Float[Tensor, "F 3 3"],
    normals: Float[Tensor, "F 3 3"],
    spacing: float,
    max_samples: int | None = None,
) -> MeshColors:
    """Place samples on faces.

    Args:
        corners: World coordinates of the faces' corners.
        normals: Unit normals at the corners.
        spacing: Largest distance of neighboring samples, world units; wider only on faces of more than
            MAX_SUBDIVISIONS of them along a side.
        max_samples: Widen the spacing until there are no more samples than this.
    """
    samples = _placed(corners, normals, spacing)
    while max_samples is not None and len(samples.points) > max_samples:
        spacing = 1.3 * spacing
        samples = _placed(corners, normals, spacing)
    return samples


def _placed(corners: Float[Tensor, "F 3 3"], normals: Float[Tensor, "F 3 3"], spacing: float) -> MeshColors:
    longest = (corners - corners.roll(1, 1)).norm(dim=-1).amax(1)
    pieces = (longest / spacing).ceil().long().clamp(1, MAX_SUBDIVISIONS)
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
    _, index, count = _key(points, normals, spacing).unique(return_inverse=True, return_counts=True)
    total = torch.zeros(len(count), 6).index_add_(0, index, torch.cat([points, normals], -1))
    mean = total / count[:, None]
    return MeshColors(mean[:, :3], torch.nn.functional.normalize(mean[:, 3:], dim=-1), index, first, pieces)


def _key(points: Tensor, normals: Tensor, spacing: float) -> Int64[Tensor, " L"]:
    """One number for each cell of space (17 bits an axis) and of normals (3 bits an axis)."""
    low, high = points.amin(0), points.amax(0)
    width = max(spacing / 2, float((high - low).max()) / (2**17 - 2))
    cell = ((points - low) / width + 0.5).long()
    side = (normals * 2).round().long() + 2
    key = torch.zeros(len(points), dtype=torch.int64)
    for axis in range(3):
        key = ((key << 17 | cell[:, axis]) << 3) | side[:, axis]
    return key


def _lattice(pieces: int) -> Float[Tensor, "L 3"]:
    """Barycentric coordinates of the lattice points of a face, in the order of `_lattice_number`."""
    i, j = torch.meshgrid(torch.arange(pieces + 1), torch.arange(pieces + 1), indexing="ij")
    inside = i + j <= pieces
    i, j = i[inside], j[inside]
    return torch.stack([pieces - i - j, i, j], -1).float() / pieces
