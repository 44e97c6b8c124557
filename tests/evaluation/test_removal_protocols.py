"""Data sets' layouts, written here in small, and the protocol run on one of them."""

import json

import numpy as np
import pytest
import tiny
import torch
from exports import colmap
from PIL import Image

from nerf_insert.capture.capture import Capture
from nerf_insert.cli import protocol_pipeline
from nerf_insert.cli.commands import eval as eval_command
from nerf_insert.cli.main import main
from nerf_insert.errors import InputError
from nerf_insert.evaluation.removal_protocols import PROTOCOLS, read_data, write_capture
from nerf_insert.scene.scene import Scene


def picture(path, size, value=128):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L" if "mask" in str(path) or "label" in str(path) else "RGB", size, value).save(path)


def mask(path, size, white):
    pixels = np.zeros(size[::-1], np.uint8)
    pixels[2:6, 3:7] = white
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def names(folder):
    """COLMAP's poses of an orbit in `folder`; the names of its photographs, and their size."""
    model = colmap(folder)
    lines = next(model.rglob("images.txt")).read_text().splitlines()
    camera = next(model.rglob("cameras.txt")).read_text().splitlines()[1].split()
    size = int(camera[2]), int(camera[3])
    return [line.split()[-1] for line in lines if line and not line.startswith("#")], size


def test_every_protocol_is_offered():
    assert tuple(PROTOCOLS) == eval_command.PROTOCOLS


def test_spin_nerf_trains_on_what_has_a_label(tmp_path):
    photographs, (width, height) = names(tmp_path / "1")
    half = width // 2, height // 2
    stems = [name.rsplit("/")[-1].rsplit(".")[0] for name in photographs]
    for stem in stems:
        picture(tmp_path / "1" / "images" / f"{stem}.jpg", (width, height))
        picture(tmp_path / "1" / "images_2" / f"{stem}.png", half)
    for stem in stems[2:]:
        mask(tmp_path / "1" / "images_2" / "label" / f"{stem}.png", half, white=1)  # not 255
    data = read_data("spin-nerf", tmp_path / "1")
    assert [*data.removed] == sorted(stems[:2]) and sorted(data.shown) == sorted(stems[2:])
    home = write_capture(data, tmp_path / "capture")
    capture = Capture.load(home)
    assert sorted(view.path.stem for view in capture.test) == sorted(stems[:2])
    assert all(view.full_size == half for view in capture.views)
    whole = Capture.load(tmp_path / "1")
    by_stem = {view.path.stem: view.camera for view in whole.views}
    for view in capture.views:  # the same pose, the lens in half the pixels
        assert torch.allclose(view.camera.c2w, by_stem[view.path.stem].c2w, atol=1e-5)
        assert view.camera.fx == pytest.approx(by_stem[view.path.stem].fx / 2)
    drawn = np.asarray(Image.open(home / "masks" / f"{stems[2]}.png"))
    assert (drawn > 127).sum() == 16
    chosen = protocol_pipeline.chosen_masks(data, home, capture)
    assert 2 <= len(chosen) <= protocol_pipeline.MAX_MASKS


def test_360_usid_is_tested_on_its_own_photographs(tmp_path):
    photographs, size = names(tmp_path / "cone")
    stems = [name.rsplit("/")[-1].rsplit(".")[0] for name in photographs]
    for k, stem in enumerate(stems):
        picture(tmp_path / "cone" / ("images" if k % 3 else "test_images") / f"{stem}.jpg", size)
        if k % 3:
            mask(tmp_path / "cone" / "object_masks" / f"{stem}.png", size, white=255)
    data = read_data("360-usid", tmp_path / "cone")
    capture = Capture.load(write_capture(data, tmp_path / "capture"))
    assert sorted(view.path.stem for view in capture.test) == sorted(stems[::3])
    assert not data.places


@pytest.mark.parametrize(
    ("protocol", "words"), [("spin-nerf", "has no masks"), ("360-usid", "has no photographs with the thing")]
)
def test_another_layout_is_told_what_it_lacks(tmp_path, protocol, words):
    with pytest.raises(InputError, match=words):
        read_data(protocol, tmp_path)


def test_the_protocol_compares_with_the_photographs_without_it(
    capture_folder, scene_folder, tmp_path, capsys, monkeypatch
):
    """On the tiny capture, whose scene is there already and whose removal is a layer that is not fitted."""
    out = tmp_path / "out"
    (out / "capture").mkdir(parents=True)
    scene_folder.rename(out / "scene")
    capture = Capture.load(capture_folder)
    scene = Scene.open(out / "scene")
    scene.point_to(capture_folder, out / "scene")
    folder = tmp_path / "data"
    for view in capture.views:
        home = "images" if view in capture.train else "test_images"
        (folder / home).mkdir(parents=True, exist_ok=True)
        (folder / home / view.path.name).symlink_to(view.path)
        mask(folder / "object_masks" / view.path.name, tiny.SIZE, white=255)
    monkeypatch.setattr(protocol_pipeline, "write_capture", lambda data, home: home)
    monkeypatch.setattr(protocol_pipeline, "read_data", lambda protocol, folder: _data(folder))
    (out / "capture" / "photographs").symlink_to(capture_folder / "images")

    def edit(scene, recipe, progress):
        tiny.tiny_layer(scene.folder, center=(0, 0, 0.3), name=recipe.name)
        with scene.locked():  # which takes note of it
            pass

    monkeypatch.setattr(protocol_pipeline, "edit", edit)
    assert main(["eval", str(folder), "--protocol", "360-usid", "--out", str(out), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["protocol"], answer["masks"]) == ("360-usid", protocol_pipeline.MAX_MASKS)
    assert len(answer["views"]) == len(tiny.TEST)
    assert answer["mean"]["edited"]["in_object"] < answer["mean"]["base"]["in_object"]  # gray haze there
    assert answer["locality"]["largest_change"] == 0


def _data(folder):
    from nerf_insert.evaluation import removal_protocols

    return removal_protocols.PROTOCOLS["360-usid"](folder)
