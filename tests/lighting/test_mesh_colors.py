"""Quantities kept on faces: what is linear comes back exactly, on faces of every size."""

import pytest
import torch
import trimesh

from nerf_insert.geometry.mesh import Mesh
from nerf_insert.lighting.mesh_colors import MAX_SUBDIVISIONS, place_samples


def mesh_of(shape):
    return Mesh.plain(torch.tensor(shape.vertices), torch.tensor(shape.faces))


def anywhere(mesh, count=2000):
    generator = torch.Generator().manual_seed(1)
    face = torch.randint(len(mesh.faces), (count,), generator=generator)
    barycentric = torch.rand(count, 3, generator=generator)
    barycentric[:30] = torch.eye(3).repeat(10, 1)  # corners
    barycentric[30:90, 0] = 0  # edges
    return face, barycentric / barycentric.sum(-1, keepdim=True)


def samples_of(mesh, spacing):
    return place_samples(mesh.vertices[mesh.faces], mesh.corner_normals, spacing)


@pytest.mark.parametrize("spacing", [0.5, 0.25, 0.1, 0.05])
def test_linear_functions_of_position_come_back(spacing):
    """On a tetrahedron, whose lattices are too even for two of their points to share a cell."""
    even = torch.tensor([[1.0, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) / 8**0.5  # edges of length 1
    mesh = Mesh.plain(even, torch.tensor([[0, 1, 2], [0, 3, 1], [0, 2, 3], [1, 3, 2]]))
    samples = samples_of(mesh, spacing)
    face, barycentric = anywhere(mesh)
    found = samples.interpolate(samples.points, face, barycentric)
    # rounding of float32 barycentrics, times up to 20 pieces
    assert torch.allclose(found, mesh.points_at(face, barycentric), atol=1e-5)


@pytest.mark.parametrize("spacing", [0.3, 0.07, 0.021])
def test_values_come_from_within_half_a_spacing(spacing):
    mesh = mesh_of(trimesh.creation.cone(0.3, 1.0, sections=24))  # long thin triangles
    samples = samples_of(mesh, spacing)
    face, barycentric = anywhere(mesh)
    off = samples.interpolate(samples.points, face, barycentric) - mesh.points_at(face, barycentric)
    assert float(off.abs().max()) < spacing / 2


def test_big_faces_get_many_places_and_small_ones_share_theirs():
    box = mesh_of(trimesh.creation.box((1.0, 1.0, 1.0)))
    assert len(samples_of(box, 0.05).points) > 6 * 19**2
    fine = mesh_of(trimesh.creation.icosphere(5, 1.0))  # 10242 vertices, 0.03 apart
    coarse = samples_of(fine, 0.3)
    assert len(coarse.points) < 2000
    face, barycentric = anywhere(fine)
    off = (coarse.interpolate(coarse.points, face, barycentric) - fine.points_at(face, barycentric)).norm(
        dim=-1
    )
    assert float(off.max()) < 0.3


def test_edges_of_a_box_keep_two_sides():
    box = mesh_of(trimesh.creation.box((1.0, 1.0, 1.0)))
    samples = samples_of(box, 0.1)
    face, barycentric = anywhere(box)
    normals = samples.interpolate(samples.normals, face, barycentric)
    assert torch.allclose(normals, box.face_normals[face], atol=1e-5)


def test_neighboring_faces_agree_along_their_edge():
    mesh = mesh_of(trimesh.creation.icosphere(2, 1.0))
    samples = samples_of(mesh, 0.05)
    values = torch.rand(len(samples.points), 1, generator=torch.Generator().manual_seed(2))
    one, two = trimesh.Trimesh(mesh.vertices, mesh.faces, process=False).face_adjacency[:50].T
    for f, g in zip(one, two, strict=True):
        shared = [v for v in mesh.faces[f].tolist() if v in mesh.faces[g].tolist()]
        for share in (0.0, 0.37, 1.0):
            found = []
            for k in (f, g):
                corners = mesh.faces[k].tolist()
                barycentric = torch.zeros(1, 3)
                barycentric[0, corners.index(shared[0])] = share
                barycentric[0, corners.index(shared[1])] = 1 - share
                found.append(float(samples.interpolate(values, torch.tensor([int(k)]), barycentric)))
            assert found[0] == pytest.approx(found[1], abs=1e-4)


def test_a_huge_face_is_not_cut_more_finely_than_there_is_room_for():
    triangle = Mesh.plain(torch.tensor([[0.0, 0, 0], [1e3, 0, 0], [0, 1e3, 0]]), torch.tensor([[0, 1, 2]]))
    assert len(samples_of(triangle, 1e-3).points) == (MAX_SUBDIVISIONS + 1) * (MAX_SUBDIVISIONS + 2) // 2
