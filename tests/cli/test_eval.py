"""`eval`: the figures of test_metrics.py reach the person and the machine."""

import json
import shutil

import pytest
import tiny

from nerf_insert.cli.main import main


@pytest.fixture(scope="module")
def scene(tiny_folder, tmp_path_factory):
    folder = shutil.copytree(tiny_folder / "scene", tmp_path_factory.mktemp("eval") / "scene")
    tiny.tiny_layer(folder)
    return folder


def test_for_machines_and_for_people(scene, tiny_folder, capsys):
    capture = tiny_folder / "capture"
    words = ["eval", str(scene), "--truth", f"{capture}/truth", "--object-mask", f"{capture}/object_mask"]
    assert main([*words, "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert [row["view"] for row in answer["views"]] == ["images/003.png", "images/010.png"]
    assert answer["locality"]["largest_change"] == 0 and answer["locality"]["pixels"] > 1000
    assert {"psnr", "ssim", "in_object", "whole", "outside"} <= set(answer["mean"]["edited"])
    assert main([*words, "--quiet"]) == 0
    text = capsys.readouterr().out
    lines = text.splitlines()
    means = next(line for line in lines if line.startswith("mean")).split()[1:]
    keys = [("base", k) for k in ("psnr", "ssim", "in_object", "whole", "outside")]
    keys += [("edited", k) for _, k in keys] + [("photograph", k) for k in ("in_object", "whole")]
    shown = [answer["mean"][which][key] for which, key in keys]
    # printed with two decimals, SSIM with four
    assert [float(value) for value in means if "." in value][: len(shown)] == pytest.approx(shown, abs=0.0051)
    assert f"{answer['locality']['pixels']} pixels whose rays miss all regions: 0" in text


def test_without_layers_and_smaller(tiny_folder, capsys):
    words = ["eval", str(tiny_folder / "scene"), "--split", "train", "--scale", "0.5", "--json"]
    assert main(words) == 0
    answer = json.loads(capsys.readouterr().out)
    assert len(answer["views"]) == 12 and "locality" not in answer and "edited" not in answer["mean"]
    assert answer["mean"]["base"]["psnr"] > 20  # the tiny base knows its scene


def test_without_object_masks_nothing_is_said_of_the_object(scene, tiny_folder, capsys):
    assert main(["eval", str(scene), "--truth", str(tiny_folder / "capture" / "truth"), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert "in_object" in answer["left_out"] and "in_object" not in answer["mean"]["edited"]
    assert "whole" in answer["mean"]["edited"]
