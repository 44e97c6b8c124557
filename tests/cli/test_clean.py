"""`clean` on the tiny scene: what it proposes, and the layer that it makes of it."""

import json

import pytest
import tiny
import torch

from nerf_insert.cli.main import main
from nerf_insert.editing import cleaning
from nerf_insert.regions.distance_grid import Lattice
from nerf_insert.scene.scene import Scene
from nerf_insert.selection.floaters import Floater, Floaters


@pytest.fixture
def found(monkeypatch):
    """The upper half of the ball, as if it hung in the air."""
    low, high = torch.tensor(tiny.BALL[:3]) - 0.3, torch.tensor(tiny.BALL[:3]) + 0.3
    lattice = Lattice.over(torch.stack([low, high]), 0.0, 20_000)
    points = lattice.points()
    ball = (points - torch.tensor(tiny.BALL[:3])).norm(dim=-1) < 0.28
    cells = (ball & (points[:, 2] > 0.3)).view(lattice.shape)
    one = Floater(torch.tensor([0.0, 0.0, 0.42]), 0.6, 6, 1)
    floaters = Floaters((one,), lattice, cells)
    monkeypatch.setattr(cleaning, "find_floaters", lambda scene, capture, progress: floaters)
    return floaters


def test_floaters_are_shown_first_and_removed_when_approved(scene_folder, found, capsys):
    before = Scene.open(scene_folder)
    assert main(["clean", str(scene_folder), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["layer"] is None and not Scene.open(scene_folder).layers
    assert answer["floaters"] == [{"center": [0.0, 0.0, 0.42], "size": 0.6, "seen": 6, "confirmed": 1}]
    assert (scene_folder / "clean" / "sheet.png").exists()

    assert main(["clean", str(scene_folder), "--apply", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["layer"] == 1
    scene = Scene.open(scene_folder)
    region = scene.load_layer(scene.layers[0]).region
    camera = scene.capture.views[0].camera
    now, had = scene.stack().render_image(camera), before.stack().render_image(camera)
    empty = before.stack().render_image(camera, exclude=region)
    met = region.entry(camera.rays()).isfinite().view(camera.height, camera.width)
    assert torch.equal(now.rgb[~met], had.rgb[~met])
    # a layer without samples and a region taken to be empty are the same; sums differ in their order
    assert torch.allclose(now.rgb, empty.rgb, atol=1e-5)
    assert (now.rgb - had.rgb).abs().max() > 0.3  # the ball's red upper half is gone


def test_a_scene_without_floaters_is_told_so(scene_folder, found, capsys, monkeypatch):
    nothing = Floaters((), found.lattice, torch.zeros_like(found.cells))
    monkeypatch.setattr(cleaning, "find_floaters", lambda scene, capture, progress: nothing)
    assert main(["clean", str(scene_folder), "--apply"]) == 0
    assert "No floaters were found" in capsys.readouterr().out
    assert not Scene.open(scene_folder).layers
