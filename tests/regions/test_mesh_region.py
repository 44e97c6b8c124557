"""Mesh regions against trimesh, closed forms, and themselves when the mesh is damaged."""

import json
import math

import numpy as np
import pytest
import torch
import trimesh
from analytic import look_at
from region_shapes import as_mesh, first_hits, points_around

from nerf_insert.errors import InputError
from nerf_insert.geometry.mesh import Mesh
from nerf_insert.regions import DilatedRegion, MeshRegion, load_region, mesh_region
from nerf_insert.regions.inside_test import inside_points
from nerf_insert.regions.triangle_distance import near_distances, split, to_triangles

TURN = trimesh.transformations.rotation_matrix(0.7, [1, 2, 3])
BALL = trimesh.creation.icosphere(subdivisions=4)


@pytest.fixture(autouse=True)
def small_grids(monkeypatch):
    """About 40 points along a side instead of 128: quicker, and the precision is part of what is tested."""
    monkeypatch.setattr(mesh_region, "POINTS", 60_000)


def turned(shape: trimesh.Trimesh) -> trimesh.Trimesh:
    shape.apply_transform(TURN)
    return shape


def ball_distance(points: torch.Tensor) -> torch.Tensor:
    return points.norm(dim=-1) - 1


SOLIDS = {
    "ball": lambda: trimesh.creation.icosphere(subdivisions=3),
    "box": lambda: turned(trimesh.creation.box([1.0, 0.5, 0.8])),
    "box along the axes": lambda: trimesh.creation.box([1.0, 0.5, 0.8]),
    "torus": lambda: turned(trimesh.creation.torus(1.0, 0.3)),
    "cone": lambda: turned(trimesh.creation.cone(0.4, 1.0)),
    "pipe": lambda: turned(trimesh.creation.annulus(0.3, 0.6, 1.0)),
    "far away": lambda: trimesh.creation.icosphere(subdivisions=2, radius=0.5).apply_translation(
        [80, -40, 20]
    ),
}


@pytest.mark.parametrize("name", SOLIDS)
def test_watertight_meshes_contain_what_trimesh_says(name):
    shape = SOLIDS[name]()
    region = MeshRegion(as_mesh(shape))
    points = points_around(region, 4_000)
    inside = torch.from_numpy(shape.contains(points.double().numpy()))
    distance = torch.from_numpy(
        trimesh.proximity.signed_distance(shape, points[:400].double().numpy())
    ).float()
    wrong = region.contains(points) != inside
    assert 400 < inside.sum() < 3_600
    # Trilinear interpolation cuts edges and corners; nothing is wrong by more than the precision.
    if wrong.any():
        depth = trimesh.proximity.closest_point(shape, points[wrong].double().numpy())[1]
        assert depth.max() < region.precision and wrong.float().mean() < 0.02
    ours = region.distance(points[:400])
    assert (ours <= -distance + region.precision).all()  # trimesh's are positive inside
    near = distance.abs() < region.precision
    assert (ours[near] + distance[near]).abs().max() < 0.6 * region.precision


@pytest.mark.parametrize("dilate", [0.05, 0.3])
def test_a_dilated_ball_is_a_larger_ball(dilate):
    region = MeshRegion(as_mesh(BALL), dilate)
    points = points_around(region, 20_000)
    distance = ball_distance(points) - dilate
    assert torch.equal(region.contains(points), distance <= 0) or (
        distance[region.contains(points) != (distance <= 0)].abs().max() < 0.3 * region.precision
    )
    volume = (
        float((1.2 * (region.bounds[1] - region.bounds[0])).prod()) * region.contains(points).float().mean()
    )
    assert float(volume) == pytest.approx(
        4 / 3 * math.pi * (1 + dilate) ** 3, rel=0.03
    )  # 20 000 points: 0.9 %


def test_dilating_the_region_is_dilating_the_mesh():
    shape = turned(trimesh.creation.box())
    one, two = MeshRegion(as_mesh(shape), 0.2), DilatedRegion(MeshRegion(as_mesh(shape)), 0.2)
    points = points_around(one, 20_000)
    differ = one.contains(points) != two.contains(points)
    assert one.distance(points[differ]).abs().max() < two.precision


def damaged(name: str) -> Mesh:
    faces, generator = np.array(BALL.faces), np.random.default_rng(0)
    if name == "half of the faces flipped":
        flipped = generator.random(len(faces)) < 0.5
        faces[flipped] = faces[flipped][:, ::-1]
    elif name == "inside out":
        faces = faces[:, ::-1].copy()
    elif name == "a small hole":
        faces = faces[BALL.triangles_center[:, 2] < 0.98]
    elif name == "faces missing":
        faces = faces[generator.random(len(faces)) < 0.95]
    elif name == "cracks":  # every face by itself, moved a little
        corners = (
            BALL.vertices[faces].reshape(-1, 3)
            + np.repeat(generator.normal(size=(len(faces), 3)), 3, 0) * 1e-3
        )
        return Mesh.plain(torch.from_numpy(corners), torch.arange(3 * len(faces)).view(-1, 3))
    elif name == "every face twice":
        faces = np.concatenate([faces, faces[:, ::-1]])
    elif name == "vertices not shared":
        return Mesh.plain(
            torch.from_numpy(BALL.vertices[faces].reshape(-1, 3)), torch.arange(3 * len(faces)).view(-1, 3)
        )
    elif name == "faces without area":
        faces = np.concatenate([faces, faces[:50][:, [0, 0, 1]], faces[:50][:, [0, 1, 1]]])
    elif name == "another ball inside":
        inner = trimesh.creation.icosphere(subdivisions=3, radius=0.5)
        return as_mesh(trimesh.util.concatenate([BALL, inner]))
    return as_mesh(BALL, faces)


@pytest.mark.parametrize(
    "name",
    [
        "half of the faces flipped",
        "inside out",
        "a small hole",
        "every face twice",
        "vertices not shared",
        "faces without area",
        "another ball inside",
    ],
)
def test_damage_does_not_change_what_is_inside(name):
    region = MeshRegion(damaged(name))
    points = points_around(region, 20_000)
    distance = ball_distance(points)
    wrong = region.contains(points) != (distance <= 0)
    # The facets of the ball itself lie up to 0.003 inside.
    assert wrong.sum() == 0 or distance[wrong].abs().max() < 0.2 * region.precision


@pytest.mark.parametrize("name", ["faces missing", "cracks"])
def test_what_shows_the_inside_costs_few_points_and_none_outside(name):
    region = MeshRegion(damaged(name))
    points = points_around(region, 20_000)
    distance = ball_distance(points)
    assert not (region.contains(points) & (distance > region.precision)).any()
    deep = distance < -region.precision
    assert region.contains(points)[deep].float().mean() > 0.99


@pytest.mark.parametrize("apart", [0.7, 1.0])  # at 1.0 vertices and edges of the two coincide
def test_overlapping_parts_are_one(apart):
    other = BALL.copy().apply_translation([apart, 0, 0])
    region = MeshRegion(as_mesh(trimesh.util.concatenate([BALL, other])))
    points = points_around(region, 20_000)
    distance = torch.minimum(ball_distance(points), ball_distance(points - torch.tensor([apart, 0, 0])))
    wrong = region.contains(points) != (distance <= 0)
    assert wrong.sum() == 0 or distance[wrong].abs().max() < 0.5 * region.precision


def test_cells_that_touch_have_no_walls_between_them():
    boxes = [trimesh.creation.box(bounds=[[x, 0, 0], [x + 1, 1, 1]]) for x in range(3)]
    region = MeshRegion(as_mesh(trimesh.util.concatenate(boxes)))
    points = torch.rand(5_000, 3, generator=torch.Generator().manual_seed(0)) * torch.tensor([3.0, 1, 1])
    inner = ((points > region.precision) & (points < torch.tensor([3.0, 1, 1]) - region.precision)).all(-1)
    assert region.contains(points[inner]).all()


def sheet(matrix=TURN) -> tuple[Mesh, torch.Tensor, torch.Tensor]:
    """A unit square, 1000 points on it, its normal."""
    corners = np.array([[-0.5, -0.5, 0], [0.5, -0.5, 0], [0.5, 0.5, 0], [-0.5, 0.5, 0]]) @ matrix[:3, :3].T
    square = Mesh.plain(torch.from_numpy(corners), torch.tensor([[0, 1, 2], [0, 2, 3]]))
    flat = torch.rand(1000, 2, generator=torch.Generator().manual_seed(0)) - 0.5
    rotation = torch.from_numpy(matrix[:3, :3]).float()
    return square, flat @ rotation[:, :2].T, rotation[:, 2]


@pytest.mark.parametrize("matrix", [np.eye(4), TURN], ids=["along the axes", "turned"])
def test_a_sheet_has_no_inside_but_is_not_lost(matrix):
    square, on, normal = sheet(matrix)
    region = MeshRegion(square)
    assert region.contains(on).all()
    assert not region.contains(on + 1.5 * region.precision * normal).any()
    assert not region.contains(on - 1.5 * region.precision * normal).any()
    assert region.contains(on + 0.5 * region.precision * normal).float().mean() > 0.97  # but at the rim
    assert region.step <= region.precision


def test_a_dilated_sheet_is_a_slab():
    square = sheet()[0]
    region = MeshRegion(square, 0.2)
    assert region.precision < 0.1
    points = points_around(region, 20_000)
    local = points @ torch.from_numpy(TURN[:3, :3]).float()
    distance = torch.cat([(local[:, :2].abs() - 0.5).clamp_min(0), local[:, 2:]], -1).norm(dim=-1) - 0.2
    wrong = region.contains(points) != (distance <= 0)
    assert wrong.sum() == 0 or distance[wrong].abs().max() < 0.3 * region.precision


def test_what_is_thinner_than_the_grid_can_show_is_kept():
    plate = trimesh.creation.box([1, 1, 0.002])
    rod = trimesh.creation.box([0.004, 0.004, 1.5])
    shape = turned(trimesh.util.concatenate([plate, rod]))
    region = MeshRegion(as_mesh(shape))
    assert region.precision > 0.01
    surface = torch.from_numpy(trimesh.sample.sample_surface(shape, 5_000, seed=0)[0]).float()
    assert region.contains(surface).all()
    away = trimesh.proximity.closest_point(shape, points_around(region, 3_000).double().numpy())[1]
    inside = region.contains(points_around(region, 3_000)).numpy()
    assert away[inside].max() < 1.5 * region.precision


def test_projected_sheets_have_no_holes():
    square, _, _ = sheet()
    region = MeshRegion(square)
    camera = look_at((1.5, -1.0, 1.0), target=(0.0, 0.0, 0.0), size=(96, 72), focal=90.0)
    rays = camera.rays()
    mask = region.project(camera)
    assert mask.view(-1)[square.cast(rays).hit].all()
    assert torch.equal(region.entry(rays), first_hits(region, rays))
    points = points_around(region, 50_000, margin=0)
    points = points[region.contains(points)]
    cell = ((points - region.bounds[0]) / (region.bounds[1] - region.bounds[0]) * 64).long().clamp(0, 63)
    assert region.occupancy[tuple(cell.T)].all()


def test_a_saved_mesh_region_comes_back_the_same(tmp_path):
    region = MeshRegion(damaged("half of the faces flipped"), 0.1)
    again = load_region(json.loads(json.dumps(region.save(tmp_path))), tmp_path)
    points = points_around(region, 20_000)
    assert torch.equal(again.distance(points), region.distance(points))
    assert torch.equal(again.bounds, region.bounds)


@pytest.mark.parametrize("dilate", [-1.0, math.nan])
def test_dilation_has_to_be_a_distance(dilate):
    with pytest.raises(InputError, match="dilated by a distance of 0 or more"):
        MeshRegion(as_mesh(BALL), dilate)


# The two parts that the grid is made of


def test_scan_conversion_counts_every_point_of_a_box_once():
    """With the box's faces, edges and corners exactly on lines and points of the grid, borders are half
    open: none is lost and none counted twice."""
    box = trimesh.creation.box(bounds=[[2, 3, 4], [6, 8, 10]])
    inside = inside_points(np.array(box.vertices), np.array(box.faces), (12, 12, 12))
    inner = np.zeros((12, 12, 12), bool)
    inner[3:6, 4:8, 5:10] = True
    assert inside[inner].all()
    closed = np.zeros((12, 12, 12), bool)
    closed[2:7, 3:9, 4:11] = True
    assert not inside[~closed].any()


def test_distances_to_triangles_are_trimeshs():
    generator = np.random.default_rng(0)
    points, corners = generator.normal(size=(3000, 3)) * 2, generator.normal(size=(3000, 3, 3))
    corners[::7, 1] = corners[::7, 0]  # some without area
    corners[::49] = corners[::49, :1]
    closest = trimesh.triangles.closest_point(corners, points)
    expected = np.linalg.norm(closest - points, axis=1)
    proper = np.ones(3000, bool)
    proper[::7] = False
    np.testing.assert_allclose(to_triangles(points, corners)[proper], expected[proper], atol=1e-9)
    along = np.linspace(0, 1, 2001)[:, None, None]
    sampled = corners[::7, 0] + along * (corners[::7, 2] - corners[::7, 0])
    expected = np.linalg.norm(sampled - points[::7], axis=-1).min(0)
    np.testing.assert_allclose(to_triangles(points, corners)[::7], expected, atol=2e-3)  # 2001 samples


def test_near_distances_are_exact_up_to_their_reach():
    shape = trimesh.creation.icosphere(subdivisions=2, radius=9.0).apply_translation([15.3, 15.1, 15.7])
    corners = split(np.array(shape.triangles))
    assert np.linalg.norm(corners - np.roll(corners, 1, axis=1), axis=-1).max() <= 6.0 + 1e-9
    assert trimesh.triangles.area(corners).sum() == pytest.approx(shape.area)
    distance, nearest = near_distances(corners, (32, 32, 32), 1.8)
    points = np.argwhere(distance < 1e8)
    true = trimesh.proximity.closest_point(shape, points.astype(float))[1]
    np.testing.assert_allclose(distance[tuple(points.T)], true, atol=1e-5)  # float32 at coordinates up to 32
    own = to_triangles(points.astype(float), corners[nearest[tuple(points.T)]])
    np.testing.assert_allclose(own, true, atol=1e-5)
    assert len(points) > 2000
    far = np.argwhere(distance > 1e8)[::50]
    assert (trimesh.proximity.closest_point(shape, far.astype(float))[1] > 1.8).all()
