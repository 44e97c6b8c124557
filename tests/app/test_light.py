"""A light as the page's controls show it, and back."""

import pytest
import torch

from nerf_insert.app.steps.light import Controls
from nerf_insert.errors import InputError
from nerf_insert.inpaint.mesh.light_option import GivenLight, parse_light

UP = torch.tensor([0.0, 0.0, 1.0])
TILTED = torch.nn.functional.normalize(torch.tensor([0.3, -0.5, 0.7]), dim=0)


@pytest.mark.parametrize("up", [UP, TILTED], ids=["level", "tilted"])
@pytest.mark.parametrize(
    "light",
    [
        {"direction": [0.1, -0.7, 0.4], "angle": 2.5, "key": [1.9, 1.2, 0.3], "sky": [0.1, 0.2, 0.4]},
        {"direction": [0.0, 0.0, 1.0], "angle": 40.0, "key": [0.0, 0.0, 0.0], "sky": [0.5, 0.5, 0.5]},
        {"direction": [1.0, 2.0, -0.5], "angle": 0.3, "key": [0.2, 0.2, 0.2], "sky": [0.0, 0.0, 0.0]},
    ],
)
def test_a_light_comes_back_from_the_controls(light, up):
    given = parse_light(light, "light")
    again = parse_light(Controls.of(given, up).light(up, 2.5), "light")
    wanted = torch.nn.functional.normalize(torch.tensor(light["direction"]), dim=0)
    torch.testing.assert_close(torch.tensor(again.direction), wanted, atol=2e-4, rtol=0)
    assert again.angle == light["angle"] and again.distance == 2.5
    # colors have 8 bits in sRGB: up to 1 % of the largest channel in linear light
    for part in ("key", "sky"):
        assert list(getattr(again, part)) == pytest.approx(light[part], abs=0.01 * max(*light[part], 0.1))


def test_soft_daylight_stands_above():
    shown = Controls.of(GivenLight(), TILTED)
    assert shown.height == pytest.approx(90, abs=0.1)
    assert (shown.color, shown.sky_color) == ("#ffffff", "#ffffff")


def test_height_and_color_mean_what_they_say():
    light = Controls(25.0, 30.0, 1.0, 2.0, "#ff8000", 0.5, "rgba(255, 255, 255, 1)").light(TILTED, None)
    assert torch.tensor(light["direction"]) @ TILTED == pytest.approx(0.5, abs=1e-3)  # sin 30 degrees
    assert light["key"] == pytest.approx([2.0, 0.4317, 0.0], abs=1e-3)  # 128/255 in sRGB is 0.2159
    assert light["sky"] == [0.5, 0.5, 0.5]


@pytest.mark.parametrize("color", ["", "#12", "blue", "rgba(1, 2)"])
def test_what_is_no_color_is_said_so(color):
    with pytest.raises(InputError, match="is not a color"):
        Controls(0.0, 90.0, 1.0, 1.0, color, 0.5, "#ffffff").light(UP, None)
