"""The pages under docs/ say what is there: their examples run, and no field is left out."""

import json
import re
import shlex
import shutil
from dataclasses import fields
from pathlib import Path

import pytest
import torch
import yaml

from nerf_insert.cli.main import COMMANDS, main
from nerf_insert.io.images import read_image
from nerf_insert.regions.spec import KINDS
from nerf_insert.scene.recipe import FORMAT, GuideSpec, Recipe, Schedule
from nerf_insert.scene.recipe_formats import SCHEDULE_KEYS
from nerf_insert.scene.scene import LayerEntry, Scene

DOCS = Path(__file__).parents[2] / "docs"


def page(name):
    return (DOCS / name).read_text()


def blocks(name, language):
    """The fenced blocks of a language in a page."""
    return re.findall(rf"^```{language}\n(.*?)^```$", page(name), re.MULTILINE | re.DOTALL)


def commands(page):
    """The commands that a page shows, each as a list of words."""
    text = (DOCS / page).read_text().replace("\\\n", " ")
    return [
        shlex.split(line, comments=True)[1:]
        for line in re.findall(r"^    (nerf-insert .*)$", text, re.MULTILINE)
    ]


def test_an_inpainter_of_ones_own(scene_folder, tmp_path, monkeypatch, capsys):
    """The worked example, word for word: its file, then its commands, on a scene named as it is there."""
    (code,) = blocks("inpainters.md", "python")
    monkeypatch.chdir(tmp_path)
    Path("recolor.py").write_text(code)
    shutil.copytree(scene_folder, "my-scene")
    scene = Scene.open("my-scene")
    shown = [words for words in commands("inpainters.md") if "recolor:Recolor" in words]
    assert [words[0] for words in shown] == ["preview", "edit"]
    for words in shown:
        assert main([*words, "--json", *(["--steps", "40"] if words[0] == "edit" else [])]) == 0
        answer = json.loads(capsys.readouterr().out)
    assert answer["made"] and answer["name"] == "edit"
    (name,) = [path.name for path in Path("my-scene/preview/painted").iterdir()]
    mask = read_image(f"my-scene/preview/masks/{name}")[0][..., 0] > 0.5
    painted, photograph = (
        read_image(path)[0][mask].mean(0)
        for path in (f"my-scene/preview/painted/{name}", scene.capture.view(name).path)
    )
    red = photograph[0] / photograph.sum() - painted[0] / painted.sum()
    assert float(red) > 0.2  # the ball in the box is red, and teal has none of it
    view = scene.capture.test[0]
    region = Scene.open("my-scene").load_layer(Scene.open("my-scene").layers[0]).region
    inside = region.project(view.camera)
    before, after = (Scene.open("my-scene").stack(on).render_image(view.camera).rgb for on in (False, True))
    assert torch.equal(before[~inside], after[~inside])
    assert float(before[inside].mean(0)[0] - after[inside].mean(0)[0]) > 0.1

    wrong = [*shown[0][:2], *shown[0][2:]]
    wrong[wrong.index("teal")] = "a hedge"
    assert main(wrong) == 2 and "'a hedge' is no color: try --prompt teal" in capsys.readouterr().err
    assert main([*shown[0], "--inpainter-option", "amount=2"]) == 2
    assert "amount must be a number from 0 to 1" in capsys.readouterr().err


def test_every_field_of_a_recipe_is_explained():
    example, *regions = [yaml.safe_load(block) for block in blocks("recipes.md", "yaml")]
    recipe = Recipe.from_dict(example)
    assert set(example) == set(recipe.to_dict())
    assert recipe.deprecations == () and example["format"] == FORMAT
    assert set(example["guide"]) == {field.name for field in fields(GuideSpec)}
    assert set(example["schedule"]) == {field.name for field in fields(Schedule)}
    assert recipe.schedule == Schedule()  # what is shown is what counts if it is left out
    for region in regions:
        Recipe.from_dict({"region": region})
    assert {next(iter(region)) for region in regions} == {kind.keyword for kind in KINDS}
    names = {**SCHEDULE_KEYS, "centre": "center", "repaint: doubted": "repaint: inconsistent"}
    table = re.findall(
        r"^\| `(?:schedule|box)\.(.*)` \| `(?:schedule|box)\.(.*)` \|$", page("recipes.md"), re.M
    )
    assert dict(table) == names


def test_regions_in_python():
    (code,) = blocks("recipes.md", "python")
    made: dict = {}
    exec(code, made)
    assert [part.keyword for part in made["recipe"].region.region.union] == ["intersection", "masks"]


def test_every_key_of_scene_json_is_explained(scene_folder):
    (shown,) = map(json.loads, blocks("scene-folder.md", "json"))
    real = json.loads((scene_folder / "scene.json").read_text())
    assert shown.keys() == real.keys() and shown["capture"].keys() == real["capture"].keys()
    assert shown["layers"][0].keys() == {field.name for field in fields(LayerEntry)}
    table = set(re.findall(r"`([a-z.]+)`(?=[^|\n]* \| )", page("scene-folder.md")))
    assert {*real, *(f"capture.{key}" for key in real["capture"])} - {"capture"} <= table


@pytest.mark.parametrize("command", COMMANDS)
def test_every_flag_is_on_the_page_of_commands(command, capsys):
    main([command, "--help"])
    flags = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", capsys.readouterr().out)) - {"--help"}
    page = (DOCS / "command-line.md").read_text()
    assert {flag for flag in flags if not re.search(rf"`{flag}[ `=]", page)} == set()
