"""Crops: only what lies in the box is seen, over the crop's color."""

import json
import math

import pytest
import torch
from analytic import AnalyticField, look_at

from nerf_insert.capture.camera_crop import read_crop
from nerf_insert.errors import InputError
from nerf_insert.regions import BoxRegion
from nerf_insert.rendering.crop import CroppedStack
from nerf_insert.rendering.stack import LayerStack

RED, BLUE = (0.0, 0.0, 0.0, 0.5, (1.0, 0.0, 0.0)), (1.5, 0.0, 0.0, 0.5, (0.0, 0.0, 1.0))


def test_only_the_box_is_seen_over_the_crops_color():
    """Of two balls one; what is in front of and behind the box is not there."""
    stack = LayerStack(AnalyticField([RED, BLUE], step=0.02))
    camera = look_at((-4.0, 0.0, 0.0), (0.0, 0.0, 0.0), (33, 33), focal=60.0)
    box = BoxRegion((1.5, 0.0, 0.0), (1.2, 1.2, 1.2))
    shown = CroppedStack(stack, box, (0.0, 1.0, 0.0)).render_image(camera)
    assert torch.allclose(stack.render_image(camera).rgb[16, 16], torch.tensor([1.0, 0.0, 0.0]), atol=0.02)
    assert torch.allclose(shown.rgb[16, 16], torch.tensor([0.0, 0.0, 1.0]), atol=0.02)  # behind the red one
    # the ball begins 5 units from the camera; samples are 0.02 long
    assert float(shown.depth[16, 16]) == pytest.approx(5.0, abs=0.05)
    assert torch.equal(shown.rgb[0, 0], torch.tensor([0.0, 1.0, 0.0])) and shown.accumulation[0, 0] == 0
    assert shown.depth[0, 0].isinf()
    half = BoxRegion((1.5, 0.0, 0.5), (1.2, 1.2, 1.0))  # its upper half: rows run from the top
    seen = CroppedStack(stack, half, (0.0, 1.0, 0.0)).render_image(camera).accumulation > 0.5
    assert seen[:15].any() and not seen[18:].any()


def path_with(crop):
    c2w = [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 0, 0, 0, 1]
    look = {"camera_type": "perspective", "render_width": 8, "render_height": 8}
    return look | {"camera_path": [{"camera_to_world": c2w, "fov": 40}], "crop": crop}


def test_crops_are_read_as_nerfstudio_reads_them(tmp_path):
    from nerfstudio.data.scene_box import OrientedBox

    file = tmp_path / "path.json"
    crop = {"crop_center": [0.1, -0.2, 0.3], "crop_scale": [1, 2, 0.5], "crop_rot": [0.3, -0.4, 0.9]}
    file.write_text(json.dumps(path_with(crop | {"crop_bg_color": {"r": 38, "g": 42, "b": 255}})))
    read = read_crop(file)
    assert read.background == pytest.approx((38 / 255, 42 / 255, 1.0))
    theirs = OrientedBox.from_params((0.1, -0.2, 0.3), (0.3, -0.4, 0.9), (1, 2, 0.5))
    points = torch.rand(2000, 3, generator=torch.Generator().manual_seed(0)) * 3 - 1.5
    ours = BoxRegion(read.center, read.size, read.rotation).contains(points)
    assert torch.equal(ours, theirs.within(points)) and ours.any()
    named = {
        "crop_center": dict(zip("xyz", crop["crop_center"], strict=True)),
        "crop_scale": crop["crop_scale"],
    }
    file.write_text(json.dumps(path_with(named | {"crop_rot": None})))
    assert torch.equal(read_crop(file).rotation, torch.eye(3)) and read_crop(file).background == (1, 1, 1)
    file.write_text(json.dumps(path_with(None)))
    assert read_crop(file) is None


def test_a_crop_moves_with_its_coordinates():
    from nerf_insert.capture.camera_crop import Crop

    turn = torch.tensor([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    crop = Crop(torch.tensor([1.0, 0, 0]), torch.tensor([1.0, 2, 3]), torch.eye(3), (1.0, 1.0, 1.0))
    moved = crop.moved(torch.cat([2 * turn, torch.tensor([[0.0], [0], [5]])], 1).double())
    assert torch.allclose(moved.center, torch.tensor([0.0, 2, 5])) and torch.allclose(moved.rotation, turn)
    assert torch.allclose(moved.size, torch.tensor([2.0, 4, 6]))


@pytest.mark.parametrize(
    ("crop", "message"),
    [
        ([], "should be an object"),
        ({"crop_center": [0, 0], "crop_scale": [1, 1, 1]}, "crop_center should be three numbers"),
        ({"crop_center": [0, 0, math.nan], "crop_scale": [1, 1, 1]}, "crop_center is nan"),
        ({"crop_center": [0, 0, 0], "crop_scale": [1, 0, 1]}, "crop_scale is"),
    ],
)
def test_damaged_crops(tmp_path, crop, message):
    (tmp_path / "path.json").write_text(json.dumps(path_with(crop)))
    with pytest.raises(InputError, match=message):
        read_crop(tmp_path / "path.json")
