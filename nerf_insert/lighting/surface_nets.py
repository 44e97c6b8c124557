"""Triangles from a signed distance grid: surface nets, without small pieces and ripples.

Gibson, "Constrained elastic surface nets", 1998. Grid coordinates: the distance of neighboring grid points
is 1. V is the number of vertices, F that of faces, X, Y and Z those of grid points along the axes.
"""

from __future__ import annotations

from itertools import combinations

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from nerf_insert.geometry.mesh_normals import geometric_normals
from nerf_insert.geometry.mesh_topology import adjacent_faces, connected_components

MIN_PIECE_FACES = 40  # of a connected piece; a smaller one is a floater
DENOISE_ITERATIONS = 20
MIN_NORMAL_COSINE = 0.5  # between the normals of two faces from which on they smooth each other

CUBE_CORNERS = [(x, y, z) for x in (0, 1) for y in (0, 1) for z in (0, 1)]


def surface_net(grid: Float[Tensor, "X Y Z"]) -> tuple[Float[Tensor, "V 3"], Int64[Tensor, "F 3"]]:
    """Extract the zero set of a grid that is positive in free space.

    Returns:
        Vertices in grid coordinates, one in each cell that the surface crosses, and triangles whose
        right-hand normals point into free space. Cells with a NaN corner have none.
    """
    cells = _crossed_cells(grid)
    number = torch.full(grid.shape, -1)
    number[tuple(cells.unbind(-1))] = torch.arange(len(cells))
    faces = []
    step = torch.eye(3, dtype=torch.long)
    for axis in range(3):  # a quad for each crossed grid edge along the axis, between the cells around it
        one, two = (axis + 1) % 3, (axis + 2) % 3
        start = cells[(cells[:, one] > 0) & (cells[:, two] > 0)]
        begin, end = grid[tuple(start.unbind(-1))], grid[tuple((start + step[axis]).unbind(-1))]
        around = (0 * step[0], step[one], step[one] + step[two], step[two])
        quad = torch.stack([number[tuple((start - k).unbind(-1))] for k in around], -1)
        crossed = ((begin < 0) != (end < 0)) & (quad >= 0).all(-1)
        quad, inward = quad[crossed], (begin < 0)[crossed]
        quad = torch.where(inward[:, None], quad, quad.flip(-1))
        faces += [quad[:, [0, 1, 2]], quad[:, [0, 2, 3]]]
    return cells + _mean_crossing(grid, cells), torch.cat(faces)


def _crossed_cells(grid: Float[Tensor, "X Y Z"]) -> Int64[Tensor, "V 3"]:
    """Return the lowest corners of the cells with corners on both sides and none that is NaN."""
    size = grid.shape
    parts = [grid[x : size[0] - 1 + x, y : size[1] - 1 + y, z : size[2] - 1 + z] for x, y, z in CUBE_CORNERS]
    lowest, highest = parts[0].clone(), parts[0].clone()
    for part in parts[1:]:  # NaN stays NaN
        lowest, highest = torch.minimum(lowest, part), torch.maximum(highest, part)
    return ((lowest < 0) & (highest >= 0)).nonzero()


def _mean_crossing(grid: Float[Tensor, "X Y Z"], cells: Int64[Tensor, "V 3"]) -> Float[Tensor, "V 3"]:
    """Return the mean of the places in 0..1 where the surface crosses each cell's edges."""
    values = torch.stack([grid[tuple((cells + torch.tensor(c)).unbind(-1))] for c in CUBE_CORNERS], -1)
    total, count = torch.zeros(len(cells), 3), torch.zeros(len(cells), 1)
    for (one, a), (two, b) in combinations(enumerate(CUBE_CORNERS), 2):
        if sum(abs(p - q) for p, q in zip(a, b, strict=True)) != 1:
            continue
        u, v = values[:, one], values[:, two]
        crossed = ((u < 0) != (v < 0))[:, None]
        fraction = (u / (u - v))[:, None].nan_to_num()
        begin, end = torch.tensor(a).float(), torch.tensor(b).float()
        total += torch.where(crossed, begin + fraction * (end - begin), 0)
        count += crossed
    return total / count.clamp_min(1)


def without_small_pieces(
    vertices: Float[Tensor, "V 3"], faces: Int64[Tensor, "F 3"]
) -> tuple[Tensor, Tensor]:
    """Remove connected pieces of fewer than MIN_PIECE_FACES faces, and vertices of no face."""
    if not len(faces):
        return vertices[:0], faces
    label = connected_components(len(vertices), faces[:, 0].repeat(2), faces[:, 1:].T.reshape(-1))
    large = torch.bincount(label[faces[:, 0]], minlength=len(vertices)) >= MIN_PIECE_FACES
    faces = faces[large[label[faces[:, 0]]]]
    used, numbers = faces.unique(return_inverse=True)
    return vertices[used], numbers


def denoised(vertices: Float[Tensor, "V 3"], faces: Int64[Tensor, "F 3"]) -> tuple[Tensor, Tensor]:
    """Flatten ripples and keep edges.

    Normals become means of those around that look about the same way, then vertices follow them (Sun et
    al., "Fast and effective feature-preserving mesh denoising", 2007).
    """
    if not len(faces):
        return vertices, faces
    normals = geometric_normals(vertices, faces)
    one, two, _, _ = adjacent_faces(faces)
    for _ in range(DENOISE_ITERATIONS):
        cosine = (normals[one] * normals[two]).sum(-1, keepdim=True)
        weight = (cosine - MIN_NORMAL_COSINE).clamp_min(0) ** 2
        total = (1 - MIN_NORMAL_COSINE) ** 2 * normals
        total.index_add_(0, one, weight * normals[two]).index_add_(0, two, weight * normals[one])
        normals = torch.nn.functional.normalize(total, dim=-1)
    face_count = torch.bincount(faces.reshape(-1), minlength=len(vertices))[:, None]
    for _ in range(DENOISE_ITERATIONS):
        corners = vertices[faces]
        height = ((corners.mean(1, keepdim=True) - corners) * normals[:, None]).sum(-1, keepdim=True)
        shift = (height * normals[:, None]).view(-1, 3)
        move = torch.zeros_like(vertices).index_add_(0, faces.reshape(-1), shift)
        vertices = vertices + move / face_count
    return vertices, faces
