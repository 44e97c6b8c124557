"""`layers`: what it shows is what the scene does."""

import json

import tiny
import torch

from nerf_insert.cli.main import main
from nerf_insert.scene.scene import Scene


def layers(scene_folder, capsys, *words):
    assert main(["layers", str(scene_folder), *words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)["layers"]


def names(rows):
    return [row["name"] for row in rows]


def test_the_list_says_what_each_layer_is(scene_folder, capsys):
    assert layers(scene_folder, capsys) == []
    tiny.tiny_layer(scene_folder, name="Blue Ball")
    (row,) = layers(scene_folder, capsys)
    folder = scene_folder / "layers" / "001-blue-ball"
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    assert row == {
        "number": 1,
        "name": "Blue Ball",
        "enabled": True,
        "region": "box",
        "inpainter": "fill",
        "seed": 7,
        "bytes": size,
        "folder": str(folder),
    }
    assert main(["layers", str(scene_folder), "list"]) == 0
    head, line = capsys.readouterr().out.splitlines()
    assert head.split() == ["name", "region", "inpainter", "seed", "on", "disk"]
    assert line.split() == ["1", "Blue", "Ball", "on", "box", "fill", "7", f"{size / 1e6:.1f}", "MB"]


def test_changes_and_undo(scene_folder, capsys):
    for name in ("one", "two", "three"):
        tiny.tiny_layer(scene_folder, name=name)
    assert names(layers(scene_folder, capsys)) == ["one", "two", "three"]
    assert [row["enabled"] for row in layers(scene_folder, capsys, "disable", "2")] == [True, False, True]
    assert names(layers(scene_folder, capsys, "move", "3", "1")) == ["three", "one", "two"]
    assert names(layers(scene_folder, capsys, "remove", "2")) == ["three", "two"]
    assert names(layers(scene_folder, capsys, "undo")) == ["three", "one", "two"]
    assert names(layers(scene_folder, capsys, "rename", "2", "a red  hat")) == ["three", "a red hat", "two"]
    assert names(layers(scene_folder, capsys, "undo")) == ["three", "one", "two"]
    assert names(layers(scene_folder, capsys, "undo")) == ["one", "two", "three"]
    assert [row["enabled"] for row in layers(scene_folder, capsys, "undo")] == [True, True, True]
    assert [row["enabled"] for row in layers(scene_folder, capsys, "enable", "2")] == [True, True, True]


def test_a_disabled_layer_leaves_no_trace(scene_folder, capsys):
    camera = Scene.open(scene_folder).capture.test[0].camera
    before = Scene.open(scene_folder).stack().render_image(camera)
    tiny.tiny_layer(scene_folder)
    assert not torch.equal(Scene.open(scene_folder).stack().render_image(camera).rgb, before.rgb)
    layers(scene_folder, capsys, "disable", "1")
    after = Scene.open(scene_folder).stack().render_image(camera)
    assert all(torch.equal(a, b) for a, b in zip(after, before, strict=True))


def test_a_damaged_layer_does_not_hide_the_others(scene_folder, capsys):
    for name in ("one", "two"):
        tiny.tiny_layer(scene_folder, name=name)
    (scene_folder / "layers" / "001-one" / "recipe.yaml").unlink()
    one, two = layers(scene_folder, capsys)
    assert "recipe.yaml" in one["problem"] and "problem" not in two
    assert names(layers(scene_folder, capsys, "remove", "1")) == ["two"]


def test_a_scene_that_is_being_edited_is_not_changed(scene_folder, capsys):
    tiny.tiny_layer(scene_folder)
    with Scene.open(scene_folder).locked():
        assert main(["layers", str(scene_folder), "remove", "1"]) == 2
        assert "another NeRF-Insert is working on" in capsys.readouterr().err
        assert len(layers(scene_folder, capsys)) == 1  # looking is allowed
