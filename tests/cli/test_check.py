"""`check`, and what `train` does with what it finds."""

import json

import numpy as np
import pytest
import torch
from textured_room import room, room_poses

from nerf_insert.cli.main import main
from nerf_insert.scene import create
from nerf_insert.scene.scene import Scene

CV = np.diag([1.0, -1.0, -1.0, 1.0])


@pytest.fixture(scope="module")
def opencv_room(tmp_path_factory):
    """A capture whose matrices have OpenCV's axes."""
    folder = room(tmp_path_factory.mktemp("room") / "capture")
    data = json.loads((folder / "transforms.json").read_text())
    for frame in data["frames"]:
        frame["transform_matrix"] = (np.array(frame["transform_matrix"]) @ CV).tolist()
    (folder / "transforms.json").write_text(json.dumps(data))
    return folder


def test_the_report_names_the_mistake(opencv_room, capsys):
    assert main(["check", str(opencv_room), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["ok"] and answer["verdict"] == "mended" and answer["reading"] == {"axes": "RDF"}
    assert answer["photographs"] == 10 and answer["sizes"] == {"240x180": 10} and answer["lenses"] == 1
    assert answer["mended_error_pixels"] < 2 and answer["up"][2] > 0.9 and answer["memory_gb"] >= 1


def test_poses_that_do_not_fit_are_a_failure_and_not_trained_on(opencv_room, tmp_path, capsys):
    data = json.loads((opencv_room / "transforms.json").read_text())
    matrices = [frame["transform_matrix"] for frame in data["frames"]]
    for frame, k in zip(data["frames"], np.random.default_rng(1).permutation(10), strict=True):
        frame["transform_matrix"] = matrices[k]
    (tmp_path / "images").symlink_to(opencv_room / "images")
    (tmp_path / "transforms.json").write_text(json.dumps(data))
    assert main(["check", str(tmp_path), "--quiet"]) == 1
    assert "wrong: the poses do not fit the photographs" in capsys.readouterr().out
    assert main(["train", str(tmp_path), "--out", str(tmp_path / "scene"), "--quiet"]) == 2
    assert "do not fit the photographs" in capsys.readouterr().err and not (tmp_path / "scene").exists()


def test_training_mends_says_and_remembers(opencv_room, tmp_path, capsys):
    words = ["train", str(opencv_room), "--out", str(tmp_path / "scene"), "--steps", "2", "--downscale", "8"]
    assert main([*words, "--samples", "1024", "--json"]) == 0
    assert any("OpenCV's axes" in text for text in json.loads(capsys.readouterr().out)["warnings"])
    assert json.loads((tmp_path / "scene" / "scene.json").read_text())["capture"]["reading"]["axes"] == "RDF"
    view = Scene.open(tmp_path / "scene").capture.view("3.png")
    assert torch.allclose(view.camera.c2w, torch.from_numpy(room_poses()[2][:3]).float(), atol=1e-5)


def test_axes_that_are_none(opencv_room, capsys):
    assert main(["check", str(opencv_room), "--axes", "sideways"]) == 2
    assert "no camera axes 'sideways'" in capsys.readouterr().err


def test_what_does_not_fit_into_memory_is_refused_first(opencv_room, tmp_path, capsys, monkeypatch):
    """With the factor that makes it fit."""
    monkeypatch.setattr(create, "BASE_BYTES", 0)
    monkeypatch.setattr(create, "READING_BYTES", 0)
    need = 9 * 240 * 180 * create.PIXEL_BYTES  # one in ten is to test on
    monkeypatch.setattr(create, "available_memory", lambda: need / 8)
    words = ["train", str(opencv_room), "--out", str(tmp_path / "scene"), "--quiet"]
    assert main(words) == 2
    said = capsys.readouterr().err
    assert "9 photographs" in said and "--downscale 3 makes it fit" in said
    monkeypatch.setattr(create, "available_memory", lambda: 0.0)
    assert main(words) == 2 and "stop other programs" in capsys.readouterr().err
