"""Photographs whose names are trouble: shared by two folders, with dots, spaces and umlauts, or links."""

import json
import os
import shutil
import unicodedata
from pathlib import Path

import pytest
import tiny
import torch

from nerf_insert.capture.capture import Capture, View
from nerf_insert.cli.main import main
from nerf_insert.evaluation.evaluate import Truth
from nerf_insert.io.images import write_image

KITCHEN = "images/K\N{LATIN SMALL LETTER U WITH DIAERESIS}che 1/a b.c.png"
NAMES = {
    0: KITCHEN,  # decomposed on the disk, as a Mac copies it
    1: "images/linked.png",
    2: "images/x.tar.gz.png",
    tiny.TEST[0]: "images/front/0001.v2.png",
    tiny.TEST[1]: "images/back/0001.v2.png",
}


@pytest.fixture
def scene(tiny_folder, scene_folder, tmp_path):
    """The tiny scene on a copy of its capture in which photographs have these names."""
    capture = shutil.copytree(tiny_folder / "capture", tmp_path / "capture with spaces")
    data = json.loads((capture / "transforms.json").read_text())
    new = {}
    for k, frame in enumerate(data["frames"]):
        old, name = frame["file_path"], NAMES.get(k, frame["file_path"])
        new[old] = frame["file_path"] = name
        if name == old:
            continue
        file = capture / unicodedata.normalize("NFD", name)
        file.parent.mkdir(parents=True, exist_ok=True)
        if k == 1:  # as a blob store keeps it: no suffix, and a link with one
            shutil.move(capture / old, capture / "blob")
            file.symlink_to(os.path.relpath(capture / "blob", file.parent))
        else:
            shutil.move(capture / old, file)
    for key in ("train_filenames", "val_filenames", "test_filenames"):
        data[key] = [new[name] for name in data[key]]
    (capture / "transforms.json").write_text(json.dumps(data))
    at = json.loads((scene_folder / "scene.json").read_text())
    at["capture"] |= {"path": str(capture), "relative": os.path.relpath(capture, scene_folder)}
    (scene_folder / "scene.json").write_text(json.dumps(at))
    return scene_folder


def run(capsys, *words):
    assert main([*map(str, words), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_eval_finds_what_render_wrote(scene, tmp_path, capsys):
    out = tmp_path / "renders"
    run(capsys, "render", scene, "--split", "test", "--out", out)
    files = sorted(path.relative_to(out).as_posix() for path in out.rglob("*.png"))
    assert files == [NAMES[tiny.TEST[1]], NAMES[tiny.TEST[0]]]
    found = run(capsys, "eval", scene, "--truth", out)
    assert [row["view"] for row in found["views"]] == files
    assert all(row["base"]["whole"] > 60 for row in found["views"])  # the very same 8 bits
    flat = tmp_path / "flat"  # one picture for two photographs is no truth
    flat.mkdir()
    shutil.copy(out / files[0], flat / Path(files[0]).name)
    assert main(["eval", str(scene), "--truth", str(flat), "--json"]) == 2
    assert "both" in json.loads(capsys.readouterr().out)["error"]


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("images/K\u00fcche/01.png", "K\u00fcche/01.png"),  # the truth's names composed, the listed ones too
        ("images/K\u00fcche/01.png", "Ku\u0308che/01.png"),  # as a Mac copies the folder of the truth
        ("images/Ku\u0308che 1.png", "K\u00fcche 1.png"),
        ("images/a..png", "a..jpg"),
        ("images/0001.v2.JPG", "0001.v2.png"),
        ("images/a.jpg", "a.jpg.png"),  # as `render` names it where there is an a.png, too
        ("images/a.jpg", "A.JPG"),
        ("images/frame.0001", "frame.0001.png"),
        ("..\\images\\a.jpg", "a.png"),
        ("/images/a.jpg", "a.png"),
    ],
)
def test_the_truth_of_a_photograph_is_found_whatever_forms_names_have(name, kept, tmp_path):
    camera = tiny.tiny_cameras()[0]
    photograph = tmp_path / "capture" / name.replace("\\", "/").rpartition("/")[2]
    write_image(photograph, torch.zeros(camera.height, camera.width, 3))
    for home in ("images", ""):
        folder = tmp_path / f"truth {home}"
        write_image(folder / home / kept, torch.rand(camera.height, camera.width, 3))
        write_image(folder / "other.png", torch.zeros(4, 4, 3))
        image, _ = Truth(folder).load(View(name, photograph, camera))
        assert image.shape == (camera.height, camera.width, 3)


def test_a_dataset_has_every_photograph_under_a_name_of_its_own(scene, tiny_folder, tmp_path, capsys):
    run(capsys, "export", scene, "dataset", "--out", tmp_path / "out")
    plain = {tuple(v.camera.center.tolist()): v for v in Capture.load(tiny_folder / "capture").views}
    views = Capture.load(tmp_path / "out").views
    assert len(views) == len(plain) == tiny.VIEWS
    for view in views:
        assert view.photograph().equal(plain[tuple(view.camera.center.tolist())].photograph()), view.name


def test_a_mask_is_drawn_on_a_photograph_in_either_unicode_form(scene, tmp_path):
    from nerf_insert.scene.scene import Scene

    capture = Scene.open(scene).capture
    for form in ("NFC", "NFD"):
        assert capture.view(unicodedata.normalize(form, KITCHEN)).name == KITCHEN
    assert capture.view("front/0001.v2.png").name == NAMES[tiny.TEST[0]]
