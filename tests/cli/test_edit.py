"""`edit` and `preview` with an inpainter of one's own: the whole way from flags to a layer."""

import json

import pytest
import torch

from nerf_insert.cli.main import main
from nerf_insert.io.files import read_tensors, read_yaml
from nerf_insert.io.images import read_image
from nerf_insert.regions import BoxRegion
from nerf_insert.scene.scene import Scene

OWN = """
import torch

class Green:
    rounds = 1

    def __init__(self, shade=1.0):
        self.shade = shade

    def inpaint(self, views, guide, *, strength, seed):
        return [torch.zeros_like(view.image).index_fill_(2, torch.tensor(1), self.shade) for view in views]
"""
BOX = ["--box", "0.5,-0.4,0.25,0.4,0.4,0.4", "--steps", "8"]


@pytest.fixture
def own(tmp_path, monkeypatch):
    """The dotted name of an inpainter in the current folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "green_paint.py").write_text(OWN)
    return ["--inpainter", "green_paint:Green"]


def edit(scene, capsys, *words, code=0):
    assert main(["edit", str(scene), *words, "--json"]) == code
    return json.loads(capsys.readouterr().out)


def test_an_edit_is_a_layer_and_is_not_repeated(scene_folder, own, capsys):
    words = [*BOX, *own, "--inpainter-option", "shade=0.5", "--seed", "11", "--name", "hedge"]
    first = edit(scene_folder, capsys, *words, "--save-recipe", "saved.yaml")
    assert first["made"] and (first["layer"], first["name"]) == (1, "hedge")
    recipe = read_yaml(scene_folder / "layers" / "001-hedge" / "recipe.yaml")
    assert (recipe["seed"], recipe["inpainter"], recipe["inpainter_options"]) == (11, own[1], {"shade": 0.5})
    assert recipe["schedule"]["steps"] == 8

    again = edit(scene_folder, capsys, "--recipe", "saved.yaml")
    assert not again["made"] and again["layer"] == 1
    forced = edit(scene_folder, capsys, "--recipe", "saved.yaml", "--force")
    assert forced["made"] and forced["layer"] == 2
    assert len(Scene.open(scene_folder).layers) == 2


def test_the_replayed_recipe_of_a_layer_is_the_same_edit(scene_folder, own, capsys):
    edit(scene_folder, capsys, *BOX, *own)
    folder = scene_folder / "layers" / "001-edit"
    weights = read_tensors(folder / "field.safetensors")[0]
    main(["layers", str(scene_folder), "remove", "1"])
    capsys.readouterr()
    edit(scene_folder, capsys, "--recipe", str(folder / "recipe.yaml"), "--force")
    layer = Scene.open(scene_folder).layers[-1]
    repeated = read_tensors(scene_folder / "layers" / layer.folder / "field.safetensors")[0]
    assert layer.folder != folder.name and weights.keys() == repeated.keys()
    assert all(torch.equal(weights[key], repeated[key]) for key in weights)


def test_preview_paints_and_leaves_the_scene_alone(scene_folder, own, capsys, tmp_path):
    before = (scene_folder / "scene.json").read_bytes()
    out = tmp_path / "look"
    assert main(["preview", str(scene_folder), *BOX, *own, "--out", str(out), "--paint", "2", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["ok"] and answer["out"] == str(out)
    assert (out / "sheet.png").is_file()
    scene = Scene.open(scene_folder)
    region = BoxRegion([0.5, -0.4, 0.25], [0.4, 0.4, 0.4])
    assert answer["photographs"] == len(list((out / "masks").iterdir())) == 14
    for view in scene.capture.views:
        mask = read_image(out / "masks" / view.path.name)[0][..., 0] > 0.5
        seen = region.project(view.camera)
        assert not (mask & ~seen).any()  # some of it is hidden by the floor and the ball
        assert answer["shares"][view.name] == pytest.approx(float(mask.float().mean()))
        assert mask.any()
    painted = sorted(path.name for path in (out / "painted").iterdir())
    assert painted == sorted(name.split("/")[1] for name in answer["painted"]) and len(painted) == 2
    for name in painted:
        mask = read_image(out / "masks" / name)[0][..., 0] > 0.5
        picture, photograph = (
            read_image(path)[0] for path in (out / "painted" / name, scene.capture.view(name).path)
        )
        assert torch.equal(picture[~mask], photograph[~mask])
        assert (picture[mask] == torch.tensor([0.0, 1.0, 0.0])).all()
    assert (scene_folder / "scene.json").read_bytes() == before
    assert not (scene_folder / "layers").exists()
