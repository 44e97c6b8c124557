"""Balls on a floor, known in closed form, and photographs of them."""

import json
import math
from types import SimpleNamespace

import torch
from analytic import AnalyticField, look_at

from nerf_insert.capture.capture import Capture
from nerf_insert.io.images import write_image
from nerf_insert.rendering.stack import LayerStack

SIZE, VIEWS, TEST = (80, 60), 12, 5


def make(folder, balls, scale=1):
    """A scene of balls on a floor, and photographs of it, `scale` times as large as `SIZE`."""
    width, height = SIZE[0] * scale, SIZE[1] * scale
    stack = LayerStack(AnalyticField(balls, step=0.02))
    frames = []
    for index in range(VIEWS):
        angle, up = 2 * math.pi * index / VIEWS, 0.8 + 0.5 * (index % 2)
        camera = look_at(
            (1.9 * math.cos(angle), 1.9 * math.sin(angle), up),
            (0, 0, 0.1),
            (width, height),
            focal=75.0 * scale,
        )
        name = f"images/{index:03d}.png"
        write_image(folder / name, stack.render_image(camera).rgb)
        frames.append({"file_path": name, "transform_matrix": [*camera.c2w.tolist(), [0, 0, 0, 1]]})
    names = [frame["file_path"] for frame in frames]
    data = {
        "fl_x": camera.fx,
        "fl_y": camera.fy,
        "cx": camera.cx,
        "cy": camera.cy,
        "w": width,
        "h": height,
    }
    data |= {"train_filenames": names[:TEST] + names[TEST + 1 :], "test_filenames": [names[TEST]]}
    data |= {"val_filenames": [names[TEST]], "frames": frames}
    (folder / "transforms.json").write_text(json.dumps(data))
    return SimpleNamespace(capture=Capture.load(folder), stack=stack, balls=balls)


def pixel(scene, view, ball):
    """Where a photograph shows the middle of a ball."""
    camera = scene.capture.view(view).camera
    return tuple(camera.project(torch.tensor([ball[:3]])).pixels[0].tolist())


def outline(camera, ball):
    """The pixels whose rays meet a ball."""
    rays = camera.rays()
    toward = torch.tensor(ball[:3]) - rays.origins
    along = (toward * rays.directions).sum(-1)
    return (toward.square().sum(-1) - along**2 < ball[3] ** 2).view(camera.height, camera.width)


def overlap(one, other):
    return float((one & other).sum() / (one | other).sum())
