"""A mesh edit and its shade layer: one change of the scene, switched and faded by itself, resumed alike."""

import shutil

import pytest
import torch

from nerf_insert import Schedule
from nerf_insert.cli.main import main
from nerf_insert.editing.api import edit, make_recipe
from nerf_insert.editing.loop import edit_steps
from nerf_insert.editing.session import light_nearby, prepare
from nerf_insert.errors import InputError, RunError
from nerf_insert.export.dataset import edited_photograph
from nerf_insert.fields.shade_layer import FILE
from nerf_insert.inpaint.mesh import inpainter as mesh_inpainter
from nerf_insert.lighting import kept_light
from nerf_insert.regions import BoxRegion
from nerf_insert.rendering.stack import LayerStack, hits
from nerf_insert.runtime.progress import SILENT
from nerf_insert.scene.scene import Scene

SHORT = Schedule(steps=40, rays=512)
SUN = {"light": {"direction": [1.0, 0.4, 1.2], "angle": 3, "key": [1, 1, 1], "sky": [0.3, 0.3, 0.3]}}


def recipe_of(capture, **changes):
    options = {"mesh": capture / "object.ply", "schedule": SHORT, "inpainter_options": SUN, "name": "ball"}
    return make_recipe(**{**options, **changes})


@pytest.fixture(scope="module")
def made(tiny_folder, tmp_path_factory):
    folder = shutil.copytree(tiny_folder / "scene", tmp_path_factory.mktemp("shaded") / "scene")
    edit(folder, recipe_of(tiny_folder / "capture"))
    return folder


@pytest.fixture
def scene(made, tmp_path):
    return Scene.open(shutil.copytree(made, tmp_path / "scene"))


def image(scene, stack=None):
    return (stack or scene.stack()).render_image(scene.capture.test[0].camera).rgb


def test_the_shadow_lies_below_the_object_and_both_are_one_change(scene):
    shade, ball = scene.layers
    assert (shade.folder, shade.shade_of, ball.shade_of) == ("001-ball-shade", "001-ball", None)
    assert (scene.layer_folder(shade) / FILE).stat().st_size < 4e6
    scene.undo()
    assert not scene.layers and not scene.can_undo


def test_pixels_whose_rays_miss_both_regions_keep_their_bits(scene):
    stack = scene.stack()
    for view in scene.capture.views:
        before = LayerStack(stack.base).render_image(view.camera).rgb
        missed = ~sum(hits(layer.region, view.camera.rays()) for layer in stack.layers).bool()
        after = stack.render_image(view.camera).rgb
        assert torch.equal(after.view(-1, 3)[missed], before.view(-1, 3)[missed])
        assert int(missed.sum()) > 50


def test_the_shadow_falls_away_from_the_light(scene):
    """The ball is at (0.5, -0.4, 0.25), the light in the direction (1, 0.4, 1.2)."""
    shade = scene.load_layer(scene.layers[0])
    under = torch.tensor([[0.5 - 0.25 / 1.2, -0.4 - 0.1 / 1.2, 0.0], [0.5 + 0.25, -0.4 + 0.2, 0.0]])
    dark, light = shade.ratio(under).mean(-1).tolist()
    assert dark < 0.6 and light > 0.75  # on the other side only some of the sky is hidden


def test_it_is_switched_faded_moved_and_undone_by_itself(scene):
    full, plain = image(scene), image(scene, LayerStack(scene.base))
    scene.enable(1, False)
    off = image(scene)
    assert not torch.equal(off, full)
    scene.undo()
    assert torch.equal(image(scene), full)
    scene.fade(1, 0.0)
    assert torch.equal(image(scene), off)
    scene.fade(1, 0.5)
    half = image(scene)
    assert float(off.sum()) > float(half.sum()) > float(full.sum())
    assert Scene.open(scene.folder).layers[0].strength == 0.5
    scene.undo(), scene.undo()
    assert torch.equal(image(scene), full)
    scene.move(1, 2)
    assert [entry.shade_of for entry in scene.layers] == [None, "001-ball"]
    assert not torch.equal(image(scene), plain)
    scene.undo()
    scene.enable(2, False)  # what is not there throws no shadow
    assert torch.equal(image(scene), plain)
    scene.undo()
    scene.remove(2)
    assert not scene.layers and torch.equal(image(scene), plain)
    scene.undo()
    scene.remove(1)
    assert [entry.name for entry in scene.layers] == ["ball"]
    assert torch.equal(image(scene), off)


def test_the_command_lists_and_fades_it(scene, capsys):
    assert main(["layers", str(scene.folder), "fade", "1", "0.25"]) == 0
    out = capsys.readouterr().out
    assert "on, 0.25" in out and "ball: shadow" in out
    assert main(["layers", str(scene.folder), "fade", "2", "0.25"]) == 2
    assert "no shade layer" in capsys.readouterr().err
    assert main(["layers", str(scene.folder), "fade", "1", "3"]) == 2
    assert "between 0 and 2" in capsys.readouterr().err
    assert main(["layers", str(scene.folder), "disable", "2"]) == 0
    assert "hidden" in capsys.readouterr().out


def test_an_edit_that_stopped_goes_on_to_the_same_bytes(made, tiny_folder, tmp_path):
    scene = Scene.open(shutil.copytree(tiny_folder / "scene", tmp_path / "scene"))
    running = edit_steps(scene, recipe_of(tiny_folder / "capture"))
    for _ in range(6):  # some painting, some fitting
        next(running)
    running.close()
    kept = scene.folder / "layers" / "001-ball-shade" / FILE
    assert kept.exists() and not scene.layers
    edit(scene, recipe_of(tiny_folder / "capture"))
    for name in (f"001-ball-shade/{FILE}", "001-ball/field.safetensors"):
        assert (scene.folder / "layers" / name).read_bytes() == (made / "layers" / name).read_bytes()
    assert [entry.folder for entry in scene.layers] == ["001-ball-shade", "001-ball"]
    assert edit(scene, recipe_of(tiny_folder / "capture")) == scene.layers[-1]  # nothing is left to do
    assert len(scene.layers) == 2


def test_without_a_shadow_there_is_one_layer(tiny_folder, tmp_path):
    scene = Scene.open(shutil.copytree(tiny_folder / "scene", tmp_path / "scene"))
    edit(scene, recipe_of(tiny_folder / "capture", shadow="none"))
    assert [entry.folder for entry in scene.layers] == ["001-ball"]
    with pytest.raises(InputError, match="shadow"):
        recipe_of(tiny_folder / "capture", shadow={"kind": "hard"})


def test_an_exported_photograph_is_darkened_and_stays_as_sharp(scene):
    """Where only the light changes it is the photograph, not the render, that is multiplied."""
    stack, view = scene.stack(), scene.capture.train[0]
    edited = edited_photograph(stack, view)
    picture, mask = edited.image, edited.mask
    rays = view.camera.rays()
    shade, ball = (hits(layer.region, rays).view(mask.shape) for layer in stack.layers)
    only = mask & shade & ~ball
    ratio = picture[only] / view.photograph()[only].clamp_min(1e-3)
    assert int(only.sum()) > 20 and float(ratio.mean()) < 0.99
    assert torch.equal(picture[~mask], view.photograph()[~mask])


@pytest.mark.usefixtures("coarse_light")
def test_a_later_edit_of_the_place_has_the_light_of_the_first(scene, tiny_folder, monkeypatch):
    def estimated(*_):
        raise AssertionError("the light is known")

    monkeypatch.setattr(mesh_inpainter, "find_light", estimated)
    moved = [[1, 0, 0, 0.15], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]  # less than the ball's diagonal
    later = recipe_of(tiny_folder / "capture", inpainter_options={}, name="later", pose=moved)
    session = prepare(scene, later, SILENT)
    (sun,) = session.inpainter.light_here.light.keys
    assert sun.irradiance.tolist() == SUN["light"]["key"]
    toward = torch.tensor(SUN["light"]["direction"])
    assert torch.allclose(sun.direction, toward / toward.norm(), atol=1e-6)
    assert session.light.distance(session.region.bounds.mean(0), session.region.diagonal) > 0.1

    with pytest.raises(RunError, match="is known"):
        prepare(scene, recipe_of(tiny_folder / "capture", inpainter_options={"light": "anew"}), SILENT)


def test_other_places_and_hidden_layers_have_other_light(scene):
    at, size = torch.tensor([0.5, -0.4, 0.25]), 1.07  # of the box around the ball
    assert light_nearby(scene, BoxRegion(at, [0.4] * 3)) is not None
    assert light_nearby(scene, BoxRegion(at + torch.tensor([size + 0.1, 0, 0]), [0.1] * 3)) is None
    scene.enable(2, False)
    assert light_nearby(scene, BoxRegion(at, [0.4] * 3)) is None
    scene.enable(2)
    file = scene.layer_folder(scene.layers[1]) / kept_light.FILE
    file.write_text(file.read_text().replace("irradiance", "irritation"))
    with pytest.raises(InputError, match=r"001-ball/light\.json is damaged.*irritation"):
        light_nearby(scene, BoxRegion(at, [0.4] * 3))
