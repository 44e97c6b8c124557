"""Accidents: kill -9 at chosen moments, Ctrl-C, disks that fill. The same command then goes on, and ends with
the same bytes as one that nothing happened to."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import tiny
from mortal import Nursery

from nerf_insert.cli.main import main
from nerf_insert.io.locks import only_writer

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and SIGKILL")

KILL = {"signal": 9}
EDIT_MOMENTS = [  # (what has just happened, before or after what file and how many like it)
    ("the folder has a name and nothing else", "after", "*/work.json", 1),
    ("the region is written", "before", "*/region.json", 1),
    ("painting the anchors", "before", "*/painted/*.png", 3),
    ("painted, no step of the fit is kept", "before", "*/checkpoint.safetensors", 1),
    ("fitting", "after", "*/checkpoint.safetensors", 2),
    ("the first round is done", "after", "*/round-0.safetensors", 1),
    ("painting the others", "before", "*/painted/*.png", 2),
    ("fitting the second round", "after", "*/checkpoint.safetensors", 2),
    ("its corrections and its record are kept", "after", "*/round-1.json", 1),
    ("the layer is written, not in the scene", "after", "*/field.safetensors", 1),
    ("scene.json is written", "before", "*/scene.json", 1),
    ("all is done but saying so", "after", "*/scene.json", 1),
]
TRAIN_MOMENTS = [
    ("nothing is kept yet", "before", "*/checkpoint.safetensors", 1),
    ("training", "after", "*/checkpoint.safetensors", 3),
    ("the base is written", "before", "*/base.safetensors", 1),
    ("the base is written, not the scene", "after", "*/base.safetensors", 1),
    ("scene.json is written", "before", "*/scene.json", 1),
]


@pytest.fixture(scope="module")
def nursery(tmp_path_factory):
    with Nursery(tmp_path_factory.mktemp("nursery")) as nursery:
        yield nursery


@pytest.fixture(scope="module")
def edited(nursery, tiny_folder, tmp_path_factory):
    """The tiny scene after the edit of `editing`, which nothing happened to."""
    scene = shutil.copytree(tiny_folder / "scene", tmp_path_factory.mktemp("edited") / "scene")
    finishes(nursery, editing(scene))
    return scene


def editing(scene, *more):
    """Two rounds of a box that is painted green, the first of them of the anchors."""
    box = ["--box", "0.5,-0.4,0.25,0.4,0.4,0.4", "--inpainter", "painters:Quick"]
    return ["edit", scene, *box, "--rounds", "2", "--steps", "10", *more]


def training(tiny_folder, out):
    return ["train", tiny_folder / "capture", "--out", out, "--steps", "6", "--samples", "2048"]


def files(folder, *but):
    """What every file in a folder holds, by its name in there."""
    found = {str(path.relative_to(folder)): path for path in Path(folder).rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in found.items() if path.name not in but}


def finishes(nursery, words):
    ended = nursery.run(words)
    assert ended.code == 0, ended.err
    return ended


def killed_at(nursery, words, moments, stays):
    """Run the same command again and again, killed at one moment after the other; `stays` is looked at
    after every death."""
    for what, when, file, nth in moments:
        ended = nursery.run(words, KILL | {"when": when, "file": file, "nth": nth})
        assert ended.code == -signal.SIGKILL, f"{what}: {ended.code} {ended.err}"
        stays(what)


def test_an_edit_that_is_killed_again_and_again(nursery, edited, tiny_folder, scene_folder):
    before = (scene_folder / "scene.json").read_bytes()

    def scene_is_whole(what):
        layers = json.loads((scene_folder / "scene.json").read_text())["layers"]
        joined = what == EDIT_MOMENTS[-1][0]
        assert len(layers) == joined and (joined or (scene_folder / "scene.json").read_bytes() == before)

    killed_at(nursery, editing(scene_folder), EDIT_MOMENTS, scene_is_whole)
    assert json.loads(finishes(nursery, editing(scene_folder, "--json")).out)["made"] is False  # it was done
    assert files(scene_folder) == files(edited)  # nothing is left over either


@pytest.mark.parametrize("inpainter", ["mesh", "fill"])
def test_the_inpainters_of_ours_go_on(nursery, tiny_folder, scene_folder, tmp_path, inpainter):
    """They look at the whole scene first: that must come out the same in every process."""
    mesh = ["--mesh", tiny_folder / "capture" / "object.ply"]
    box = ["--box", "0.5,-0.4,0.25,0.5,0.5,0.5"]
    where = mesh if inpainter == "mesh" else box
    undisturbed = shutil.copytree(scene_folder, tmp_path / "undisturbed")
    words = [*where, "--inpainter", inpainter, "--steps", "6"]
    finishes(nursery, ["edit", undisturbed, *words])
    moment = ("fitting", "after", "*/checkpoint.safetensors", 3)
    killed_at(nursery, ["edit", scene_folder, *words], [moment], lambda what: None)
    assert "Resuming the edit" in finishes(nursery, ["edit", scene_folder, *words]).err
    assert files(scene_folder) == files(undisturbed)


def test_a_training_that_is_killed_again_and_again(nursery, tiny_folder, tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    finishes(nursery, training(tiny_folder, whole))

    def no_scene(what):
        assert not (killed / "scene.json").exists()

    killed_at(nursery, training(tiny_folder, killed), TRAIN_MOMENTS, no_scene)
    finishes(nursery, training(tiny_folder, killed))
    assert files(killed) == files(whole)


def test_two_trainings_of_one_scene(tiny_folder, tmp_path, capsys):
    with only_writer(tmp_path / "scene"):
        assert main([str(word) for word in training(tiny_folder, tmp_path / "scene")]) == 2
    assert "another NeRF-Insert is working on" in capsys.readouterr().err


def test_terminated_in_the_fit(nursery, edited, scene_folder):
    accident = {"signal": 15, "when": "after", "file": "*/checkpoint.safetensors", "nth": 2}
    ended = nursery.run(editing(scene_folder, "--json"), accident)
    assert ended.code == 130
    answer = json.loads(ended.out)
    assert answer["ok"] is False and "stopped" in answer["error"] and "same command again" in answer["error"]
    assert "Traceback" not in ended.err
    finishes(nursery, editing(scene_folder))
    assert files(scene_folder) == files(edited)


def test_interrupted_while_a_file_is_written(nursery, edited, scene_folder):
    ended = nursery.run(editing(scene_folder), {"signal": 2, "when": "before", "file": "*/scene.json"})
    assert ended.code == 130 and "Traceback" not in ended.err and ended.out == ""
    assert "nerf-insert edit: stopped" in ended.err and "same command again" in ended.err
    assert not list(scene_folder.rglob("*.tmp*"))
    finishes(nursery, editing(scene_folder))
    assert files(scene_folder) == files(edited)


@pytest.mark.parametrize("room", [200, 100_000])
def test_files_that_may_not_grow(nursery, edited, scene_folder, room):
    """Whichever of them is the first that is too large: the recipe, or the fit's checkpoint."""
    before = (scene_folder / "scene.json").read_bytes()
    ended = nursery.run(editing(scene_folder), limit=room)
    assert ended.code == 1 and "Traceback" not in ended.err and "bug" not in ended.err
    assert "File too large; nothing that was there has been changed" in ended.err
    assert (scene_folder / "scene.json").read_bytes() == before
    finishes(nursery, editing(scene_folder))
    assert files(scene_folder) == files(edited)


@pytest.fixture
def read_only_scene(scene_folder):
    """A scene with a layer that may be read and not changed."""
    tiny.tiny_layer(scene_folder)
    for path in [scene_folder, *scene_folder.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    yield scene_folder
    for path in [scene_folder, *scene_folder.rglob("*")]:
        path.chmod(0o755)


@pytest.mark.skipif(
    not getattr(os, "geteuid", int)() and sys.platform != "linux", reason="root may write anywhere"
)
def test_a_scene_that_may_not_be_changed(nursery, read_only_scene, tmp_path):
    before = files(read_only_scene)
    for words in (editing(read_only_scene), ["layers", read_only_scene, "disable", "1"]):
        ended = nursery.run(words, bound=True)
        assert ended.code == 1 and "check its permissions" in ended.err and "Traceback" not in ended.err
    preview = nursery.run(["preview", *editing(read_only_scene)[1:]], bound=True)
    assert preview.code == 2 and "check its permissions" in preview.err
    assert nursery.run(["layers", read_only_scene], bound=True).code == 0  # to look is allowed
    shown = ["render", read_only_scene, "--split", "test", "--scale", "0.5", "--out", tmp_path / "shown"]
    assert nursery.run(shown, bound=True).code == 0
    assert files(read_only_scene) == before


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 400 kB, where the system lets us have one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    try:
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", folder], capture_output=True
        )
    except OSError:
        pytest.skip("there is no mount")
    if mounted.returncode:
        pytest.skip("mounting is not allowed")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_disk_that_is_full(nursery, edited, tiny_folder, small_disk, tmp_path):
    """A training that finds no room, then has it and goes on."""
    out = small_disk / "scene"
    ended = nursery.run(training(tiny_folder, out))
    assert ended.code == 1 and "No space left on the disk" in ended.err and "make room" in ended.err
    assert "Traceback" not in ended.err and not (out / "scene.json").exists()
    subprocess.run(["mount", "-o", "remount,size=200m", small_disk], check=True)
    finishes(nursery, training(tiny_folder, out))
    finishes(nursery, training(tiny_folder, tmp_path / "roomy"))
    assert files(out, "scene.json") == files(tmp_path / "roomy", "scene.json")
