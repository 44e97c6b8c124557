"""What people are shown of an estimated light, for a light that is known."""

import json
import math
from pathlib import Path

import pytest
import torch
from analytic import AnalyticField, look_at
from formula import FormulaLayer

from nerf_insert.capture.view import View
from nerf_insert.editing.edited_view import EditedView
from nerf_insert.editing.light_probe import BALL, BALL_ALBEDO, LightProbe
from nerf_insert.geometry.color import srgb_to_linear
from nerf_insert.inpaint.mesh.light_option import parse_light
from nerf_insert.io.images import write_image
from nerf_insert.lighting.estimation import Confidence
from nerf_insert.lighting.light import DiskLight, Light
from nerf_insert.lighting.scene_light import SceneLight, find_light
from nerf_insert.regions import BoxRegion
from nerf_insert.rendering.stack import LayerStack

AT, UP = torch.tensor([0.0, 0.0, 0.2]), torch.tensor([0.0, 0.0, 1.0])


def probe(direction, confidence=Confidence(50.0, (2.0,)), distance=1e4):
    key = DiskLight(AT, torch.tensor(direction), distance, 0.02, torch.tensor([0.8, 0.6, 0.4]))
    light = Light(torch.full((256, 3), 0.1), (key,))
    view = View("a.png", Path("a.png"), look_at((0.0, -2.0, 0.2), (0.0, 0.0, 0.2)))
    made = object.__new__(LightProbe)  # without a scene
    for name, value in {"at": AT, "size": 0.5, "found": SceneLight(light, confidence), "view": view}.items():
        object.__setattr__(made, name, value)
    return made


def test_a_ball_is_bright_where_it_faces_the_light():
    """Seen along +y; the light comes from the right, +x: Lambert's law at the limb and in the middle."""
    ball = srgb_to_linear(probe([1.0, 0.0, 0.0]).ball())
    middle, right, left = (ball[BALL // 2, x] for x in (BALL // 2, BALL - 3, 2))
    sky = BALL_ALBEDO * 0.1
    assert left.tolist() == pytest.approx([sky] * 3, abs=0.01)
    assert middle.tolist() == pytest.approx([sky] * 3, abs=0.02)
    wanted = [sky + BALL_ALBEDO * value for value in (0.8, 0.6, 0.4)]
    assert right.tolist() == pytest.approx(wanted, rel=0.08)  # the limb is within two pixels
    assert ball[0, 0].tolist() == pytest.approx([1.0] * 3)


def test_the_option_makes_the_same_light():
    data = probe([0.6, 0.0, 0.8], distance=2.0).to_dict()
    given = parse_light(json.loads(data["option"]), "light").light(AT, 0.5, torch.tensor([0.0, 0.0, 1.0]))
    (key,) = given.keys
    assert key.direction.tolist() == pytest.approx([0.6, 0.0, 0.8], abs=1e-4)
    assert key.distance == pytest.approx(2.0) and key.angle == pytest.approx(0.02, abs=1e-4)
    assert key.irradiance.tolist() == pytest.approx([0.8, 0.6, 0.4], abs=1e-4)
    assert given.environment[0].tolist() == pytest.approx([0.1] * 3, abs=1e-4)
    assert probe([0.6, 0.0, 0.8]).to_dict()["keys"][0]["distance"] is None
    assert data["keys"][0]["angle"] == pytest.approx(math.degrees(0.02), abs=0.01)


@pytest.mark.parametrize(
    ("confidence", "words"),
    [
        (Confidence(0.0), "soft, from above"),
        (Confidence(50.0, (2.0,)), "agree on this light"),
        (Confidence(50.0, (30.0,)), "not exactly"),
        (Confidence(6.0, (2.0,)), "not exactly"),
    ],
)
def test_it_says_how_sure_it_is(confidence, words):
    assert words in probe([0.0, 0.0, 1.0], confidence).to_dict()["verdict"]


def test_layers_do_not_change_the_light_that_photographs_tell(coarse_light, tmp_path):
    """Photographs do not show a layer: read on its surface, their colors would be those of the floor."""
    base, views = LayerStack(AnalyticField()), []
    for k in range(6):
        turn = k * math.tau / 6
        camera = look_at((2 * math.cos(turn), 2 * math.sin(turn), 1.0), (0.0, 0.0, 0.2), (48, 36), 45.0)
        write_image(tmp_path / f"{k}.png", base.render_image(camera).rgb)
        views.append(View(f"{k}.png", tmp_path / f"{k}.png", camera))
    layer = FormulaLayer(BoxRegion((0.6, 0.0, 0.3), (0.3, 0.3, 0.6)), 60.0, (0.9, 0.9, 0.9))
    edited = LayerStack(base.base, [layer])
    lights = [
        find_light(stack, [EditedView.of(view, stack) for view in views], AT, 0.5, UP).light
        for stack in (base, edited)
    ]
    assert torch.equal(lights[0].environment, lights[1].environment)
    assert len(lights[0].keys) == len(lights[1].keys)
    for one, other in zip(lights[0].keys, lights[1].keys, strict=True):
        assert torch.equal(one.direction, other.direction) and torch.equal(one.irradiance, other.irradiance)
