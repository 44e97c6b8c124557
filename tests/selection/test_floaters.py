"""Floaters among balls known in closed form: what the photographs show is real, the rest is not."""

import json
import math

import torch
from analytic import AnalyticField, look_at

from nerf_insert.capture.capture import Capture
from nerf_insert.io.images import write_image
from nerf_insert.rendering.stack import LayerStack
from nerf_insert.runtime.progress import SILENT
from nerf_insert.selection.floaters import find_floaters

SIZE, VIEWS = (64, 48), 10
STANDING = (0.0, 0.0, 0.25, 0.25, (0.9, 0.2, 0.1))
HANGING = (0.35, -0.3, 0.75, 0.14, (0.1, 0.3, 0.9))  # in the air, but there
FLOATER = (-0.4, 0.35, 0.8, 0.12, (0.2, 0.7, 0.3))


def test_what_hangs_and_no_photograph_confirms_is_a_floater(tmp_path):
    truth = LayerStack(AnalyticField([STANDING, HANGING], step=0.02))
    frames = []
    for index in range(VIEWS):
        angle = 2 * math.pi * index / VIEWS
        eye = (1.8 * math.cos(angle), 1.8 * math.sin(angle), 0.9)
        camera = look_at(eye, (0, 0, 0.35), SIZE, focal=60.0)
        name = f"images/{index:03d}.png"
        write_image(tmp_path / name, truth.render_image(camera).rgb)
        frames.append({"file_path": name, "transform_matrix": [*camera.c2w.tolist(), [0, 0, 0, 1]]})
    data = {"fl_x": 60.0, "fl_y": 60.0, "cx": 32.0, "cy": 24.0, "w": 64, "h": 48, "frames": frames}
    (tmp_path / "transforms.json").write_text(json.dumps(data))
    scene = LayerStack(AnalyticField([STANDING, HANGING, FLOATER], step=0.02))

    floaters = find_floaters(scene, Capture.load(tmp_path), SILENT)
    (one,) = floaters.found
    spacing = floaters.lattice.spacing
    assert torch.allclose(one.center, torch.tensor(FLOATER[:3]), atol=spacing)
    # a bounding box's diagonal, off by a cell at each end
    assert abs(one.size - 2 * FLOATER[3] * 3**0.5) < 2 * spacing * 3**0.5
    assert one.seen >= 3 and one.confirmed == 0
    region = floaters.region()
    centers = torch.tensor([ball[:3] for ball in (FLOATER, HANGING, STANDING)])
    assert region.contains(centers).tolist() == [True, False, False]
