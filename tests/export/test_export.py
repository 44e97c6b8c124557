"""What a scene is taken elsewhere as: datasets, points, meshes, runs of nerfstudio."""

import json
import shutil
from pathlib import Path

import numpy as np
import painters  # noqa: F401  # named in the recipe
import pytest
import tiny
import torch
import trimesh
from PIL import Image

from nerf_insert.capture.capture import Capture
from nerf_insert.cli.main import main
from nerf_insert.editing.loop import edit
from nerf_insert.errors import InputWarning
from nerf_insert.export.dataset_depth import edited_depth
from nerf_insert.export.geometry import export_mesh
from nerf_insert.export.glb import glb_bytes
from nerf_insert.geometry.mesh_reader import load_mesh
from nerf_insert.io.images import read_image
from nerf_insert.regions.spec import Box, load_pose
from nerf_insert.runtime.progress import SILENT
from nerf_insert.scene.recipe import Recipe
from nerf_insert.scene.scene import Scene

BOX = {"box": {"center": [*tiny.OBJECT[:3]], "size": [0.56] * 3}}


@pytest.fixture(scope="module")
def edited(tiny_folder, tmp_path_factory):
    """The tiny scene with the blue ball in it, by an inpainter that knows the truth."""
    folder = shutil.copytree(tiny_folder / "scene", tmp_path_factory.mktemp("edited") / "scene")
    options = {"truth": str(tiny_folder / "capture" / "truth")}
    schedule = {"steps": 120, "rays": 1024}
    recipe = {
        "region": BOX,
        "inpainter": "painters:Truth",
        "inpainter_options": options,
        "schedule": schedule,
    }
    edit(Scene.open(folder), Recipe.from_dict(recipe), SILENT)
    return folder


def export(scene, kind, out, *flags):
    assert main(["export", str(scene), kind, "--out", str(out), "--quiet", *map(str, flags)]) == 0
    return out


@pytest.fixture(scope="module")
def dataset(edited, tmp_path_factory):
    return export(edited, "dataset", tmp_path_factory.mktemp("dataset") / "out")


def test_a_dataset_has_the_edit_where_its_masks_say_and_the_photographs_elsewhere(dataset, tiny_folder):
    gained = []
    for k in range(tiny.VIEWS):
        name = f"{k:03d}.png"
        before, truth, after = (
            read_image(folder / name)[0]
            for folder in (
                tiny_folder / "capture/images",
                tiny_folder / "capture/truth",
                dataset / "images",
            )
        )
        mask = torch.from_numpy(np.asarray(Image.open(dataset / "edit_masks" / name)) > 127)
        assert after[~mask].equal(before[~mask])  # to the byte
        changed = (truth - before).abs().amax(-1) > 0.25
        if int(changed.sum()) > 20:
            assert float((mask & changed).sum() / changed.sum()) > 0.6  # what should be edited is
            was, now = ((picture - truth)[changed].square().mean() for picture in (before, after))
            gained.append(float(now / was))
    assert len(gained) > 8 and max(gained) < 0.7 and float(np.mean(gained)) < 0.35


def test_a_dataset_is_a_capture_with_the_same_cameras_and_split(dataset, tiny_folder):
    ours, theirs = Capture.load(dataset), Capture.load(tiny_folder / "capture")
    assert [view.path.name for view in ours.test] == [view.path.name for view in theirs.test]
    for one, other in zip(ours.views, theirs.views, strict=True):
        torch.testing.assert_close(one.camera.c2w, other.camera.c2w, rtol=0, atol=1e-6)
        assert (one.camera.fx, one.camera.width) == pytest.approx((other.camera.fx, other.camera.width))


def test_nerfstudio_reads_a_dataset_and_places_it_as_before(dataset, tiny_folder):
    """The dataparser's own frame is the same, so what was trained on one can go on with the other."""
    from nerfstudio.data.dataparsers.nerfstudio_dataparser import NerfstudioDataParserConfig

    found = [
        NerfstudioDataParserConfig(data=folder).setup().get_dataparser_outputs("train")
        for folder in (dataset, tiny_folder / "capture")
    ]
    torch.testing.assert_close(
        found[0].cameras.camera_to_worlds, found[1].cameras.camera_to_worlds, rtol=0, atol=1e-5
    )
    assert [f.name for f in found[0].image_filenames] == [f.name for f in found[1].image_filenames]
    assert found[0].mask_filenames is None  # nothing of it is ignored


def test_what_the_capture_says_beside_its_cameras_is_kept(edited, tiny_folder, tmp_path):
    """Its own masks, its transform, its sparse points."""
    capture = shutil.copytree(tiny_folder / "capture", tmp_path / "capture")
    data = json.loads((capture / "transforms.json").read_text())
    valid = np.full((tiny.SIZE[1], tiny.SIZE[0]), 255, np.uint8)
    valid[:4] = 0
    Image.fromarray(valid).save(capture / "valid.png")
    for frame in data["frames"]:
        frame["mask_path"] = "valid.png"
    data |= {"applied_transform": [[1, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, 0]], "ply_file_path": "points.ply"}
    floor = np.stack([*np.meshgrid(np.linspace(-1, 1, 21), np.linspace(-1, 1, 21)), np.zeros((21, 21))], -1)
    inside = np.random.default_rng(0).uniform(-0.27, 0.27, (40, 3)) + tiny.OBJECT[:3]
    eye = Capture.load(tiny_folder / "capture").views[0].camera.center.numpy()
    in_front = tiny.OBJECT[:3] + (eye - tiny.OBJECT[:3]) * np.linspace(0.4, 0.7, 9)[:, None]
    known = np.concatenate([floor.reshape(-1, 3), inside, in_front])
    trimesh.PointCloud(known, np.full((len(known), 3), (9, 90, 200), np.uint8)).export(capture / "points.ply")
    depths = write_depths(capture, data)
    (capture / "transforms.json").write_text(json.dumps(data))
    scene = shutil.copytree(edited, tmp_path / "scene")
    at = json.loads((scene / "scene.json").read_text())
    at["capture"]["path"] = str(capture)
    (scene / "scene.json").write_text(json.dumps(at))
    out = export(scene, "dataset", tmp_path / "out")
    written = json.loads((out / "transforms.json").read_text())
    assert written["applied_transform"] == data["applied_transform"]
    cloud = trimesh.load(out / written["ply_file_path"])
    own = (cloud.colors[:, :3] == (9, 90, 200)).all(1)
    points, new = cloud.vertices[own], cloud.vertices[~own]
    in_box = np.abs(points - tiny.OBJECT[:3]).max(1) < 0.27
    assert not in_box.any() and not (points[:, 2] > 0.02).any()  # what was in the region, or is seen through
    far = np.linalg.norm(floor[..., :2].reshape(-1, 2) - tiny.OBJECT[:2], axis=1) > 0.8
    there = {tuple(p) for p in np.round(points, 4)}
    kept = np.array([tuple(p) in there for p in np.round(floor.reshape(-1, 3), 4)])
    assert kept[far].mean() > 0.95 and len(new) > 300
    on_ball = np.abs(np.linalg.norm(new - tiny.OBJECT[:3], axis=1) - tiny.OBJECT[3])
    assert np.median(on_ball) < 0.08  # the layer's cells are 0.03 wide
    check_depths(out, written, depths)
    assert Capture.load(out).views[0].valid().equal(torch.from_numpy(valid > 0))


def write_depths(capture, data):
    """Depth of the base's floor and ball along the cameras' axes in thousandths, half as large; as float."""
    found = {}
    for view, frame in zip(Capture.load(capture).views, data["frames"], strict=True):
        camera = view.camera.scaled(0.5)
        rays = camera.rays()
        distance = ray_distance(rays, [tiny.BALL])
        along = (rays.directions @ -camera.c2w[:, 2]).numpy()
        steps = np.where(np.isfinite(distance), distance * along * 1000, 0).round().astype(np.uint16)
        name = f"depth-{Path(frame['file_path']).stem}.png"
        Image.fromarray(steps.reshape(camera.height, camera.width)).save(capture / name)
        frame["depth_file_path"] = name
        found[Path(frame["file_path"]).stem] = (camera, steps.reshape(camera.height, camera.width))
    return found


def ray_distance(rays, balls):
    """To the first of the floor z = 0 and balls, in closed form."""
    origins, directions = rays.origins.double().numpy(), rays.directions.double().numpy()
    with np.errstate(divide="ignore", invalid="ignore"):
        floor = -origins[:, 2] / directions[:, 2]
    nearest = np.where(floor > 0, floor, np.inf)
    for ball in balls:
        away = origins - ball[:3]
        half = (away * directions).sum(1)
        under = half**2 - (away**2).sum(1) + ball[3] ** 2
        nearest = np.minimum(nearest, np.where(under >= 0, -half - np.sqrt(under.clip(0)), np.inf))
    return nearest


def check_depths(out, written, depths):
    errors = []
    for frame in written["frames"]:
        camera, before = depths[Path(frame["file_path"]).stem]
        now = np.asarray(Image.open(out / frame["depth_file_path"]))
        mask = np.asarray(Image.open(out / frame["edit_mask_path"]).resize(before.shape[::-1], 0)) > 127
        wide = np.asarray(Image.open(out / frame["edit_mask_path"]).reduce(2)) > 0
        assert np.array_equal(now[~wide], before[~wide])  # exactly
        rays = camera.rays()
        along = (rays.directions @ -camera.c2w[:, 2]).numpy()
        truth = (ray_distance(rays, [tiny.BALL, tiny.OBJECT]) * along * 1000).reshape(before.shape)
        ball = mask & (truth < before - 50)  # nearer than what was there by more than the grid's cells
        errors += np.abs(now[ball] - truth[ball]).tolist()
    assert (
        len(errors) > 200 and np.median(errors) < 120
    )  # of some 1700: four cells of a layer fitted in seconds


def test_a_depth_file_gets_the_surface_along_the_cameras_axis(tmp_path):
    """A ball in closed form, in files as large as the photograph and half as large, in two units."""
    camera = tiny.tiny_cameras()[0]
    rays = camera.rays()
    after, before = (
        torch.from_numpy(ray_distance(rays, balls)) for balls in ([tiny.BALL, tiny.OBJECT], [tiny.BALL])
    )
    mask = after < before - 0.01
    along = (rays.directions @ -camera.c2w[:, 2]).double()
    truth = (after * along).view(camera.height, camera.width).numpy()
    old = (before * along).view(camera.height, camera.width).numpy()
    shape = mask.view(camera.height, camera.width)
    whole = np.where(np.isfinite(old), old, 0)
    Image.fromarray((whole * 1000).round().astype(np.uint16)).save(tmp_path / "a.png")
    np.save(tmp_path / "b.npy", (whole[1::2, 1::2] * 1000).astype(np.float32))
    np.save(tmp_path / "c.npy", (whole * 250).astype(np.float32))
    for name, unit, every in (("a.png", 1000, slice(None)), ("b.npy", 1000, slice(1, None, 2))):
        data = edited_depth(tmp_path / name, camera, shape, after[mask], before[mask])
        (tmp_path / f"new-{name}").write_bytes(data)
        file = tmp_path / f"new-{name}"
        now = np.asarray(Image.open(file)) if name.endswith("png") else np.load(file)
        wanted = np.where(shape.numpy(), truth, whole)[every, every] * unit
        assert np.abs(now - wanted).max() <= 0.51  # rounded to a step
    with pytest.warns(InputWarning, match=r"not in thousandths.*c\.npy times 4 "):
        data = edited_depth(tmp_path / "c.npy", camera, shape, after[mask], before[mask])
    (tmp_path / "new-c.npy").write_bytes(data)
    wanted = np.where(shape.numpy(), truth, whole) * 250
    assert np.abs(np.load(tmp_path / "new-c.npy") - wanted).max() < 0.1  # float32, and the factor's median
    (tmp_path / "d.png").write_bytes(b"no picture")
    with pytest.warns(InputWarning, match=r"d\.png cannot be read"):
        assert edited_depth(tmp_path / "d.png", camera, shape, after[mask], before[mask]) is None


def test_a_capture_without_points_gets_the_scenes_surfaces(dataset):
    written = json.loads((dataset / "transforms.json").read_text())
    cloud = trimesh.load(dataset / written["ply_file_path"])
    assert len(cloud.vertices) > 5000 and np.quantile(distance_to_scene(cloud.vertices), 0.8) < 0.08
    blue = np.linalg.norm(cloud.vertices - tiny.OBJECT[:3], axis=1) < tiny.OBJECT[3] + 0.05
    colors = cloud.colors[blue & (cloud.vertices[:, 2] > 0.15)][:, :3].astype(float)
    assert len(colors) > 100 and np.median(colors[:, 2]) > 150 > np.median(colors[:, 0])


def distance_to_scene(points):
    """To the floor, the red ball and the blue one of the tiny scene."""
    balls = [np.abs(np.linalg.norm(points - ball[:3], axis=1) - ball[3]) for ball in (tiny.BALL, tiny.OBJECT)]
    return np.min([np.abs(points[:, 2]), *balls], axis=0)


def test_points_lie_on_the_surfaces(edited, tmp_path):
    export(edited, "pointcloud", tmp_path / "p", "--points", 4000)
    cloud = trimesh.load(tmp_path / "p" / "pointcloud.ply")
    assert len(cloud.vertices) == 4000
    # The scene knows them to a few hundredths: cells of its grid are 0.03 wide
    assert np.quantile(distance_to_scene(cloud.vertices), 0.8) < 0.08
    blue = np.linalg.norm(cloud.vertices - tiny.OBJECT[:3], axis=1) < tiny.OBJECT[3] + 0.05
    colors = cloud.colors[blue & (cloud.vertices[:, 2] > 0.15)][:, :3].astype(float)
    assert len(colors) > 20 and np.median(colors[:, 2]) > 150 > np.median(colors[:, 0])


def test_before_the_edit_there_is_no_blue_ball(edited, tmp_path):
    export(edited, "pointcloud", tmp_path / "p", "--points", 4000, "--before")
    cloud = trimesh.load(tmp_path / "p" / "pointcloud.ply")
    high = np.linalg.norm(cloud.vertices - tiny.OBJECT[:3], axis=1) < tiny.OBJECT[3] - 0.02
    assert int(high.sum()) < 20


def test_a_mesh_is_the_surface(edited, tmp_path):
    box = [*tiny.OBJECT[:3], 0.7, 0.7, 0.6]
    export(edited, "mesh", tmp_path / "m", "--resolution", 28, "--box", ",".join(map(str, box)))
    mesh = trimesh.load(tmp_path / "m" / "mesh.glb", force="mesh")
    mesh.apply_transform([[1, 0, 0, 0], [0, 0, -1, 0], [0, 1, 0, 0], [0, 0, 0, 1]])  # the file is y-up
    assert len(mesh.faces) > 200
    # voxels of 0.025, and what the scene does not know better
    assert np.quantile(distance_to_scene(mesh.vertices), 0.8) < 0.08
    out = np.asarray(mesh.vertices) - tiny.OBJECT[:3]
    on_ball = np.abs(np.linalg.norm(out, axis=1) - tiny.OBJECT[3]) < 0.06
    facing = (mesh.vertex_normals * out).sum(1)[on_ball & (out[:, 2] > 0)]
    assert len(facing) > 20 and float((facing > 0).mean()) > 0.8  # normals point outwards
    colors = mesh.visual.vertex_colors[on_ball & (out[:, 2] > 0)][:, :3].astype(float)
    assert np.median(colors[:, 2]) > 75 > np.median(colors[:, 0])  # of 255 in linear light, 148 in sRGB


def test_an_exported_mesh_comes_back_where_it_was_in_the_same_colors(edited, tmp_path):
    scene = Scene.open(edited)
    box = Box(tiny.OBJECT[:3], (0.7, 0.7, 0.6))
    for name in ("mesh.glb", "mesh.ply"):
        export_mesh(scene, tmp_path / name, resolution=16, box=box)
    glb, ply = (
        load_mesh(tmp_path / name, load_pose(None, up_axis=axis, up=scene.capture.up))
        for name, axis in (("mesh.glb", "y"), ("mesh.ply", None))
    )
    assert torch.equal(glb.vertices, ply.vertices)  # a quarter turn and back is exact
    assert torch.equal((glb.corner_colors * 255).round(), (ply.corner_colors * 255).round())
    assert glb.corner_colors.amin() < 0.2 < glb.corner_colors.amax()


def test_every_color_of_8_bits_survives_a_glb(tmp_path):
    levels = np.arange(256, dtype=np.float32)
    srgb = np.stack([levels, levels[::-1], np.roll(levels, 100)], 1) / 255
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4).astype(np.float32)
    vertices = np.random.default_rng(0).normal(size=(256, 3)).astype(np.float32)
    faces = np.arange(255).reshape(-1, 3)
    (tmp_path / "m.glb").write_bytes(glb_bytes(vertices, faces, linear))
    mesh = load_mesh(tmp_path / "m.glb")
    assert np.array_equal((mesh.corner_colors * 255).round().numpy() / 255, srgb[faces])
    assert np.array_equal(mesh.vertices.numpy(), vertices[: mesh.vertices.shape[0]])
    other = trimesh.load(tmp_path / "m.glb", force="mesh", process=False).visual.vertex_colors
    assert np.abs(other[:, :3] / 255 - linear).max() < 1 / 255  # trimesh rounds to 8 bits


def test_a_place_without_anything_has_no_mesh(edited, tmp_path, capsys):
    command = ["export", str(edited), "mesh", "--out", str(tmp_path), "--resolution", "8", "--quiet"]
    assert main([*command, "--box", "0,0,50,1,1,1"]) == 1
    assert "no surface" in capsys.readouterr().err


@pytest.mark.parametrize(
    "flags, says",
    [
        (["mesh", "--points", "5"], "--points is for pointcloud"),
        (["pointcloud", "--resolution", "50"], "--resolution is for mesh"),
        (["mesh", "--box", "0,0,0,1,1,0"], "above 0"),
        (["dataset", "--before"], "--before is for"),
    ],
)
def test_flags_are_for_their_kind(edited, tmp_path, capsys, flags, says):
    assert main(["export", str(edited), *flags, "--out", str(tmp_path / "x")]) == 2
    assert says in capsys.readouterr().err


def test_nothing_of_the_persons_is_written_over(edited, tiny_folder, capsys):
    for out in (edited, tiny_folder / "capture"):
        for kind in ("dataset", "nerfstudio"):
            assert main(["export", str(edited), kind, "--out", str(out)]) == 2
            assert "choose another folder" in capsys.readouterr().err
