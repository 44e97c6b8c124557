"""Every script in examples/ runs, with small settings, on the tiny capture."""

import importlib.util
import json
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from nerf_insert import Scene, Schedule
from nerf_insert.io.images import read_image, write_image

pytestmark = pytest.mark.usefixtures("coarse_light")

EXAMPLES = Path(__file__).parents[2] / "examples"
TESTED_ELSEWHERE = ("07_drive_the_page",)  # in tests/app, with a running page
FEW_RAYS = Schedule(rays=1024)  # of 48 x 36 pixels a step sees enough with a quarter of the usual number


def load(name, monkeypatch):
    """Import an example as a module of its file's name."""
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, module)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def places(tiny_folder, scene_folder, tmp_path):
    """Where the tiny capture and a copy of the tiny scene are."""
    return {"capture": tiny_folder / "capture", "folder": scene_folder, "out": tmp_path / "out"}


@pytest.fixture
def masks(places, tmp_path):
    """Masks of the red ball of the tiny capture, on three photographs."""
    for name in ("000", "004", "008"):
        photograph = read_image(places["capture"] / "images" / f"{name}.png")[0]
        red = photograph[..., 0] - photograph[..., 1:].amax(-1) > 0.35
        write_image(tmp_path / "masks" / f"{name}.png", red)
    return tmp_path / "masks"


def test_every_example_is_tested():
    source = Path(__file__).read_text()
    names = [path.stem for path in sorted(EXAMPLES.glob("*.py"))]
    assert [int(name[:2]) for name in names] == [*range(len(names))]
    assert all(f'"{name}"' in source for name in names)


@pytest.mark.parametrize("name", [path.stem for path in sorted(EXAMPLES.glob("*.py"))])
def test_examples_say_what_they_are_and_how_to_start_them(name):
    text = (EXAMPLES / f"{name}.py").read_text()
    docstring = text.split('"""')[1]
    assert f"python examples/{name}.py" in docstring
    if name not in TESTED_ELSEWHERE:
        assert any(word in docstring for word in ("minute", "second"))  # how long it takes


def test_open_a_scene(places, monkeypatch, capsys):
    load("00_open_a_scene", monkeypatch).main(**places)
    assert "0 layers" in capsys.readouterr().out
    assert (places["out"] / "003.png").exists() and (places["out"] / "depth" / "units.json").exists()


@pytest.mark.slow
def test_open_a_scene_trains_one_from_the_command_line(places, tmp_path):
    folder, script = tmp_path / "new", EXAMPLES / "00_open_a_scene.py"
    flags = {"capture": places["capture"], "folder": folder, "out": places["out"], "train-steps": 3}
    words = [str(word) for name, value in flags.items() for word in (f"--{name}", value)]
    subprocess.run([sys.executable, str(script), *words], check=True, cwd=tmp_path)
    assert Scene.open(folder).layers == []


@pytest.mark.slow
def test_insert_a_mesh(places, monkeypatch, capsys):
    capture = places["capture"]
    example = load("01_insert_a_mesh", monkeypatch)
    monkeypatch.setattr(example, "make_recipe", partial(example.make_recipe, schedule=FEW_RAYS))
    example.main(
        **places,
        mesh=capture / "object.ply",
        truth=capture / "truth",
        object_mask=capture / "object_mask",
        steps=150,
    )
    said = capsys.readouterr().out
    base, edited = (float(said.split(f"{which}: ")[1].split()[0]) for which in ("base", "edited"))
    assert edited > base + 3
    assert "largest change outside the region: 0\n" in said
    assert (places["out"] / "sheet.png").exists()


@pytest.mark.slow
def test_remove_with_masks(places, masks, monkeypatch):
    example = load("02_remove_with_masks", monkeypatch)
    monkeypatch.setattr(example, "edit", partial(example.edit, schedule=FEW_RAYS))
    example.main(**places, masks=masks, steps=40)
    before, after = (read_image(places["out"] / when / "003.png")[0] for when in ("before", "after"))
    changed = (before - after).abs().amax(-1) > 0.1
    assert 0.005 < float(changed.float().mean()) < 0.3


@pytest.mark.slow
def test_own_inpainter(places, monkeypatch):
    example = load("03_own_inpainter", monkeypatch)
    example.main(**places, center=(0, 0, 0.3), size=(0.6, 0.6, 0.6), steps=40)
    scene = Scene.open(places["folder"])
    (layer,) = scene.layers
    assert "03_own_inpainter:Recolor" in (scene.layer_folder(layer) / "recipe.yaml").read_text()
    assert (places["out"] / "003.png").exists()


@pytest.mark.slow
def test_layers(places, monkeypatch, capsys):
    shutil.rmtree(places["folder"] / "layers", ignore_errors=True)
    places.pop("out")
    example = load("04_layers", monkeypatch)
    monkeypatch.setattr(example, "edit", partial(example.edit, schedule=FEW_RAYS))
    example.main(**places, mesh=places["capture"] / "object.ply", steps=20)
    said = capsys.readouterr().out
    assert "identical: True" in said and "refused: the region lies outside the scene" in said
    assert "undo: two, the first\n" in said


def test_camera_path(places, monkeypatch):
    load("05_camera_path", monkeypatch).main(**places, frames=3)
    names = sorted(path.name for path in places["out"].iterdir())
    assert names == ["before.mp4", "flight.mp4", "orbit.mp4"]


@pytest.mark.slow
def test_sweep_over_seeds(places, masks, monkeypatch):
    capture, example = places["capture"], load("06_sweep_over_seeds", monkeypatch)
    # Three edits: without the shadow, which 02 takes back.
    quick = partial(example.make_recipe, shadow="none", schedule=FEW_RAYS)
    monkeypatch.setattr(example, "make_recipe", quick)
    example.main(
        **places, masks=masks, truth=capture / "truth", object_mask=capture / "object_mask", steps=20
    )
    scores = json.loads((places["out"] / "scores.json").read_text())
    assert [*scores] == ["0", "1"]
    assert [entry.name for entry in Scene.open(places["folder"]).layers] == ["removed"]
