"""Scenes of splats for tests: a cloud of them, and a box with a shadow beside it as layers."""

import json
import math

import torch
from analytic import look_at

from nerf_insert.capture.transforms_writer import camera_fields
from nerf_insert.fields.layer import Layer
from nerf_insert.fields.shade_layer import FILE, ShadeLayer
from nerf_insert.fields.sparse_grid import SparseGrid
from nerf_insert.io.files import write_json
from nerf_insert.regions import BoxRegion
from nerf_insert.scene.scene import LayerEntry
from nerf_insert.splats.splats import Splats

BOX = BoxRegion((0.5, 0.0, 0.2), (0.5, 0.6, 0.6))


def cloud(count=1200, seed=0, degree=1) -> Splats:
    """Small splats of all shapes in a ball, opaque enough to hide what is behind."""
    rng = torch.Generator().manual_seed(seed)
    means = torch.randn(count, 3, generator=rng) * 0.35 + torch.tensor([0.0, 0.0, 0.2])
    log_scales = torch.randn(count, 3, generator=rng) * 0.4 - 3
    sh = torch.randn(count, (degree + 1) ** 2, 3, generator=rng) * 0.3
    logits = torch.randn(count, generator=rng) + 1
    return Splats(means, log_scales, torch.randn(count, 4, generator=rng), logits, sh)


def cameras_around(file):
    """A transforms.json of eight cameras in a ring."""
    frames = []
    for k in range(8):
        angle = k * math.pi / 4
        camera = look_at((2 * math.cos(angle), 2 * math.sin(angle), 0.9))
        pose = [*camera.c2w.tolist(), [0.0, 0, 0, 1]]
        frames.append({"file_path": f"{k}.png", "transform_matrix": pose, **camera_fields(camera)})
    file.write_text(json.dumps({"camera_model": "OPENCV", "frames": frames}))
    return file


def add_box_and_shadow(scene):
    """Layer 1 is the shadow of layer 2, BOX."""
    home = scene.folder / "layers" / "001-box"
    write_json(home / "region" / "region.json", BOX.save(home / "region"))
    Layer(BOX, density_bias=4.0).save(home / "field.safetensors")
    index = torch.cartesian_prod(*(torch.arange(1, 5),) * 3)
    shade = SparseGrid.from_points(
        torch.full((3,), -0.5), 0.1, (8, 8, 8), index, torch.full((len(index), 3), -0.4)
    )
    ShadeLayer(shade).save(scene.folder / "layers" / "001-box-shade" / FILE)
    scene.add(LayerEntry("001-box-shade", "shadow", shade_of="001-box"), LayerEntry("001-box", "box"))
