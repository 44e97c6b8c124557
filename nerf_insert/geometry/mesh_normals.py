"""Normals that point outwards and look smooth, for meshes whose winding cannot be trusted.

V vertices, F faces.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float, Int64
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from torch import Tensor

if TYPE_CHECKING:
    from nerf_insert.geometry.mesh import Mesh

CREASE = math.cos(math.radians(45))  # faces that meet at a sharper angle keep an edge between them
DIRECTIONS = 12  # rays from each sampled place, to either side
PLACES = 48  # sampled on a patch, fewer where there are very many patches


def geometric_normals(vertices: Float[Tensor, "V 3"], faces: Int64[Tensor, "F 3"]) -> Float[Tensor, "F 3"]:
    """Unit normals by the right-hand rule; +z for faces without area."""
    a, b, c = vertices[faces].double().unbind(1)
    normal = torch.linalg.cross(b - a, c - a)
    length = normal.norm(dim=-1, keepdim=True)
    up = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)
    return torch.where(length > 0, normal / length.clamp_min(1e-300), up).float()


def merged(vertices: Float[Tensor, "V 3"], faces: Int64[Tensor, "F 3"]) -> Int64[Tensor, "F 3"]:
    """The faces with one number for all vertices at exactly the same place."""
    _, inverse = np.unique(vertices.numpy() + 0.0, axis=0, return_inverse=True)  # + 0.0: no minus zero
    return torch.from_numpy(inverse.reshape(-1))[faces]


def neighbors(faces: Int64[Tensor, "F 3"]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Pairs of faces that share an edge that no third face has: the two faces, the place (0, 1, 2) of the
    edge's first corner in each; E pairs of int64 [E]. A face's k-th edge goes from corner k to k + 1."""
    start, end = faces.reshape(-1), faces.roll(-1, 1).reshape(-1)
    low, high = torch.minimum(start, end), torch.maximum(start, end)
    key, order = (low * (int(faces.max()) + 1 if len(faces) else 1) + high).sort(stable=True)
    _, counts = key.unique_consecutive(return_counts=True)
    first = (counts.cumsum(0) - counts)[counts == 2]
    one, two = order[first], order[first + 1]
    proper = low[one] != high[one]
    one, two = one[proper], two[proper]
    return one // 3, two // 3, one % 3, two % 3


def components(count: int, one: Tensor, two: Tensor) -> Int64[Tensor, " count"]:
    """The number of the connected component of each of `count` nodes, joined by edges one-two."""
    ones = np.ones(len(one), dtype=np.int8)
    graph = coo_matrix((ones, (one.numpy(), two.numpy())), shape=(count, count))
    return torch.from_numpy(connected_components(graph, directed=False)[1]).long()


def outward_signs(mesh: Mesh) -> Float[Tensor, " F"]:
    """+1 where a face's right-hand normal points outwards, -1 where it points inwards.

    Faces are made consistent with their neighbors; then each patch turns to the side from which more
    rays escape to infinity. A patch from which none can be told keeps its winding.
    """
    faces = merged(mesh.vertices, mesh.faces)
    count = len(faces)
    one, two, edge_one, edge_two = neighbors(faces)
    # Two faces agree when they run along their common edge in opposite directions. Each face is two
    # nodes, as it is and turned over; what belongs together is joined, so that components are
    # consistent orientations and come in pairs, each the other turned over.
    agree = faces[one, edge_one] != faces[two, edge_two]
    other = two + torch.where(agree, 0, count)
    turned = two + torch.where(agree, count, 0)
    label = components(2 * count, torch.cat([one, one + count]), torch.cat([other, turned]))
    sign = torch.where(label[:count] <= label[count:], 1.0, -1.0)
    patch = torch.minimum(label[:count], label[count:]).unique(return_inverse=True)[1]
    votes = _escape_votes(mesh, sign, patch)
    as_given = torch.zeros(len(votes)).index_add_(0, patch, sign)
    side = torch.where(votes != 0, votes.sign(), torch.where(as_given < 0, -1.0, 1.0))
    return sign * side[patch]


def _escape_votes(mesh: Mesh, sign: Float[Tensor, " F"], patch: Int64[Tensor, " F"]) -> Float[Tensor, " P"]:
    """For each patch: how many more rays escape from its front (by `sign`) than from its back."""
    generator = torch.Generator().manual_seed(0)
    patches = int(patch.max()) + 1
    a, b, c = mesh.vertices[mesh.faces].unbind(1)
    area = torch.linalg.cross(b - a, c - a).norm(dim=-1)
    places = min(PLACES, max(4, (1 << 16) // patches))
    # Places by area within each patch: `share` runs from 0 to 1 over the patch's faces.
    order = patch.sort(stable=True).indices
    running = area[order].double().cumsum(0)
    ends = running[torch.bincount(patch, minlength=patches).cumsum(0) - 1]
    begins = torch.cat([ends.new_zeros(1), ends[:-1]])
    share = (torch.arange(places) + 0.5) / places
    wanted = begins[:, None] + share * (ends - begins)[:, None]
    face = order[torch.searchsorted(running, wanted.reshape(-1)).clamp_max(len(order) - 1)]
    where = torch.rand(len(face), 3, generator=generator) + 0.1
    where = mesh.points_at(face, where / where.sum(-1, keepdim=True))
    normal = (geometric_normals(mesh.vertices, mesh.faces) * sign[:, None])[face]
    lift = 1e-4 * float((mesh.bounds[1] - mesh.bounds[0]).norm())
    escaped = []
    for side in (1.0, -1.0):
        outward = normal.repeat_interleave(DIRECTIONS, 0) * side
        random = torch.nn.functional.normalize(torch.randn(outward.shape, generator=generator), dim=-1)
        direction = torch.nn.functional.normalize(outward + 0.95 * random, dim=-1)
        origin = where.repeat_interleave(DIRECTIONS, 0) + lift * outward
        free = ~mesh.occluded(origin, direction)
        escaped.append(free.view(patches, -1).sum(1).float())
    return escaped[0] - escaped[1]


def corner_normals(
    vertices: Float[Tensor, "V 3"], faces: Int64[Tensor, "F 3"], normals: Float[Tensor, "F 3"]
) -> Float[Tensor, "F 3 3"]:
    """Unit normals at the corners of faces: the mean, by angle, of those around the vertex that are
    reached without crossing an edge sharper than CREASE."""
    joined = merged(vertices, faces)
    one, two, edge_one, edge_two = neighbors(joined)
    smooth = (normals[one] * normals[two]).sum(-1) >= CREASE
    one, two, edge_one, edge_two = one[smooth], two[smooth], edge_one[smooth], edge_two[smooth]
    # Corner k of face f is node 3 f + k; at both ends of a smooth edge the two faces' corners are joined.
    ends_one = [3 * one + edge_one, 3 * one + (edge_one + 1) % 3]
    ends_two = [3 * two + edge_two, 3 * two + (edge_two + 1) % 3]
    same = joined.reshape(-1)[ends_one[0]] == joined.reshape(-1)[ends_two[0]]
    matched = [torch.where(same, ends_two[0], ends_two[1]), torch.where(same, ends_two[1], ends_two[0])]
    group = components(3 * len(faces), torch.cat(ends_one), torch.cat(matched))
    corner = vertices[faces].double()
    along = torch.nn.functional.normalize(corner.roll(-1, 1) - corner, dim=-1)
    angle = torch.acos((-along * along.roll(1, 1)).sum(-1).clamp(-1, 1)).reshape(-1, 1)
    weighted = normals.double().repeat_interleave(3, 0) * angle
    total = torch.zeros(int(group.max()) + 1, 3, dtype=torch.float64).index_add_(0, group, weighted)
    total = torch.nn.functional.normalize(total, dim=-1)[group].float().view(-1, 3, 3)
    return torch.where(total.norm(dim=-1, keepdim=True) > 0.5, total, normals[:, None].expand(-1, 3, -1))
