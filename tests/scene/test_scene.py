"""The scene folder: what can be done to layers, and what a scene survives."""

import errno
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import tiny
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nerf_insert.capture.capture import Capture
from nerf_insert.errors import InputError, RunError
from nerf_insert.scene import scene as scene_module
from nerf_insert.scene.scene import FORMAT, LayerEntry, Scene

CAPTURE = {"path": "/nowhere/capture", "relative": "../capture", "dataparser": None, "downscale": None}


@pytest.fixture
def empty(tmp_path):
    """A scene without layers, base or capture, for what needs none of them."""
    return empty_scene(tmp_path / "scene")


def empty_scene(folder):
    folder.mkdir(parents=True)
    (folder / "scene.json").write_text(
        json.dumps({"format": FORMAT, "capture": CAPTURE, "layers": [], "history": []})
    )
    return folder


def entries(names="abc"):
    return [LayerEntry(f"{k:03d}-{name}", name) for k, name in enumerate(names, 1)]


def filled(folder, names="abc"):
    scene = Scene.open(folder)
    for entry in entries(names):
        scene.add(entry)
    return scene


# --- laws


CHANGES = {
    "add": lambda s: s.add(LayerEntry("009-new", "new")),
    "disable": lambda s: s.enable(2, False),
    "remove": lambda s: s.remove(1),
    "move up": lambda s: s.move(1, 3),
    "move down": lambda s: s.move(3, 2),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_undo_takes_every_change_back(empty, change):
    scene = filled(empty)
    before = list(scene.layers)
    change(scene)
    changed = list(scene.layers)
    assert changed != before and Scene.open(empty).layers == changed
    scene.undo()
    assert scene.layers == before and Scene.open(empty).layers == before


def test_what_each_change_does(empty):
    a, b, c = entries()
    scene = filled(empty)
    assert scene.layers == [a, b, c]
    assert scene.enable(2, False) == replace(b, enabled=False) == scene.layers[1]
    assert scene.enable(2) == b and scene.layers == [a, b, c]
    assert scene.move(1, 3) == a and scene.layers == [b, c, a]
    assert scene.move(3, 1) == a and scene.layers == [a, b, c]
    assert scene.move(2, 2) == b and scene.layers == [a, b, c]
    assert scene.remove(2) == b and scene.layers == [a, c]


def test_what_changes_nothing_is_no_change(empty):
    scene = filled(empty)
    scene.enable(2)
    scene.move(2, 2)
    scene.undo()
    assert [entry.name for entry in scene.layers] == ["a", "b"]  # what was undone is the adding of c


operations = st.one_of(
    st.tuples(st.just("add"), st.sampled_from("xyz")),
    st.tuples(st.sampled_from(["enable", "disable", "remove"]), st.integers(1, 4)),
    st.tuples(st.just("move"), st.tuples(st.integers(1, 4), st.integers(1, 4))),
    st.tuples(st.just("undo"), st.none()),
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(operations, max_size=15))
def test_any_sequence_of_changes(tmp_path_factory, steps):
    """Beside a list of lists, whose last is the stack as it is. Opened anew after every change."""
    folder = empty_scene(tmp_path_factory.mktemp("scenes") / "scene")
    states = [[]]
    for number, (what, argument) in enumerate(steps):
        scene, now = Scene.open(folder), list(states[-1])
        try:
            if what == "add":
                now.append(LayerEntry(f"{number:03d}-{argument}", argument))
                scene.add(now[-1])
            elif what == "move":
                start, to = argument
                scene.move(start, to)
                now.insert(to - 1, now.pop(start - 1))
            elif what == "remove":
                scene.remove(argument)
                now.pop(argument - 1)
            elif what == "undo":
                scene.undo()
                states.pop()
            else:
                scene.enable(argument, what == "enable")
                now[argument - 1] = replace(now[argument - 1], enabled=what == "enable")
        except InputError as error:
            assert "nothing to undo" in str(error) or "has no layer" in str(error)
            assert what == "undo" or max(argument if what == "move" else (argument,)) > len(states[-1])
            assert what != "undo" or len(states) == 1
        else:
            if what != "undo" and now != states[-1]:
                states.append(now)
        assert scene.layers == states[-1] == Scene.open(folder).layers
    while len(states) > 1:
        states.pop()
        Scene.open(folder).undo()
        assert Scene.open(folder).layers == states[-1]
    with pytest.raises(InputError, match="nothing to undo"):
        Scene.open(folder).undo()


@pytest.mark.parametrize("number", [0, 4, -1])
def test_a_layer_that_is_not_there(empty, number):
    scene = filled(empty)
    for change in (scene.enable, scene.remove, lambda n: scene.move(n, 1), lambda n: scene.move(1, n)):
        with pytest.raises(InputError, match=rf"has no layer {number}: it has 3"):
            change(number)
    assert Scene.open(empty).layers == entries()


def test_history_is_not_endless(empty, monkeypatch):
    monkeypatch.setattr(scene_module, "UNDO_DEPTH", 5)
    scene = filled(empty, "abcdefgh")
    for _ in range(5):
        scene.undo()
    assert len(scene.layers) == 3
    with pytest.raises(InputError, match="nothing to undo"):
        scene.undo()


def test_folders_are_never_used_twice(empty):
    """Not even those of layers that were removed: undoing brings them back."""
    scene = Scene.open(empty)
    names = []
    for name in ("A Chair!", "a chair", "../../etc/passwd", "", "ß" * 300, "x" * 300):
        folder = scene.new_layer_folder(name)
        assert folder.parent == empty / "layers" and len(folder.name) < 50
        folder.mkdir(parents=True)
        names.append(folder.name)
        scene.add(LayerEntry(folder.name, name))
        scene.remove(1)
    assert names == [
        *("001-a-chair", "002-a-chair", "003-etc-passwd", "004-edit", "005-edit"),
        "006-" + "x" * 40,
    ]
    assert scene.known_folders() == set(names)


# --- with a base and layers


def test_layers_survive_reopening_and_show_what_they_showed(scene_folder):
    tiny.tiny_layer(scene_folder)
    tiny.tiny_layer(scene_folder, center=(0.0, 0.0, 0.3), size=(0.6, 0.6, 0.6), name="over the ball")
    camera = Scene.open(scene_folder).capture.test[0].camera

    def shown(scene, **how):
        return scene.stack(**how).render_image(camera).rgb

    scene = Scene.open(scene_folder)
    both, bare = shown(scene), shown(scene, with_layers=False)
    assert torch.equal(shown(Scene.open(scene_folder)), both) and not torch.equal(both, bare)
    scene.enable(1, False)
    second = shown(Scene.open(scene_folder))
    scene.remove(1)
    assert torch.equal(shown(Scene.open(scene_folder)), second)  # off is the same as not there
    assert not torch.equal(second, both) and not torch.equal(second, bare)
    scene.remove(1)
    assert torch.equal(shown(Scene.open(scene_folder)), bare)
    for _ in range(3):
        scene.undo()
    assert torch.equal(shown(Scene.open(scene_folder)), both)


def test_a_scene_and_its_capture_can_move_together(tiny_folder, tmp_path):
    there = Path(shutil.copytree(tiny_folder, tmp_path / "there"))
    shutil.rmtree(there / "scene")
    base = Scene.open(tiny_folder / "scene").base
    Scene.create(there / "scene", Capture.load(there / "capture"), base)
    assert Scene.open(there / "scene").capture.path == there / "capture"
    elsewhere = tmp_path / "else" / "where"
    elsewhere.parent.mkdir()
    there.rename(elsewhere)
    assert Scene.open(elsewhere / "scene").capture.path == elsewhere / "capture"
    link = tmp_path / "link"
    link.symlink_to(elsewhere / "scene")
    assert Scene.open(link).capture.path == elsewhere / "capture"
    (elsewhere / "capture").rename(tmp_path / "lost")
    with pytest.raises(InputError, match=r"is not at .* any more: move it back"):
        _ = Scene.open(elsewhere / "scene").capture


def test_a_scene_made_through_a_link_finds_its_capture(tiny_folder, tmp_path):
    """The way from the scene to the capture is that of the real folders."""
    (tmp_path / "disk" / "deep").mkdir(parents=True)
    shutil.copytree(tiny_folder / "capture", tmp_path / "disk" / "capture")
    (tmp_path / "link").symlink_to(tmp_path / "disk" / "deep")
    base = Scene.open(tiny_folder / "scene").base
    Scene.create(tmp_path / "link" / "scene", Capture.load(tmp_path / "disk" / "capture"), base)
    (tmp_path / "disk").rename(tmp_path / "other")
    found = Scene.open(tmp_path / "other" / "deep" / "scene").capture
    assert found.path == tmp_path / "other" / "capture"


def test_a_scene_is_not_written_over(tiny_folder, scene_folder, tmp_path):
    scene = Scene.open(scene_folder)
    before = (scene_folder / "scene.json").read_bytes()
    with pytest.raises(InputError, match="already holds a scene"):
        Scene.create(scene_folder, scene.capture, scene.base)
    assert (scene_folder / "scene.json").read_bytes() == before
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="is a file: choose a folder"):
        Scene.create(tmp_path / "file", scene.capture, scene.base)
    own = tmp_path / "own" / "base" / "base.safetensors"
    own.parent.mkdir(parents=True)
    own.write_text("somebody's")
    with pytest.raises(InputError, match="base holds something else than a scene's base"):
        Scene.create(tmp_path / "own", scene.capture, scene.base)
    assert own.read_text() == "somebody's"


def test_the_base_is_where_scene_json_says(scene_folder):
    """Or, as the first scenes did not say it, in its usual place; they say it from their next change on."""
    file = scene_folder / "scene.json"
    data = json.loads(file.read_text())
    assert data.pop("base") == "base/base.safetensors"
    file.write_text(json.dumps(data))
    Scene.open(scene_folder).add(LayerEntry("001-a", "a"))
    assert json.loads(file.read_text())["base"] == "base/base.safetensors"
    weights = Scene.open(scene_folder).base.state_dict()
    (scene_folder / "base" / "base.safetensors").rename(scene_folder / "base" / "other.safetensors")
    file.write_text(json.dumps({**data, "base": "base/other.safetensors"}))
    moved = Scene.open(scene_folder)
    assert all(torch.equal(value, weights[key]) for key, value in moved.base.state_dict().items())
    moved.add(LayerEntry("002-b", "b"))
    assert json.loads(file.read_text())["base"] == "base/other.safetensors"


# --- what is no scene


def test_a_newer_format_is_refused(empty):
    data = json.loads((empty / "scene.json").read_text())
    (empty / "scene.json").write_text(json.dumps({**data, "format": 4, "layers": "of a kind unknown to us"}))
    with pytest.raises(InputError, match=r"newer NeRF-Insert \(format 4, this one reads up to 3\): update"):
        Scene.open(empty)


def test_format_1_is_opened_and_written_as_format_3(empty):
    file = empty / "scene.json"
    old = json.dumps({**json.loads(file.read_text()), "format": 1})
    file.write_text(old)
    scene = Scene.open(empty)
    assert file.read_text() == old  # opening changes nothing
    scene.add(LayerEntry("001-a", "a"))
    assert json.loads(file.read_text())["format"] == 3
    assert [entry.name for entry in Scene.open(empty).layers] == ["a"]


LAYER = {"folder": "001-a", "name": "a", "enabled": True}
DAMAGE = {
    "empty": "",
    "cut off": '{"format": 1, "capture": {"pa',
    "a list": "[]",
    "text": '"scene"',
    "without a format": {"format": None},
    "format true": {"format": True},
    "format zero": {"format": 0},
    "without a capture": {"capture": None},
    "capture in words": {"capture": "fox"},
    "capture at a number": {"capture": {"path": 3, "relative": "x", "dataparser": None}},
    "base at a number": {"base": 3},
    "base elsewhere": {"base": "../other/base.safetensors"},
    "base on another disk": {"base": "/base.safetensors"},
    "layers in words": {"layers": "none"},
    "layers in numbers": {"layers": 3},
    "layers by name": {"layers": {"a": LAYER}},
    "layer without a folder": {"layers": [{"name": "a", "enabled": True}]},
    "layer of more": {"layers": [{**LAYER, "opacity": 0.5}]},
    "layer on in words": {"layers": [{**LAYER, "enabled": "yes"}]},
    "layer elsewhere": {"layers": [{**LAYER, "folder": "../../other"}]},
    "layer above": {"layers": [{**LAYER, "folder": ".."}]},
    "layer nowhere": {"layers": [{**LAYER, "folder": ""}]},
    "layer named by a number": {"layers": [{**LAYER, "name": 3}]},
    "history in words": {"history": "long"},
    "history of layers": {"history": [LAYER]},
    "without a history": {"history": None},
}


@pytest.mark.parametrize("how", DAMAGE)
def test_a_damaged_scene_is_named(empty, how):
    change = DAMAGE[how]
    data = json.loads((empty / "scene.json").read_text())
    (empty / "scene.json").write_text(change if isinstance(change, str) else json.dumps({**data, **change}))
    with pytest.raises(InputError, match=r"scene\.json"):
        Scene.open(empty)


def test_what_is_no_scene_folder(tmp_path, capture_folder):
    with pytest.raises(InputError, match="there is no scene folder"):
        Scene.open(tmp_path / "gone")
    with pytest.raises(InputError, match="it looks like a capture: train it first"):
        Scene.open(capture_folder)
    (tmp_path / "plain").mkdir()
    with pytest.raises(InputError, match=r"it has no scene\.json$"):
        Scene.open(tmp_path / "plain")
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="there is no scene folder"):
        Scene.open(tmp_path / "file")


def test_a_layer_whose_files_are_gone_is_named(scene_folder):
    entry = tiny.tiny_layer(scene_folder)
    scene = Scene.open(scene_folder)
    (scene.layer_folder(entry) / "field.safetensors").unlink()
    with pytest.raises(InputError, match=r"001-haze/field\.safetensors"):
        scene.stack()
    (scene.layer_folder(entry) / "region" / "region.json").write_text('{"kind": ["box"]}')
    with pytest.raises(InputError, match="001-haze/region is damaged"):
        scene.stack()
    scene.enable(1, False)
    assert scene.stack().layers == ()  # a broken layer can be switched off


# --- two at once, and disks that fail


def test_two_editors(empty):
    mine, yours = filled(empty), Scene.open(empty)
    with mine.locked():
        with pytest.raises(InputError, match="another NeRF-Insert is working on"), yours.locked():
            pytest.fail("both got in")
        mine.remove(1)
    with yours.locked():  # opened before the first one made its change, which must not be lost
        assert [entry.name for entry in yours.layers] == ["b", "c"]
        yours.remove(1)
    assert [entry.name for entry in Scene.open(empty).layers] == ["c"]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EIO])
@pytest.mark.parametrize("broken", ["replace", "fsync"])
@pytest.mark.parametrize("change", [*CHANGES.values(), Scene.undo], ids=[*CHANGES, "undo"])
def test_a_failing_disk_changes_nothing(empty, monkeypatch, change, broken, code):
    scene = filled(empty)
    before, layers = (empty / "scene.json").read_bytes(), list(scene.layers)

    def fail(*arguments, **options):
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        patch.setattr(os, broken, fail)
        with pytest.raises(RunError, match="nothing that was there has been changed"):
            change(scene)
    assert (empty / "scene.json").read_bytes() == before and scene.layers == layers
    assert [path.name for path in empty.iterdir()] == ["scene.json"]
    change(scene)  # once there is room again
    assert scene.layers == Scene.open(empty).layers != layers


def test_a_folder_that_cannot_be_locked(empty, monkeypatch):
    def refuse(*arguments, **options):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    scene = Scene.open(empty)
    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(RunError, match="cannot write into"), scene.locked():
        pytest.fail("it was locked")


def test_its_coordinates_stay_when_another_origin_would_be_chosen(scene_folder, monkeypatch):
    centers = [view.camera.center for view in Scene.open(scene_folder).capture.views]
    monkeypatch.setattr("nerf_insert.capture.dataparsers.choose_origin", lambda _: (1.0, 2.0, 3.0))
    scene = Scene.open(scene_folder)
    assert scene.capture.origin == (0.0, 0.0, 0.0)
    assert all(torch.equal(v.camera.center, c) for v, c in zip(scene.capture.views, centers, strict=True))
