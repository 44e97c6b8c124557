"""A removal that leaves something is done once more in a wider region, also after a crash in between."""

import json

import tiny
import torch

from nerf_insert.editing import loop
from nerf_insert.editing.api import edit
from nerf_insert.regions import GridRegion, Points
from nerf_insert.regions.distance_grid import Lattice
from nerf_insert.runtime.progress import Progress
from nerf_insert.scene.scene import Scene
from nerf_insert.selection.selector import Selector

SHORT = {"steps": 12, "rays": 256}
LEFT = (0.0, 0.0, 0.75)  # above the ball


def ball(center, radius):
    low, high = (torch.tensor(center) + sign * radius for sign in (-1, 1))
    lattice = Lattice.over(torch.stack([low, high]), 0.0, 4000)
    inside = (lattice.points() - torch.tensor(center)).norm(dim=-1) < radius
    return GridRegion.of_cells(lattice, inside.view(lattice.shape))


class Heard(Progress):
    def __init__(self):
        super().__init__()
        self.texts = []

    def warn(self, text):
        self.texts.append(text)


def test_the_region_is_widened_once(scene_folder, monkeypatch):
    asked = []

    def remains(self, region, after):
        asked.append(region)
        return ball(LEFT, 0.06), 0.03

    monkeypatch.setattr(Selector, "select", lambda self, points: ball(tiny.BALL[:3], 0.28))
    monkeypatch.setattr(Selector, "remains", remains)
    scene, heard, rounds = Scene.open(scene_folder), Heard(), loop.EditRounds
    region = Points({"000": [(20.0, 15.0)]})

    def crash(session, *rest):
        if asked:
            raise KeyboardInterrupt
        return rounds(session, *rest)

    monkeypatch.setattr(loop, "EditRounds", crash)
    try:
        edit(scene, region=region, schedule=SHORT, shadow="none", progress=heard)
    except KeyboardInterrupt:
        monkeypatch.setattr(loop, "EditRounds", rounds)
    assert len(asked) == 1 and not scene.layers
    assert any("3.0 % of the thing's surface remained" in text for text in heard.texts)

    entry = edit(scene, region=region, schedule=SHORT, shadow="none", progress=heard)
    assert len(asked) == 1  # once
    folder = scene.layer_folder(entry)
    assert json.loads((folder / "remains.json").read_text()) == {"share": 0.03}
    layer = scene.load_layer(entry)
    assert layer.region.contains(torch.tensor([tiny.BALL[:3], LEFT])).all()
    assert not asked[0].contains(torch.tensor([LEFT])).any()
    assert not (folder / "wider").exists()
