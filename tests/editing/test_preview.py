"""Previews: looks to choose from, each with a recipe that goes on from it."""

import json
from pathlib import Path

import painters
import pytest
import tiny
import torch

from nerf_insert.cli.main import main
from nerf_insert.editing.loop import edit
from nerf_insert.editing.preview import preview
from nerf_insert.io.images import read_image
from nerf_insert.runtime.progress import SILENT, Progress
from nerf_insert.scene.recipe import Recipe
from nerf_insert.scene.scene import Scene

BOX = {"box": {"center": [*tiny.OBJECT[:3]], "size": [0.56] * 3}}


@pytest.fixture(autouse=True)
def forgetful():
    painters.Green.calls.clear()


def wanted(inpainter="painters:Seeded", **more):
    schedule = {"steps": 6, "rays": 256}
    return Recipe.from_dict({"region": BOX, "inpainter": inpainter, "schedule": schedule, **more})


def test_looks_to_choose_from(scene_folder, tmp_path):
    """The views that the edit would paint first, in one call for each seed; the masks of all photographs."""
    scene, out = Scene.open(scene_folder), tmp_path / "looks"
    before = (scene_folder / "scene.json").read_bytes()
    data = preview(scene, wanted(), out, SILENT, seeds=[7, 2, 7])
    calls = painters.Green.calls
    assert [(len(call[0]), call[2], call[3]) for call in calls] == [(4, 1.0, 7), (4, 1.0, 2)]
    assert data["painted"] == [view.name for view in calls[0][0]] and list(data["looks"]) == [7, 2]
    assert len(list((out / "masks").iterdir())) == data["photographs"] == 14 and data["seen_by"] == 12
    assert (out / "sheet.png").exists() and (scene_folder / "scene.json").read_bytes() == before
    for seed in (7, 2):
        for view in calls[0][0]:
            picture, _ = read_image(out / f"seed-{seed}" / Path(view.name).name)
            shown, _ = read_image(out / "masks" / Path(view.name).name)
            inside = shown[..., 0] > 0.5
            assert bool((picture[inside] == painters.Seeded.color(seed)).all())  # one that a byte holds
            assert torch.equal(picture[~inside], view.original[~inside])
    painted = sorted(path.name for path in (out / "painted").iterdir())
    assert painted == sorted(Path(name).name for name in data["painted"])


def test_a_look_is_gone_on_from(scene_folder, tmp_path):
    """Its recipe keeps the seed and the pictures; they are not painted again."""
    scene = Scene.open(scene_folder)
    data = preview(scene, wanted(), tmp_path / "looks", SILENT, seeds=[7, 2])
    (tmp_path / "looks").rename(tmp_path / "moved")  # all of it lies together
    painters.Green.calls.clear()
    recipe = Recipe.load(tmp_path / "moved" / "seed-2" / "recipe.yaml")
    assert recipe.seed == 2 and list(recipe.approved) == data["painted"]
    entry = edit(scene, recipe, SILENT)
    again = [view.name for call in painters.Green.calls for view in call[0]]
    assert len(again) == 8 and not set(again) & set(data["painted"])
    first = scene.layer_folder(entry) / "painted" / "round-0"
    assert len(list(first.iterdir())) == 4
    for file in first.iterdir():
        given = tmp_path / "moved" / "seed-2" / file.name.partition("-")[2]
        assert torch.equal(read_image(file)[0], read_image(given)[0])


def test_each_seed_shows_what_an_edit_with_it_would(scene_folder, tmp_path):
    """Inpainters are prepared for each; where it makes no difference, that is said."""
    scene, told = Scene.open(scene_folder), Progress()
    warnings = []
    told.warn = warnings.append
    data = preview(scene, wanted("painters:Foresighted", seed=9), tmp_path, told, paint=1, seeds=[1, 2])
    for seed in (1, 2):
        picture, _ = read_image(tmp_path / f"seed-{seed}" / Path(data["painted"][0]).name)
        assert bool((picture == painters.Seeded.color(seed)).all(-1).any())
        assert Recipe.load(data["looks"][seed]).seed == seed
    assert not warnings
    preview(scene, wanted("painters:Green"), tmp_path, told, paint=1, seeds=[1, 2])
    assert warnings == ["the inpainter painters:Green paints the same with all of these seeds"]


def test_looks_of_other_seeds_stay(scene_folder, tmp_path):
    scene = Scene.open(scene_folder)
    (tmp_path / "painted").mkdir()
    (tmp_path / "painted" / "mine.png").write_bytes(b"mine")
    preview(scene, wanted(), tmp_path, SILENT, seeds=[1])
    preview(scene, wanted(), tmp_path, SILENT, seeds=[4], paint=2)
    assert len(list((tmp_path / "seed-1").iterdir())) == 5 and len(list((tmp_path / "seed-4").iterdir())) == 3
    assert (tmp_path / "painted" / "mine.png").read_bytes() == b"mine"
    assert len(list((tmp_path / "painted").iterdir())) == 3  # of the last one


def test_without_painting(scene_folder, tmp_path, monkeypatch):
    """The inpainter is not even prepared, which takes `fill` longer than drawing the masks."""
    monkeypatch.setattr(painters.Foresighted, "prepare", lambda self, context: pytest.fail("prepared"))
    data = preview(Scene.open(scene_folder), wanted("painters:Foresighted"), tmp_path, SILENT, paint=0)
    assert data["looks"] == {} and data["painted"] == [] and painters.Green.calls == []
    assert (tmp_path / "sheet.png").exists() and not list(tmp_path.glob("seed-*"))


def test_the_command_says_how_to_go_on(scene_folder, tmp_path, capsys):
    words = ["preview", str(scene_folder), "--box", "0.5,-0.4,0.25,0.56,0.56,0.56", "--inpainter"]
    words += ["painters:Seeded", "--out", str(tmp_path / "p"), "--seeds", "3,5", "--paint", "3"]
    assert main([*words, "--quiet"]) == 0
    said = capsys.readouterr().out
    for seed in (3, 5):
        file = tmp_path / "p" / f"seed-{seed}" / "recipe.yaml"
        assert f"nerf-insert edit {scene_folder} --recipe {file}" in said and file.exists()
    assert main([*words, "--json", "--quiet"]) == 0
    assert json.loads(capsys.readouterr().out)["looks"].keys() == {"3", "5"}
    assert main([*words[:-4], "--seeds", "3,-5"]) == 2


def test_a_click_on_the_command_line_gives_the_masks_of_all_photographs(scene_folder, tmp_path, capsys):
    capture = Scene.open(scene_folder).capture
    view = capture.train[2]
    x, y = view.camera.project(torch.tensor([tiny.BALL[:3]])).pixels[0].tolist()
    words = ["preview", str(scene_folder), "--point", f"{view.name}={x:.1f},{y:.1f}", "--paint", "0"]
    words += ["--shadow", "none"]  # which has no part in the masks
    assert main([*words, "--out", str(tmp_path), "--json"]) == 0
    files = json.loads(capsys.readouterr().out)["mask_files"]
    overlaps = []
    for view in capture.views:
        rays = view.camera.rays()
        toward = torch.tensor(tiny.BALL[:3]) - rays.origins
        off = toward.square().sum(-1) - (toward * rays.directions).sum(-1) ** 2
        ball = (off < tiny.BALL[3] ** 2).view(view.camera.height, view.camera.width)
        mask = read_image(files[view.name])[0][..., 0] > 0.5
        overlaps.append(float((ball & mask).sum() / (ball | mask).sum()))
    # a ball of about twelve pixels across: an outline that is off by a pixel costs a quarter
    assert len(files) == 14 and sum(overlaps) / len(overlaps) > 0.7
