"""Mesh files, colors, normals, rays and poses."""

import json
import math
import shutil
import struct

import numpy as np
import pytest
import torch
import trimesh
from meshes_in_process import read_in_process
from PIL import Image
from region_shapes import as_mesh
from scipy.spatial.transform import Rotation

from nerf_insert.errors import InputError
from nerf_insert.geometry import mesh_reader
from nerf_insert.geometry.cameras import Rays
from nerf_insert.geometry.mesh import Mesh
from nerf_insert.geometry.mesh_files import worker
from nerf_insert.geometry.mesh_reader import load_mesh
from nerf_insert.geometry.pose import Pose


@pytest.fixture
def in_process(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)
    read_in_process(monkeypatch, faces=1000, texture=64)


def translation(*values) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, 3] = values
    return matrix


def two_part_scene() -> trimesh.Scene:
    """A red box, scaled and moved by its node, and a ball with vertex colors."""
    scene = trimesh.Scene()
    box = trimesh.creation.box()
    material = trimesh.visual.material.PBRMaterial(baseColorFactor=[255, 0, 0, 255])
    box.visual = trimesh.visual.TextureVisuals(material=material)
    scene.add_geometry(box, transform=translation(1, 2, 3) @ np.diag([2.0, 2.0, 2.0, 1.0]))
    ball = trimesh.creation.icosphere(subdivisions=1)
    ball.visual.vertex_colors = [0, 128, 0, 255]
    scene.add_geometry(ball)
    return scene


def write_textured_obj(folder, picture=None) -> None:
    """A unit square, its lower half blue, its upper half red."""
    if picture is None:
        picture = np.zeros((4, 4, 3), np.uint8)
        picture[:2], picture[2:] = [255, 0, 0], [0, 0, 255]
    Image.fromarray(picture).save(folder / "t.png")
    (folder / "o.mtl").write_text("newmtl m\nKd 0 0 0\nmap_Kd t.png\n")
    (folder / "o.obj").write_text(
        "mtllib o.mtl\nusemtl m\nv 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\n"
        "vt 0 0\nvt 1 0\nvt 1 1\nvt 0 1\nf 1/1 2/2 3/3\nf 1/1 3/3 4/4\n"
    )


def test_a_glb_is_flattened_with_its_nodes_transforms(tmp_path):
    """The one test besides the textured OBJ's and the limits' that goes through the separate process."""
    (tmp_path / "scene.glb").write_bytes(two_part_scene().export(file_type="glb"))
    mesh = load_mesh(tmp_path / "scene.glb", Pose.parse("translate=10,0,0"))
    assert len(mesh.faces) == 12 + 80 and mesh.warnings == ()
    red = (mesh.corner_colors[:, 0] == torch.tensor([1.0, 0, 0])).all(-1)
    assert red.sum() == 12
    box = mesh.vertices[mesh.faces[red].reshape(-1)]
    assert torch.allclose(box.amin(0), torch.tensor([10.0, 1, 2]), atol=1e-6)
    assert torch.allclose(box.amax(0), torch.tensor([12.0, 3, 4]), atol=1e-6)
    # glTF's vertex colors are linear light: 128 of 255 is brighter than that in sRGB
    green = 1.055 * (128 / 255) ** (1 / 2.4) - 0.055
    ball = mesh.corner_colors[~red].reshape(-1, 3)
    assert torch.allclose(ball, torch.tensor([0, green, 0]), atol=1 / 255)


def test_the_reading_process_is_bounded(tmp_path, monkeypatch):
    trimesh.creation.box().export(tmp_path / "box.stl")
    monkeypatch.setattr(mesh_reader, "MAX_MEMORY", 1 << 28)  # numpy alone needs more address space
    with pytest.raises(InputError, match=r"box\.stl .*memory"):
        load_mesh(tmp_path / "box.stl")
    monkeypatch.undo()
    monkeypatch.setattr(mesh_reader, "MAX_SECONDS", 0.05)
    with pytest.raises(InputError, match=r"takes longer than 0\.05 s"):
        load_mesh(tmp_path / "box.stl")


def test_a_library_that_does_not_say_what_failed_ran_out_of_memory(tmp_path, monkeypatch, in_process):
    def fails(*_):
        raise SystemError("error return without exception set")

    monkeypatch.setitem(worker.READERS, ".stl", fails)
    trimesh.creation.box().export(tmp_path / "box.stl")
    with pytest.raises(InputError, match=r"box\.stl .*memory"):
        load_mesh(tmp_path / "box.stl")


def test_an_obj_has_the_colors_of_its_picture(tmp_path):
    write_textured_obj(tmp_path)
    mesh = load_mesh(tmp_path / "o.obj")
    assert len(mesh.faces) == 2 and mesh.warnings == ()
    generator = torch.Generator().manual_seed(0)
    barycentric = torch.rand(200, 3, generator=generator)
    barycentric /= barycentric.sum(-1, keepdim=True)
    face = torch.arange(200) % 2
    y = mesh.points_at(face, barycentric)[:, 1]
    color = mesh.color_at(face, barycentric)
    # Bilinear: rows of pixels have their middles at 1/8, 3/8, ...; it repeats over the top and bottom.
    red = np.interp(y, [0, 0.125, 0.375, 0.625, 0.875, 1], [0.5, 0, 0, 1, 1, 0.5])
    assert np.allclose(color[:, 0], red, atol=1e-5) and np.allclose(color[:, 2], 1 - red, atol=1e-5)


def test_textures_are_tinted_in_linear_light(tmp_path, in_process):
    square = trimesh.Trimesh([[0, 0, 0], [1, 0, 0], [1, 1, 0]], [[0, 1, 2]], process=False)
    picture = Image.fromarray(np.full((4, 4, 3), 188, np.uint8))
    material = trimesh.visual.material.PBRMaterial(
        baseColorTexture=picture, baseColorFactor=[128, 255, 0, 255]
    )
    square.visual = trimesh.visual.TextureVisuals(uv=[[0, 0], [1, 0], [1, 1]], material=material)
    (tmp_path / "t.glb").write_bytes(square.export(file_type="glb"))
    color = load_mesh(tmp_path / "t.glb").color_at(
        torch.zeros(1, dtype=torch.long), torch.full((1, 3), 1 / 3)
    )
    light = ((188 / 255 + 0.055) / 1.055) ** 2.4 * 128 / 255
    expected = [1.055 * light ** (1 / 2.4) - 0.055, 188 / 255, 0.0]
    assert color[0].tolist() == pytest.approx(expected, abs=2 / 255)  # 8 bits, twice


def test_ply_vertex_colors_are_blended(tmp_path, in_process):
    triangle = trimesh.Trimesh([[0, 0, 0], [1, 0, 0], [0, 1, 0]], [[0, 1, 2]], process=False)
    triangle.visual.vertex_colors = [[255, 0, 0, 255], [0, 255, 0, 255], [0, 0, 51, 255]]
    triangle.export(tmp_path / "t.ply")
    mesh = load_mesh(tmp_path / "t.ply")
    weights = torch.tensor([[0.2, 0.3, 0.5], [1.0, 0.0, 0.0]])
    color = mesh.color_at(torch.zeros(2, dtype=torch.long), weights)
    # Light adds up, not its code: IEC 61966-2-1 of 0.2, of 0.3 and of half of what sRGB 0.2 stands for.
    light = torch.tensor([0.2, 0.3, 0.5 * ((0.2 + 0.055) / 1.055) ** 2.4])
    expected = torch.stack([1.055 * light ** (1 / 2.4) - 0.055, torch.tensor([1.0, 0.0, 0.0])])
    assert torch.allclose(color, expected, atol=1e-5)  # there and back in float32


def test_face_colors_and_no_colors(tmp_path, in_process):
    box = trimesh.creation.box()
    box.visual.face_colors = np.arange(48).reshape(12, 4)
    box.export(tmp_path / "f.ply")
    mesh = load_mesh(tmp_path / "f.ply")
    color = mesh.color_at(torch.arange(12), torch.full((12, 3), 1 / 3)) * 255
    assert np.allclose(color, np.arange(48).reshape(12, 4)[:, :3], atol=1e-3)
    trimesh.creation.box().export(tmp_path / "b.stl")
    mesh = load_mesh(tmp_path / "b.stl")
    assert len(mesh.faces) == 12 and mesh.corner_colors.unique().numel() == 1
    with (tmp_path / "b.stl").open("ab") as file:
        file.write(b"\r\n, which some programs put behind the triangles" * 20)
    longer = load_mesh(tmp_path / "b.stl")
    assert torch.equal(longer.vertices[longer.faces], mesh.vertices[mesh.faces])


@pytest.mark.parametrize("kind", ["glb", "obj", "ply", "stl"])
def test_every_format_keeps_the_shape(kind, tmp_path, in_process):
    ball = trimesh.creation.icosphere(subdivisions=2, radius=0.7)
    ball.export(tmp_path / f"ball.{kind}")
    mesh = load_mesh(tmp_path / f"ball.{kind}")
    again = trimesh.Trimesh(mesh.vertices.numpy(), mesh.faces.numpy())
    assert again.is_watertight and again.volume == pytest.approx(ball.volume, rel=1e-5)


def test_shared_and_gltf_files_with_their_data_inside(tmp_path, in_process):
    files = two_part_scene().export(file_type="gltf")
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    assert len(load_mesh(tmp_path / "model.gltf").faces) == 92


def test_nothing_outside_the_meshs_folder_is_read(tmp_path, in_process):
    inner = tmp_path / "inner"
    inner.mkdir()
    write_textured_obj(tmp_path)
    (inner / "o.obj").write_text((tmp_path / "o.obj").read_text().replace("o.mtl", "../o.mtl"))
    mesh = load_mesh(inner / "o.obj")
    assert (
        mesh.textures == () and "a material file is named in a folder outside the mesh's" in mesh.warnings[0]
    )
    assert "'../o.mtl'" in mesh.warnings[0]
    (inner / "t.png").symlink_to(tmp_path / "t.png")
    shutil.copy(tmp_path / "o.mtl", inner / "o.mtl")
    shutil.copy(tmp_path / "o.obj", inner / "o.obj")
    assert load_mesh(inner / "o.obj").textures == ()


def test_large_pictures_are_scaled_down_and_damaged_ones_named(tmp_path, in_process):
    write_textured_obj(tmp_path, np.full((50, 200, 3), 90, np.uint8))
    assert load_mesh(tmp_path / "o.obj").textures[0].image.shape == (16, 64, 3)
    (tmp_path / "t.png").write_bytes(b"not a picture")
    mesh = load_mesh(tmp_path / "o.obj")
    assert mesh.textures == () and "material 'm' cannot be read: the image 't.png'" in mesh.warnings[0]


def giant_gltf(count: int, **more) -> str:
    tree = {
        "asset": {"version": "2.0"},
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0}}]}],
        "accessors": [{"componentType": 5126, "count": count, "type": "VEC3"}],
    }
    return json.dumps(tree | more)


BOX_PLY = trimesh.creation.box().export(file_type="ply")
BOX_TEXT_PLY = trimesh.creation.box().export(file_type="ply", encoding="ascii")
BOX_STL = trimesh.creation.box().export(file_type="stl")
BOX_TEXT_STL = trimesh.creation.box().export(file_type="stl_ascii")
SCENE_GLB = two_part_scene().export(file_type="glb")
POINTS_PLY = (
    "ply\nformat ascii 1.0\nelement vertex 1\nproperty float x\nproperty float y\nproperty float z\n"
    "end_header\n0 0 0\n"
)


@pytest.mark.parametrize(
    "name, data, says",
    [
        ("m.fbx", "x", "has the suffix '.fbx'.*convert it"),
        ("empty.obj", "", "holds no triangles"),
        ("prose.obj", "This is not a mesh.\nIt is prose.\n", "holds no triangles"),
        ("prose.stl", "This is not a mesh", "holds no triangles|cannot be read"),
        ("prose.ply", "This is not a mesh", "cannot be read"),
        ("prose.glb", "This is not a mesh, but quite long", "not a GLB file"),
        ("prose.gltf", "{", "damaged"),
        ("short.glb", SCENE_GLB[:-100], "is cut off: it should be"),
        ("short.ply", BOX_PLY[:-40], "cut off"),
        ("short text.ply", BOX_TEXT_PLY[:-30], "12 of 'face' were announced, 9 can be read"),
        ("short.stl", BOX_STL[:300], "cut off: 12 triangles are announced and 4 are there"),
        ("head.stl", BOX_STL[:50], "cut off: 0 triangles"),
        ("short text.stl", BOX_TEXT_STL[:-200], "cut off"),
        ("points.ply", POINTS_PLY, "holds no triangles: it is empty, a point cloud"),
        ("nan.obj", "v nan 0 0\nv 1 0 0\nv 1 1 0\nf 1 2 3\n", "not finite"),
        ("huge.obj", "v 1e400 0 0\nv 1 0 0\nv 1 1 0\nf 1 2 3\n", "not finite"),
        ("large.obj", "v 1e60 0 0\nv 1 0 0\nv 1 1 0\nf 1 2 3\n", "coordinates too large"),
        ("line.obj", "v 0 0 0\nv 1 0 0\nv 2 0 0\nf 1 2 3\n", "has no surface"),
        ("wrong.obj", "v 0 0 0\nv 1 0 0\nv 2 1 0\nf 1 2 9\n", "cannot be read|do not exist"),
        ("giant.gltf", giant_gltf(3_000_000_000), "asks for 3,000,000,000 values"),
        (
            "squeezed.gltf",
            giant_gltf(3, extensionsRequired=["EXT_meshopt_compression"]),
            "compressed with meshopt",
        ),
        (
            "many.stl",
            trimesh.creation.icosphere(subdivisions=3).export(file_type="stl"),
            "more than 1,000 faces",
        ),
    ],
)
def test_what_cannot_be_used_is_refused(name, data, says, tmp_path, in_process):
    path = tmp_path / name
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    with pytest.raises(InputError, match=says) as error:
        load_mesh(path)
    assert str(path) in str(error.value)


def test_missing_and_oversized_files_are_refused(tmp_path, monkeypatch):
    with pytest.raises(InputError, match=r"no mesh file .*none\.obj"):
        load_mesh(tmp_path / "none.obj")
    with pytest.raises(InputError, match="no mesh file"):
        (tmp_path / "folder.obj").mkdir()
        load_mesh(tmp_path / "folder.obj")
    (tmp_path / "big.obj").write_bytes(b"v 0 0 0\n" * 1000)
    monkeypatch.setattr(mesh_reader, "MAX_BYTES", 1000)
    with pytest.raises(InputError, match="MB large"):
        load_mesh(tmp_path / "big.obj")


def random_rays(count: int, center, spread: float = 3.0) -> Rays:
    generator = torch.Generator().manual_seed(0)
    origins = torch.randn(count, 3, generator=generator) * spread + torch.tensor(center)
    towards = torch.tensor(center) + 0.5 * torch.randn(count, 3, generator=generator) - origins
    return Rays(origins, torch.nn.functional.normalize(towards, dim=-1))


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_rays_meet_a_box_where_slabs_say(scale):
    center = (5.0 * scale, -2.0 * scale, 0.0)
    box = as_mesh(trimesh.creation.box([scale, scale, scale], translation(*center)))
    rays = random_rays(5000, (5.0, -2.0, 0.0))
    rays = Rays(rays.origins * scale, rays.directions)
    hits = box.cast(rays)
    low, high = (bound.double() for bound in box.bounds)
    near, far = (
        (low - rays.origins) / rays.directions.double(),
        (high - rays.origins) / rays.directions.double(),
    )
    enter, leave = torch.minimum(near, far).amax(-1), torch.maximum(near, far).amin(-1)
    first = torch.where(enter > 0, enter, leave)
    expected = torch.where((leave >= enter) & (leave > 0), first, math.inf)
    clear = (leave - enter).abs() > 1e-4 * scale  # not along an edge
    assert torch.equal(hits.hit[clear], expected.isfinite()[clear])
    hit = hits.hit & clear
    assert 1000 < hit.sum() < 4900
    # float32 coordinates about ten boxes away
    assert (hits.distance[hit] - expected[hit]).abs().max() < 1e-5 * scale
    assert torch.isinf(hits.distance[~hits.hit]).all() and (hits.barycentric[~hits.hit] == 0).all()
    places = box.points_at(hits.face[hit], hits.barycentric[hit])
    assert (places - rays[hit].at(hits.distance[hit])).norm(dim=-1).max() < 2e-5 * scale
    assert torch.equal(box.occluded(rays.origins, rays.directions)[clear], hits.hit[clear])
    bounded = box.occluded(
        rays.origins, rays.directions, torch.where(hits.hit, hits.distance * 0.999, math.inf)
    )
    inside = (enter < 0) & (leave < 2e-3 * scale)
    assert not (bounded & hits.hit & ~inside)[clear].any()
    assert box.occluded(rays.origins, rays.directions, hits.distance * 1.001)[hit].all()


def test_casting_no_rays_gives_no_hits():
    box = as_mesh(trimesh.creation.box())
    none = torch.zeros(0, 3)
    assert box.cast(Rays(none, none)).distance.shape == (0,)
    assert box.occluded(none, none).shape == (0,)


@pytest.mark.parametrize("damage", ["none", "half flipped", "all flipped", "hole"])
def test_normals_point_outwards_whatever_the_winding(damage):
    ball = trimesh.creation.icosphere(subdivisions=3)
    ball.apply_translation([5, 0, 0])
    faces = np.array(ball.faces)
    if damage == "half flipped":
        flipped = np.random.default_rng(0).random(len(faces)) < 0.5
        faces[flipped] = faces[flipped][:, ::-1]
    elif damage == "all flipped":
        faces = faces[:, ::-1].copy()
    elif damage == "hole":
        faces = faces[20:]
    mesh = as_mesh(ball, faces)
    outward = mesh.vertices[mesh.faces] - torch.tensor([5.0, 0, 0])
    assert ((mesh.face_normals * outward.mean(1)).sum(-1) > 0.99).all()
    # A smooth ball's normal is its radius; at the rim of the hole only one side has a say.
    cosine = (mesh.corner_normals * outward).sum(-1)
    assert cosine.min() > (0.98 if damage == "hole" else 0.9999)
    face, weights = torch.arange(len(faces)), torch.full((len(faces), 3), 1 / 3)
    direction = torch.nn.functional.normalize(outward.mean(1), dim=-1)
    assert ((mesh.normal_at(face, weights) * direction).sum(-1) > (0.99 if damage == "hole" else 0.999)).all()


def test_normals_keep_sharp_edges_and_join_doubled_vertices():
    box = trimesh.creation.box()
    corners = np.array(box.vertices[box.faces]).reshape(-1, 3)  # every face its own vertices, as in STL
    mesh = Mesh.plain(torch.from_numpy(corners), torch.arange(36).view(12, 3))
    assert torch.allclose(mesh.corner_normals, mesh.face_normals[:, None].expand(-1, 3, -1))
    ball = trimesh.creation.icosphere(subdivisions=3)
    corners = torch.from_numpy(np.array(ball.vertices[ball.faces]).reshape(-1, 3))
    mesh = Mesh.plain(corners, torch.arange(len(corners)).view(-1, 3))
    assert (mesh.corner_normals * mesh.vertices[mesh.faces]).sum(-1).min() > 0.9999


def test_transforming_moves_points_and_keeps_colors():
    ball = as_mesh(trimesh.creation.icosphere(subdivisions=1))
    matrix = torch.from_numpy(translation(1, 2, 3) @ np.diag([2.0, 2.0, -2.0, 1.0]))
    moved = ball.transformed(matrix)
    assert torch.allclose(moved.bounds, torch.tensor([[-1.0, 0, 1], [3, 4, 5]]), atol=1e-6)
    assert torch.equal(moved.corner_colors, ball.corner_colors)
    outward = moved.vertices[moved.faces].mean(1) - torch.tensor([1.0, 2, 3])
    assert ((moved.face_normals * outward).sum(-1) > 0).all()  # although a mirror image


# Poses


def test_poses_in_every_form_are_the_same(tmp_path):
    matrix = np.eye(4)
    matrix[:3, :3] = 2 * Rotation.from_euler("xyz", [20, -30, 40], degrees=True).as_matrix()
    matrix[:3, 3] = [1, 2, 3]
    (tmp_path / "pose.json").write_text(json.dumps({"transform_matrix": matrix.tolist()}))
    (tmp_path / "pose.txt").write_text("\n".join(" ".join(str(v) for v in row) for row in matrix))
    x, y, z, w = Rotation.from_euler("xyz", [20, -30, 40], degrees=True).as_quat()
    for text in (
        json.dumps(matrix.tolist()),
        json.dumps(matrix.reshape(-1).tolist()),
        " ".join(str(v) for v in matrix.reshape(-1)),
        str(tmp_path / "pose.json"),
        str(tmp_path / "pose.txt"),
        "translate=1,2,3 rotate=20,-30,40 scale=2",
        "scale=2,2,2, translate=1, 2, 3 rotate=20,-30,40",
        f"translate=1,2,3 rotate={w},{x},{y},{z} scale=2",
        f"translate=1,2,3 rotate={-3 * w},{-3 * x},{-3 * y},{-3 * z} scale=2",
    ):
        assert np.allclose(Pose.parse(text).matrix, matrix, atol=1e-12), text
    assert torch.equal(Pose().matrix, torch.eye(4).double())
    assert Pose.parse("scale=1,2,3").matrix.diagonal().tolist() == [1, 2, 3, 1]


@pytest.mark.parametrize(
    "text, says",
    [
        ("1 2 3", "there are 3"),
        ("[[1, 2], [3, 4]]", "there are 4"),
        ("scale=0", "singular"),
        ("scale=1,1,0", "singular"),
        ("scale=nan", "not finite"),
        ("rotate=inf,0,0", "not finite"),
        ("rotate=0,0,0,0", "not a rotation"),
        ("rotate=1,2", "takes 3 or 4 numbers"),
        ("translate=1,2", "takes 3 numbers"),
        ("translate=a,b,c", "not a list of numbers"),
        ("shear=1", "no term 'shear'"),
        ("scale=1 scale=2", "gives scale twice"),
        ("scale=1 please", "cannot understand 'please'"),
        ("1 0 0 0 0 1 0 0 0 0 1 0 5 6 7 1", "transposed"),
        ("1 0 0 0 0 1 0 0 0 0 nan 0 0 0 0 1", "not finite"),
        ("no-such-file.json", "cannot understand the pose 'no-such-file.json'"),
        ("", "cannot understand the pose"),
    ],
)
def test_what_is_not_a_pose_is_refused(text, says):
    with pytest.raises(InputError, match=says):
        Pose.parse(text)


def test_a_pose_file_without_a_matrix_is_refused(tmp_path):
    (tmp_path / "pose.json").write_text('{"hello": 1}')
    with pytest.raises(InputError, match="holds no matrix"):
        Pose.parse(str(tmp_path / "pose.json"))
    (tmp_path / "pose.bin").write_bytes(struct.pack("16d", *range(16)))
    with pytest.raises(InputError, match=r"cannot understand|holds no matrix"):
        Pose.parse(str(tmp_path / "pose.bin"))
