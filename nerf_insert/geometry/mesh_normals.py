"""Normals that point outwards and look smooth, for meshes whose winding cannot be trusted.

V vertices, F faces.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from nerf_insert.geometry.mesh_topology import adjacent_faces, connected_components, merge_vertices

# Whether rays, given by origins [N, 3] and unit directions [N, 3], hit the mesh anywhere.
Occluded = Callable[[Float[Tensor, "N 3"], Float[Tensor, "N 3"]], Bool[Tensor, " N"]]

CREASE = math.cos(math.radians(45))  # faces that meet at a sharper angle keep an edge between them
DIRECTIONS = 12  # rays from each sampled point, to either side
SAMPLES = 48  # points on a patch, fewer where there are very many patches


def geometric_normals(vertices: Float[Tensor, "V 3"], faces: Int64[Tensor, "F 3"]) -> Float[Tensor, "F 3"]:
    """Compute unit normals by the right-hand rule; +z for faces without area."""
    a, b, c = vertices[faces].double().unbind(1)
    normal = torch.linalg.cross(b - a, c - a)
    length = normal.norm(dim=-1, keepdim=True)
    up = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)
    return torch.where(length > 0, normal / length.clamp_min(1e-300), up).float()


def outward_signs(
    vertices: Float[Tensor, "V 3"], faces: Int64[Tensor, "F 3"], occluded: Occluded
) -> Float[Tensor, " F"]:
    """Tell which faces have a right-hand normal that points outwards.

    Faces are made consistent with their neighbors; then each patch turns to the side from which more rays
    escape to infinity. A patch for which rays cannot tell keeps its winding.

    Args:
        vertices: The mesh's vertices.
        faces: Its faces.
        occluded: Tells which rays hit the mesh.

    Returns:
        +1 where the normal points outwards, -1 where it points inwards.
    """
    merged = merge_vertices(vertices, faces)
    count = len(merged)
    one, two, edge_one, edge_two = adjacent_faces(merged)
    # Two faces agree when they run along their common edge in opposite directions. Each face is two
    # nodes, as it is and turned over; what belongs together is joined, so that components are
    # consistent orientations and come in pairs, each the other turned over.
    agree = merged[one, edge_one] != merged[two, edge_two]
    other = two + torch.where(agree, 0, count)
    turned = two + torch.where(agree, count, 0)
    label = connected_components(2 * count, torch.cat([one, one + count]), torch.cat([other, turned]))
    sign = torch.where(label[:count] <= label[count:], 1.0, -1.0)
    patch = torch.minimum(label[:count], label[count:]).unique(return_inverse=True)[1]
    votes = _escape_votes(vertices, faces, occluded, sign, patch)
    as_given = torch.zeros(len(votes)).index_add_(0, patch, sign)
    side = torch.where(votes != 0, votes.sign(), torch.where(as_given < 0, -1.0, 1.0))
    return sign * side[patch]


def _escape_votes(
    vertices: Float[Tensor, "V 3"],
    faces: Int64[Tensor, "F 3"],
    occluded: Occluded,
    sign: Float[Tensor, " F"],
    patch: Int64[Tensor, " F"],
) -> Float[Tensor, " P"]:
    """For each patch, how many more rays escape from its front (by `sign`) than from its back."""
    generator = torch.Generator().manual_seed(0)
    patches = int(patch.max()) + 1
    a, b, c = vertices[faces].unbind(1)
    area = torch.linalg.cross(b - a, c - a).norm(dim=-1)
    samples = min(SAMPLES, max(4, (1 << 16) // patches))
    # Points by area within each patch: `along` runs from 0 to 1 over the patch's faces.
    order = patch.sort(stable=True).indices
    running = area[order].double().cumsum(0)
    ends = running[torch.bincount(patch, minlength=patches).cumsum(0) - 1]
    begins = torch.cat([ends.new_zeros(1), ends[:-1]])
    along = (torch.arange(samples) + 0.5) / samples
    wanted = begins[:, None] + along * (ends - begins)[:, None]
    face = order[torch.searchsorted(running, wanted.reshape(-1)).clamp_max(len(order) - 1)]
    barycentric = torch.rand(len(face), 3, generator=generator) + 0.1
    barycentric = barycentric / barycentric.sum(-1, keepdim=True)
    points = (barycentric[:, :, None] * vertices[faces[face]]).sum(1)
    normal = (geometric_normals(vertices, faces) * sign[:, None])[face]
    used = vertices[faces.reshape(-1)]
    lift = 1e-4 * float((used.amax(0) - used.amin(0)).norm())
    escaped = []
    for side in (1.0, -1.0):
        outward = normal.repeat_interleave(DIRECTIONS, 0) * side
        random = torch.nn.functional.normalize(torch.randn(outward.shape, generator=generator), dim=-1)
        direction = torch.nn.functional.normalize(outward + 0.95 * random, dim=-1)
        origin = points.repeat_interleave(DIRECTIONS, 0) + lift * outward
        free = ~occluded(origin, direction)
        escaped.append(free.view(patches, -1).sum(1).float())
    return escaped[0] - escaped[1]


def corner_normals(
    vertices: Float[Tensor, "V 3"], faces: Int64[Tensor, "F 3"], normals: Float[Tensor, "F 3"]
) -> Float[Tensor, "F 3 3"]:
    """Compute smooth unit normals at the corners of faces.

    Each is the mean, weighted by angle, of the normals around its vertex that are reached without crossing an
    edge sharper than CREASE.
    """
    joined = merge_vertices(vertices, faces)
    one, two, edge_one, edge_two = adjacent_faces(joined)
    smooth = (normals[one] * normals[two]).sum(-1) >= CREASE
    one, two, edge_one, edge_two = one[smooth], two[smooth], edge_one[smooth], edge_two[smooth]
    # Corner k of face f is node 3 f + k; at both ends of a smooth edge the two faces' corners are joined.
    ends_one = [3 * one + edge_one, 3 * one + (edge_one + 1) % 3]
    ends_two = [3 * two + edge_two, 3 * two + (edge_two + 1) % 3]
    same = joined.reshape(-1)[ends_one[0]] == joined.reshape(-1)[ends_two[0]]
    matched = [torch.where(same, ends_two[0], ends_two[1]), torch.where(same, ends_two[1], ends_two[0])]
    group = connected_components(3 * len(faces), torch.cat(ends_one), torch.cat(matched))
    corner = vertices[faces].double()
    along = torch.nn.functional.normalize(corner.roll(-1, 1) - corner, dim=-1)
    angle = torch.acos((-along * along.roll(1, 1)).sum(-1).clamp(-1, 1)).reshape(-1, 1)
    weighted = normals.double().repeat_interleave(3, 0) * angle
    total = torch.zeros(int(group.max()) + 1, 3, dtype=torch.float64).index_add_(0, group, weighted)
    total = torch.nn.functional.normalize(total, dim=-1)[group].float().view(-1, 3, 3)
    return torch.where(total.norm(dim=-1, keepdim=True) > 0.5, total, normals[:, None].expand(-1, 3, -1))
