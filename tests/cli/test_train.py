"""`train`: from a capture to a scene that opens."""

import json
import shutil
import zipfile

import less_work
import numpy as np
import pytest
import torch
from PIL import Image

from nerf_insert.cli.main import main
from nerf_insert.evaluation.image_metrics import psnr
from nerf_insert.io.files import read_tensors
from nerf_insert.scene import create
from nerf_insert.scene.scene import Scene

SHORT = ["--steps", "12", "--samples", "2048", "--json"]


@pytest.fixture(autouse=True)
def small_fields(monkeypatch):
    less_work.small_bases(monkeypatch.setattr)


def run(capture, out, *words):
    assert main(["train", str(capture), "--out", str(out), *SHORT, *words]) == 0


def weights_of(scene):
    return read_tensors(scene / "base" / "base.safetensors")[0]


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def test_a_trained_scene_opens_and_renders_as_reported(tiny_folder, tmp_path, capsys):
    run(tiny_folder / "capture", tmp_path / "new" / "scene")
    answer = json.loads(capsys.readouterr().out)
    assert answer["ok"] and (answer["train_views"], answer["test_views"]) == (12, 2)
    scene = Scene.open(tmp_path / "new" / "scene")
    views = scene.capture.test
    values = [psnr(scene.stack().render_image(view.camera).rgb, view.photograph()) for view in views]
    # saving and loading the base changes nothing: the sum is taken in the same order
    assert answer["psnr"] == pytest.approx(sum(values) / 2, abs=1e-9)
    files = {path.relative_to(scene.folder).as_posix() for path in scene.folder.rglob("*") if path.is_file()}
    assert files == {"scene.json", "base/base.safetensors", ".lock"}  # the checkpoint has gone


def test_the_seed_decides(tiny_folder, tmp_path, capsys):
    weights = []
    for name, seed in {"a": "3", "b": "3", "c": "4"}.items():
        run(tiny_folder / "capture", tmp_path / name, "--seed", seed, "--downscale", "2")
        weights.append(weights_of(tmp_path / name))
    assert same(weights[0], weights[1]) and not same(weights[0], weights[2])


def test_training_goes_on_where_it_was_stopped(tiny_folder, tmp_path, capsys, monkeypatch):
    """Interrupted after some steps, the same command ends with the very same scene."""
    from nerf_insert.training import checkpoint, scene_trainer

    monkeypatch.setattr(checkpoint, "EVERY", 0.0)  # save after every step
    capture, taken = tiny_folder / "capture", []
    run(capture, tmp_path / "whole", "--downscale", "2")
    loss = scene_trainer.base_loss

    def stop_at_eight(*args, **options):
        taken.append(1)
        if len(taken) == 8:
            raise KeyboardInterrupt
        return loss(*args, **options)

    monkeypatch.setattr(scene_trainer, "base_loss", stop_at_eight)
    assert main(["train", str(capture), "--out", str(tmp_path / "cut"), *SHORT, "--downscale", "2"]) == 130
    assert "same command again" in capsys.readouterr().out
    shutil.copytree(tmp_path / "cut", tmp_path / "other")
    run(capture, tmp_path / "cut", "--downscale", "2")
    assert 12 <= len(taken) <= 14  # not all of it again
    assert same(weights_of(tmp_path / "whole"), weights_of(tmp_path / "cut"))
    taken += 8 * [1]
    run(capture, tmp_path / "other", "--downscale", "3")  # other pictures: that has to start again
    assert len(taken) >= 12 + 8 + 12


def test_a_zip_of_a_capture_is_trained_on_as_it_is(tiny_folder, tmp_path, capsys):
    """Unpacked in the scene folder: the zip may go, and the scene still opens."""
    capture, zipped = tiny_folder / "capture", tmp_path / "my walk.zip"
    with zipfile.ZipFile(zipped, "w") as archive:  # as Windows and a Mac pack a folder
        for file in [capture / "transforms.json", *sorted((capture / "images").iterdir())]:
            archive.write(file, "walk\\" + str(file.relative_to(capture)).replace("/", "\\"))
        archive.writestr("__MACOSX/walk/._transforms.json", b"\0\5\x16\7")
    assert main(["check", str(zipped), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["photographs"] == 14
    assert main(["train", str(zipped), "--out", str(tmp_path / "s"), "--frames", "9", *SHORT]) == 2
    assert "has camera poses already" in json.loads(capsys.readouterr().out)["error"]
    run(zipped, tmp_path / "s")
    zipped.unlink()
    scene = Scene.open(tmp_path / "s")
    assert scene.capture.path == tmp_path / "s" / "capture" / "walk" and len(scene.capture.views) == 14
    run(capture, tmp_path / "of the folder")
    assert same(weights_of(tmp_path / "s"), weights_of(tmp_path / "of the folder"))


def test_few_photographs_are_all_trained_on(capture_folder, scene_folder, tmp_path, capsys):
    """None is left to test on, which is said wherever that matters; with fewer than three nothing is done."""
    listing = json.loads((capture_folder / "transforms.json").read_text())
    listing = {key: value for key, value in listing.items() if not key.endswith("_filenames")}
    for count in (1, 2):
        (capture_folder / "transforms.json").write_text(
            json.dumps(listing | {"frames": listing["frames"][:count]})
        )
        assert main(["train", str(capture_folder), "--out", str(tmp_path / "s"), *SHORT]) == 2
        said = json.loads(capsys.readouterr().out)["error"]
        assert f"has {count} usable photograph" in said and "at least 3 are needed" in said
    frames = listing["frames"][::5]
    (capture_folder / "transforms.json").write_text(json.dumps(listing | {"frames": frames}))
    run(capture_folder, tmp_path / "s")
    answer = json.loads(capsys.readouterr().out)
    assert (answer["train_views"], answer["test_views"], answer["psnr"]) == (3, 0, None)

    scene = scene_folder  # of these three, and better than after twelve steps
    known = json.loads((scene / "scene.json").read_text())
    known["capture"] |= {"path": str(capture_folder)}
    (scene / "scene.json").write_text(json.dumps(known))
    box = ["--box", "0.5,-0.4,0.25,0.4,0.4,0.4", "--inpainter", "painters:Quick", "--steps", "4"]
    assert main(["edit", str(scene), *box, "--quiet"]) == 0
    for words in (["eval", scene], ["render", scene, "--split", "test", "--out", tmp_path / "r"]):
        assert main([*map(str, words), "--quiet"]) == 2
        assert "no test views: with 3 photographs all of them are trained on" in capsys.readouterr().err
    assert main(["eval", str(scene), "--split", "train", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["views"]) == 3


def test_large_photographs_are_pointed_out(capture_folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(create, "LARGE", 1000)
    run(capture_folder, tmp_path / "s")
    out, err = capsys.readouterr()
    assert "--downscale 2" in json.loads(out)["warnings"][0]
    assert "warning" in [json.loads(line)["event"] for line in err.splitlines()]


def test_missing_photographs_are_a_warning(capture_folder, tmp_path, capsys):
    (capture_folder / "images" / "005.png").unlink()
    run(capture_folder, tmp_path / "s")
    answer = json.loads(capsys.readouterr().out)
    assert answer["train_views"] == 11 and "images/005.png" in answer["warnings"][0]


def test_a_mask_over_everything_is_refused(capture_folder, tmp_path, capsys):
    data = json.loads((capture_folder / "transforms.json").read_text())
    for frame in data["frames"]:
        frame["mask_path"] = "mask.png"
    Image.fromarray(np.zeros((36, 48), np.uint8)).save(capture_folder / "mask.png")
    (capture_folder / "transforms.json").write_text(json.dumps(data))
    assert main(["train", str(capture_folder), "--out", str(tmp_path / "s"), *SHORT]) == 2
    assert "exclude every pixel" in capsys.readouterr().out
