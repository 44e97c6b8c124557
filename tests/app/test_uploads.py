"""Zips that people bring, without a browser: what is taken, what is refused, what is left behind."""

import base64
import io
import json
import os
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pillow_heif
import pytest
import tiny
import torch
import trimesh
from PIL import Image

from nerf_insert.app import image_sandbox, uploads
from nerf_insert.app.capture_jobs import add_capture
from nerf_insert.app.downloads import layer_zip, recipe_zip, scene_zip
from nerf_insert.app.jobs.job import Job
from nerf_insert.app.services import Services
from nerf_insert.app.workspace import SceneLocation, Workspace
from nerf_insert.capture import placed_cameras
from nerf_insert.capture.capture import Capture, View
from nerf_insert.cli.main import main
from nerf_insert.errors import InputError, InputWarning
from nerf_insert.fields.splat_field import SplatField
from nerf_insert.scene.recipe import Recipe
from nerf_insert.scene.scene import Scene
from nerf_insert.splats.files import write_splats
from nerf_insert.splats.splats import Splats


@pytest.fixture
def workspace(tmp_path):
    return Workspace(tmp_path / "work")


def zipped(folder, to):
    return shutil.make_archive(str(to), "zip", folder)


def test_a_capture_becomes_a_place_to_build_a_scene_in(workspace, capture_folder, tmp_path):
    location = uploads.take_zip(Path(zipped(capture_folder, tmp_path / "my photos")), workspace)
    assert not location.trained and location.title == "my-photos"
    assert workspace.find(location.key).folder == location.folder
    assert location.capture_path.is_relative_to(workspace.folder)
    again = uploads.take_zip(tmp_path / "my photos.zip", workspace)  # nothing is written over
    assert again.folder != location.folder and again.capture_path != location.capture_path


def test_zips_named_on_the_command_line_are_opened_once(workspace, capture_folder, scene_folder, tmp_path):
    photographs = Path(zipped(capture_folder, tmp_path / "my photos"))
    scene = scene_zip(Scene.open(scene_folder), tmp_path / "out")
    for file, trained in ((photographs, False), (scene, True)):
        location = uploads.open_path(file, workspace)
        assert (
            location.trained == trained and uploads.open_path(file, workspace) == location and file.exists()
        )
        assert location.trained or location.capture_path.is_relative_to(workspace.folder)
    assert len(workspace.locations()) == 2


@pytest.mark.parametrize("where", ["../secret.png", "/tmp/secret.png"])
def test_pictures_outside_the_captures_folder_are_refused(workspace, capture_folder, tmp_path, where):
    secret = tmp_path / "secret.png" if where.startswith("..") else None
    listed = json.loads((capture_folder / "transforms.json").read_text())
    picture = Image.open(capture_folder / "images" / "000.png")
    target = (workspace.folder / "captures" / "secret.png") if secret else tmp_path / "elsewhere.png"
    target.parent.mkdir(parents=True, exist_ok=True)
    picture.save(target)
    listed["frames"][0]["file_path"] = where if secret else str(target)
    listed.pop("train_filenames"), listed.pop("test_filenames")
    (capture_folder / "transforms.json").write_text(json.dumps(listed))
    with pytest.raises(InputError, match="outside its own folder"):
        uploads.take_zip(Path(zipped(capture_folder, tmp_path / "sly")), workspace)
    assert not (workspace.folder / "captures" / "sly").exists() and workspace.locations() == []


def test_a_scene_goes_and_comes_with_its_photographs(workspace, scene_folder, tmp_path):
    tiny.tiny_layer(scene_folder)
    file = scene_zip(Scene.open(scene_folder), tmp_path / "out")
    with zipfile.ZipFile(file, "a") as archive:  # a command line that somebody smuggles in
        archive.writestr(f"{scene_folder.name}/page/jobs/20260101-000000-abcdef/job.json", "{}")
    names = zipfile.ZipFile(file).namelist()
    assert not any(
        "object_mask" in name or "truth" in name for name in names
    )  # beside the capture, not of it
    location = uploads.take_zip(file, workspace)
    scene = Scene.open(location.folder)
    assert location.trained and [entry.name for entry in scene.layers] == ["haze"]
    assert scene.capture.path.is_relative_to(location.folder) and not location.page.exists()
    one = Scene.open(scene_folder).stack().render_image(scene.capture.views[0].camera)
    assert scene.stack().render_image(scene.capture.views[0].camera).rgb.equal(one.rgb)


def test_a_scene_that_points_elsewhere_is_refused(workspace, scene_folder, tmp_path):
    with pytest.raises(InputError, match="without its photographs"):
        uploads.take_zip(Path(zipped(scene_folder, tmp_path / "alone")), workspace)
    assert list((workspace.folder / "captures").iterdir()) == []


def test_a_layer_and_its_recipe_can_be_taken_away(scene_folder, tmp_path):
    tiny.tiny_layer(scene_folder)
    scene = Scene.open(scene_folder)
    assert "001-haze/field.safetensors" in zipfile.ZipFile(layer_zip(scene, 1, tmp_path)).namelist()
    first = layer_zip(scene, 1, tmp_path / "out")
    assert layer_zip(scene, 1, tmp_path / "out") == first  # there is one of it
    os.utime(first.parent, (1, 1))
    other = scene_zip(scene, tmp_path / "out")
    assert other.exists() and not first.exists()  # nobody can want it after all these years
    with zipfile.ZipFile(recipe_zip(scene, 1, tmp_path)) as archive:
        archive.extractall(tmp_path / "taken")
    recipe = Recipe.load(tmp_path / "taken" / "recipe.yaml")
    assert recipe.seed == 7
    with pytest.raises(InputError):
        layer_zip(scene, 2, tmp_path)


@pytest.mark.parametrize(
    "name, data, words",
    [
        ("a.txt", b"hello", "cannot be used"),
        ("a.png", b"hello", r"not an image .*, or it is damaged"),
        ("a.png", b"\x89PNG\r\n\x1a\n", r"not an image .*, or it is damaged"),
        ("a.jpg", b"", r"not an image .*, or it is damaged"),
    ],
)
def test_pictures_that_are_none(tmp_path, name, data, words):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(InputError, match=words):
        uploads.take_image(tmp_path / name, tmp_path / "out.png")
    assert not (tmp_path / "out.png").exists()


def test_a_picture_that_would_fill_the_memory_is_refused(tmp_path):
    Image.new("1", (30000, 30000)).save(tmp_path / "bomb.png")  # a hundred kilobytes, a gigapixel
    with pytest.raises(InputError, match=r"bomb\.png"):
        uploads.take_image(tmp_path / "bomb.png", tmp_path / "out.png")


def test_pictures_are_read_by_the_child_and_as_the_engine_reads_them(capture_folder, tmp_path, monkeypatch):
    """Whatever a picture does to the process that reads it, the page's goes on."""
    rng = np.random.default_rng(3)
    smooth = Image.fromarray(rng.integers(0, 255, (3, 4, 4), np.uint8)).resize((120, 90))
    gray = np.asarray(smooth.getchannel("R"), np.uint16) * 257
    kinds = {"a.png": smooth, "b.jpg": smooth.convert("CMYK"), "c.png": Image.fromarray(gray)}
    camera = Capture.load(capture_folder).views[0].camera
    views, truths, size = [], [], (40, 30)
    for name, picture in kinds.items():
        picture.save(tmp_path / name, quality=95)
        views.append(View(name, tmp_path / name, camera, background=(1.0, 0.5, 0.0)))
        truths.append(views[-1].photograph(size).numpy())
    painted = io.BytesIO()
    smooth.save(painted, "PNG")
    read, save = Image.open, base64.b64encode(painted.getvalue()).decode()
    monkeypatch.setattr(Image, "open", lambda *a, **k: pytest.fail("a picture is read by the server"))
    urls, mask = [image_sandbox.photograph(view, size) for view in views], image_sandbox.mask(save, (120, 90))
    monkeypatch.setattr(image_sandbox, "SECONDS", 0.0)
    with pytest.raises(InputError, match=r"a\.png cannot be read"):
        [image_sandbox.photograph(views[0], size) for _ in range(100)]
    monkeypatch.undo()
    assert image_sandbox.photograph(views[0], size) == urls[0]
    for url, truth in zip(urls, truths, strict=True):
        shown = np.asarray(read(io.BytesIO(base64.b64decode(url.split(",")[1])))) / 255
        assert shown.shape == truth.shape and np.abs(shown - truth).mean() < 0.02  # JPEG
    opaque = np.asarray(smooth.getchannel("A")) > 127
    assert np.array_equal(np.asarray(read(io.BytesIO(mask))) == 255, opaque)


def test_a_zip_takes_the_pictures_that_the_engine_takes_and_names_the_rest(
    workspace, capture_folder, tmp_path
):
    pillow_heif.register_heif_opener()
    listed = json.loads((capture_folder / "transforms.json").read_text())
    listed = {key: value for key, value in listed.items() if not key.endswith("_filenames")}
    for number, frame in enumerate(listed["frames"]):
        old = capture_folder / frame["file_path"]
        new = old.with_suffix((".webp", ".heic", ".tiff")[number % 3])
        Image.open(old).save(new, quality=95)
        old.unlink()
        frame["file_path"] = f"images/{new.name}"
    (capture_folder / "transforms.json").write_text(json.dumps(listed))
    for name in ("notes.docx", "Thumbs.db", "tool.exe"):
        (capture_folder / name).write_bytes(b"x")
    with pytest.warns(InputWarning, match="2 files are left out") as said:
        location = uploads.take_zip(Path(zipped(capture_folder, tmp_path / "modern")), workspace)
    assert all(name in str(said[0].message) for name in ("notes.docx", "tool.exe", "modern.zip"))
    views = Capture.load(location.capture_path).views
    assert len(views) == len(listed["frames"])
    truth = Capture.load(capture_folder).views  # the same files, beside the zip
    assert all(a.photograph().equal(b.photograph()) for a, b in zip(views, truth, strict=True))
    assert image_sandbox.photograph(views[1], (24, 18)).startswith("data:image/jpeg")  # HEIC, in the child


def test_a_zip_of_several_captures_is_refused(workspace, capture_folder, tmp_path):
    both = tmp_path / "both"
    shutil.copytree(capture_folder, both / "kitchen")
    shutil.copytree(capture_folder, both / "attic")
    with pytest.raises(InputError, match=r"several captures or scenes: zip one of .*(kitchen|attic).* alone"):
        uploads.take_zip(Path(zipped(both, tmp_path / "house")), workspace)
    assert not list((tmp_path / "work" / "captures").iterdir())


def test_names_that_a_mac_packs_without_saying_that_they_are_utf8(workspace, capture_folder, tmp_path):
    listed = json.loads((capture_folder / "transforms.json").read_text())
    listed = {key: value for key, value in listed.items() if not key.endswith("_filenames")}
    plain = tmp_path / "plain.zip"
    with zipfile.ZipFile(plain, "w") as archive:
        for number, frame in enumerate(listed["frames"]):
            name = f"images/K\N{LATIN SMALL LETTER U WITH DIAERESIS}che {number:03d}.png"
            archive.write(capture_folder / frame["file_path"], name)
            frame["file_path"] = name
        archive.writestr("transforms.json", json.dumps(listed))
    data = bytearray(plain.read_bytes())
    for start, flags in ((b"PK\x03\x04", 7), (b"PK\x01\x02", 9)):  # clear the bit that says UTF-8
        at = data.find(start)
        while at >= 0:
            data[at + flags] &= ~0x08
            at = data.find(start, at + 4)
    (tmp_path / "mac.zip").write_bytes(data)
    with zipfile.ZipFile(tmp_path / "mac.zip") as archive:
        assert not any(
            "che 000.png" in name and "K\N{LATIN SMALL LETTER U WITH DIAERESIS}" in name
            for name in archive.namelist()
        )
    location = uploads.take_zip(tmp_path / "mac.zip", workspace)
    assert len(Capture.load(location.capture_path).views) == len(listed["frames"])


def test_a_reference_arrives_upright_and_an_animation_is_said_to_be_one(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (40, 20), "red").save(tmp_path / "a.jpg", exif=exif)
    uploads.take_image(tmp_path / "a.jpg", tmp_path / "out.png")
    with Image.open(tmp_path / "out.png") as picture:
        assert picture.size == (20, 40) and not picture.getexif()
    red, green = (Image.new("RGB", (40, 20), color) for color in ("red", "green"))
    red.save(tmp_path / "a.gif", save_all=True, append_images=[green])
    with pytest.warns(InputWarning, match=r"a\.gif holds 2 images"):
        uploads.take_image(tmp_path / "a.gif", tmp_path / "out.png")


def test_a_capture_with_a_picture_that_is_cut_off_is_refused(workspace, capture_folder, tmp_path):
    file = capture_folder / "images" / "003.png"
    file.write_bytes(file.read_bytes()[:-300])  # its header is whole
    with pytest.raises(InputError, match=r"003\.png cannot be read"):
        uploads.take_zip(Path(zipped(capture_folder, tmp_path / "torn")), workspace)
    listed = json.loads((capture_folder / "transforms.json").read_text())
    shutil.copy(capture_folder / "images" / "000.png", capture_folder / "images" / "000.bin")
    file.unlink()
    listed["frames"] = [f for f in listed["frames"] if not f["file_path"].endswith("003.png")]
    listed["frames"][0]["file_path"] = "images/000.bin"  # which no child has looked at
    listed = {key: value for key, value in listed.items() if not key.endswith("_filenames")}
    (capture_folder / "transforms.json").write_text(json.dumps(listed))
    with pytest.raises(InputError, match=r"000\.bin, which is not one of"):
        uploads.take_zip(Path(zipped(capture_folder, tmp_path / "odd")), workspace)


def test_a_large_picture_is_made_smaller(tmp_path):
    Image.new("RGB", (3000, 1500), "red").save(tmp_path / "large.jpg")
    uploads.take_image(tmp_path / "large.jpg", tmp_path / "out.png")
    with Image.open(tmp_path / "out.png") as picture:
        assert picture.size == (2048, 1024) and picture.format == "PNG"


def test_places_are_found_by_key_only(workspace, scene_folder):
    location = workspace.open_path(scene_folder)
    assert workspace.find(location.key) == SceneLocation(scene_folder, scene_folder.name)
    for key in ("", str(scene_folder), location.key + "x", "../.."):
        with pytest.raises(InputError, match="no longer exists"):
            workspace.find(key)
    (workspace.folder / "recent.json").write_text("{damaged")
    assert workspace.locations() == []


def test_a_video_and_photographs_are_sources(workspace, tmp_path):
    """Their captures are still to be made; a zip of photographs is one as well."""
    (tmp_path / "walk.mp4").write_bytes(b"0")
    location = uploads.take_files([tmp_path / "walk.mp4"], workspace)
    assert location.pending and [file.name for file in location.source.iterdir()] == ["walk.mp4"]
    assert location.title == "walk" and location.capture_path.is_relative_to(location.folder)

    def photographs(*names):
        for k, name in enumerate(names):
            Image.new("RGB", (64, 64), (k, 0, 0)).save(tmp_path / name)
        return [tmp_path / name for name in names]

    location = uploads.take_files(photographs("a.jpg", "b.jpg", "c.png"), workspace)
    assert location.pending and len(list(location.source.iterdir())) == 3
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
        for file in photographs("d.jpg", "e.jpg", "f.webp"):
            archive.write(file, f"walk/{file.name}")
    location = uploads.take_files([tmp_path / "photos.zip"], workspace)
    assert location.pending and workspace.find(location.key) == location
    assert workspace.open_path(location.source).key == location.key  # once only
    assert uploads.open_path(tmp_path / "photos.zip", workspace).pending

    before = sorted(path.name for path in (workspace.folder / "captures").iterdir())
    for files, said in (
        (photographs("g.jpg"), "holds 1 photographs"),
        ([tmp_path / "photos.zip", *photographs("h.jpg")], "one zip"),
    ):
        with pytest.raises(InputError, match=said):
            uploads.take_files(files, workspace)
    assert sorted(path.name for path in (workspace.folder / "captures").iterdir()) == before


def test_a_splat_file_becomes_a_scene_by_a_job(workspace, tmp_path, monkeypatch):
    splats = Splats(
        torch.randn(40, 3),
        torch.full((40, 3), -2.0),
        torch.randn(40, 4),
        torch.ones(40),
        torch.rand(40, 1, 3),
    )
    write_splats(tmp_path / "my garden.ply", splats)
    location = uploads.take_files([tmp_path / "my garden.ply"], workspace)
    assert location.title == "my-garden" and location.pending and location.from_splats
    assert location.source.is_relative_to(workspace.folder) and not (tmp_path / "my garden.ply").exists()
    assert workspace.open_path(location.source).folder == location.folder
    queued = []

    class Jobs:
        def list_jobs(self, page):
            return []

        def add(self, page, kind, title, arguments):
            queued.extend(arguments(page))
            return Job("1", kind, title, queued)

    services = Services.__new__(Services)
    services.jobs = Jobs()
    add_capture(services, location)
    monkeypatch.setattr(placed_cameras, "SIZE", (32, 24))
    monkeypatch.setattr(placed_cameras, "FOCAL", 31.0)
    assert main([*queued, "--quiet"]) == 0
    assert location.trained and not location.pending
    base = Scene.open(location.folder).base
    assert isinstance(base, SplatField) and base.splats.count == 40
    with pytest.raises(InputError, match="already built"):
        add_capture(services, location)


def test_a_mesh_is_no_splat_file(workspace, tmp_path):
    trimesh.creation.box().export(tmp_path / "box.ply")
    with pytest.raises(InputError, match="no 3D Gaussian splats"):
        uploads.take_files([tmp_path / "box.ply"], workspace)
    assert workspace.locations() == [] and not (workspace.folder / "captures").exists()
