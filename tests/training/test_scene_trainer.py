"""Training a base: what depth that was measured beforehand does to it."""

import json

import pytest
import torch
from PIL import Image
from textured_ground import ground_distance, photograph, ring

from nerf_insert.capture.capture import Capture
from nerf_insert.fields.hash_field import FieldConfig
from nerf_insert.kernels import composite
from nerf_insert.rendering.stack import LayerStack
from nerf_insert.runtime.progress import SILENT
from nerf_insert.training import scene_trainer
from nerf_insert.training.losses import EXACT, FAR, misplacement
from nerf_insert.training.scene_trainer import TrainConfig, train_base

FIELD = FieldConfig(n_levels=8, log2_hashmap_size=12, max_resolution=128, width=16)


def ground_capture(folder, contrast, count=12):
    """Write a capture of the textured ground, and load it."""
    frames = []
    (folder / "images").mkdir(parents=True)
    for i, camera in enumerate(ring(count)):
        name = f"images/{i:02d}.png"
        Image.fromarray(photograph(camera, contrast).numpy()).save(folder / name)
        frames.append({"file_path": name, "transform_matrix": [*camera.c2w.tolist(), [0, 0, 0, 1]]})
    lens = {"fl_x": 90, "fl_y": 90, "cx": camera.cx, "cy": camera.cy, "w": camera.width, "h": camera.height}
    (folder / "transforms.json").write_text(json.dumps({"camera_model": "OPENCV", **lens, "frames": frames}))
    return Capture.load(folder)


def depth_error(capture, path, steps=300):
    """Train a base and return the median relative error of its depth in the test views."""
    base = train_base(capture, TrainConfig(steps=steps, samples=1 << 14), FIELD, SILENT, path)
    errors = []
    for view in capture.test:
        rays = view.camera.rays()
        errors.append((LayerStack(base).render(rays).depth / ground_distance(rays) - 1).abs())
    return float(torch.cat(errors).median())


def test_a_faint_ground_is_not_seen_through(tmp_path, monkeypatch):
    """Its texture has 5 levels of 255. A field alone puts the ground's color anywhere behind it."""
    capture = ground_capture(tmp_path / "capture", 0.02)
    assert depth_error(capture, tmp_path / "with") < 0.1
    monkeypatch.setattr(scene_trainer, "DEPTH_UNTIL", 1e-9)
    assert depth_error(capture, tmp_path / "without") > 0.5


def test_misplacement_draws_weight_to_the_measured_distance():
    """Closed form: weight 1/2 behind by more than `FAR` costs 1/2; its gradient moves it forward."""
    places = torch.tensor([0.3, 0.6, 0.3, 0.6])
    ray = torch.tensor([0, 0, 1, 1])
    cost = misplacement(places, torch.tensor([0.3 + EXACT / 2, torch.nan]), ray)
    assert cost.tolist() == [0, 1, 0, 0]
    halfway = misplacement(torch.tensor([0.3]), torch.tensor([0.3 + (EXACT + FAR) / 2]), torch.tensor([0]))
    assert float(halfway) == pytest.approx(0.5, abs=1e-5)
    depth = torch.tensor([0.693147, 20.0, 0.693147, 20.0], requires_grad=True)  # half of the light, the rest
    out = composite(depth, torch.zeros(4, 3), cost, torch.tensor([0, 2, 4]))
    assert out.depth.tolist() == pytest.approx([0.5, 0], abs=1e-5)
    out.depth.sum().backward()
    assert float(depth.grad[0]) < 0 and depth.grad[2:].abs().max() < 1e-6  # more weight at the measured place
