"""A capture of a few small pictures, and a scene of it made in seconds, for tests of everything above.

World: z up, a floor of soft colors at z = 0, a red ball of radius 0.25 at (0, 0, 0.3). True pictures with
another, blue one at OBJECT are in truth/, where it is visible in object_mask/, its mesh is object.ply.
"""

import json
import math
from pathlib import Path

import torch
import trimesh
from analytic import AnalyticField, look_at

from nerf_insert.capture.capture import Capture
from nerf_insert.fields.hash_field import FieldConfig
from nerf_insert.fields.layer import Layer
from nerf_insert.fields.scene_field import SceneField
from nerf_insert.io.files import write_json, write_yaml
from nerf_insert.io.images import resize, write_image
from nerf_insert.regions import BoxRegion
from nerf_insert.regions.spec import RegionSpec
from nerf_insert.rendering.stack import LayerStack
from nerf_insert.scene.recipe import Recipe
from nerf_insert.scene.scene import LayerEntry, Scene

SIZE = (48, 36)
VIEWS = 14
TEST = (3, 10)
BALL = (0.0, 0.0, 0.3, 0.25, (0.9, 0.2, 0.1))
OBJECT = (0.5, -0.4, 0.25, 0.24, (0.1, 0.3, 0.9))


class TinyField(AnalyticField):
    """With a floor on which every place has its own color; chequers all look alike."""

    def query(self, points, directions):
        density, rgb = super().query(points, directions)
        on = points[:, 2] < 0
        x, y = points[on, 0], points[on, 1]
        waves = torch.stack([2.1 * x + y, 2.6 * y - 0.7 * x + 1, 1.7 * x - 1.9 * y + 2], -1)
        rgb[on] = 0.5 + 0.35 * waves.sin()
        return density, rgb


def tiny_cameras():
    """Around the scene, alternately lower and higher."""
    cameras = []
    for index in range(VIEWS):
        angle, height = 2 * math.pi * index / VIEWS, 0.9 + 0.5 * (index % 2)
        eye = (1.7 * math.cos(angle), 1.7 * math.sin(angle), height)
        cameras.append(look_at(eye, (0.1, -0.1, 0.15), SIZE, focal=48.0))
    return cameras


def tiny_capture(folder) -> Path:
    """Write images/000.png to 013.png, transforms.json, truth/, object_mask/ and object.ply; the folder."""
    folder = Path(folder)
    before, after = (LayerStack(TinyField(balls, step=0.02)) for balls in ([BALL], [BALL, OBJECT]))
    frames = []
    for index, camera in enumerate(tiny_cameras()):
        name = f"{index:03d}.png"
        large = camera.scaled(2)  # halved again below, against aliasing
        photograph, truth = (stack.render_image(large).rgb for stack in (before, after))
        write_image(folder / "images" / name, resize(photograph, SIZE))
        write_image(folder / "truth" / name, resize(truth, SIZE))
        seen = ((photograph - truth).abs().amax(-1) > 0.02).float()
        write_image(folder / "object_mask" / name, resize(seen, SIZE) > 0.5)
        pose = [*camera.c2w.tolist(), [0, 0, 0, 1]]
        frames.append({"file_path": f"images/{name}", "transform_matrix": pose})
    lens = {
        "fl_x": camera.fx,
        "fl_y": camera.fy,
        "cx": camera.cx,
        "cy": camera.cy,
        "w": SIZE[0],
        "h": SIZE[1],
    }
    names = [frame["file_path"] for frame in frames]
    split = {
        "train_filenames": [name for k, name in enumerate(names) if k not in TEST],
        "val_filenames": [name for k, name in enumerate(names) if k in TEST],
        "test_filenames": [name for k, name in enumerate(names) if k in TEST],
    }
    (folder / "transforms.json").write_text(json.dumps({**lens, **split, "frames": frames}))
    ball = trimesh.creation.icosphere(subdivisions=3, radius=OBJECT[3])
    ball.apply_translation(OBJECT[:3])
    ball.visual.vertex_colors = [int(255 * value) for value in OBJECT[4]] + [255]
    ball.export(folder / "object.ply")
    return folder


def tiny_scene(folder, capture=None) -> Path:
    """A scene in `folder`/scene of the capture in `folder`/capture (made if not given), about 27 dB."""
    folder = Path(folder)
    capture = Capture.load(capture or tiny_capture(folder / "capture"))
    Scene.create(folder / "scene", capture, tiny_base(capture))
    return folder / "scene"


def tiny_base(capture, steps=150) -> SceneField:
    """A base that knows the formula: fitted to its densities and colors at points, which takes seconds,
    rather than to photographs, which takes minutes."""
    config = FieldConfig(n_levels=8, log2_hashmap_size=14, max_resolution=256, width=32)
    base = SceneField.for_cameras([view.camera for view in capture.views], config)
    formula, generator = TinyField([BALL]), torch.Generator().manual_seed(0)
    adam = torch.optim.Adam(base.parameters(), lr=2e-2, betas=(0.9, 0.99), eps=1e-15)
    for step in range(steps):
        points = tiny_points(4096, generator)
        directions = torch.nn.functional.normalize(torch.randn(len(points), 3, generator=generator), dim=-1)
        (density, rgb), (wanted, color) = (f.query(points, directions) for f in (base, formula))
        solid = wanted > 0
        missed = (-0.02 * density).exp() - (-0.02 * wanted).exp()  # of the light, over two hundredths
        loss = (missed**2).mean() + ((rgb - color)[solid] ** 2).mean()
        adam.param_groups[0]["lr"] = 2e-2 * 0.1 ** (step / steps)
        adam.zero_grad()
        loss.backward()
        adam.step()
    points = tiny_points(1 << 20, generator)
    points = points[formula.query(points, points)[0] > 0]
    cells = torch.zeros(base.occupancy.shape)
    cells[tuple((base._unit(points) * len(cells)).long().T)] = 1
    base.occupancy.copy_(torch.nn.functional.max_pool3d(cells[None, None], 3, stride=1, padding=1)[0, 0] > 0)
    return base.eval().requires_grad_(False)


def tiny_points(count, generator):
    """Points in the scene's box, more of them near surfaces."""
    points = torch.rand(count, 3, generator=generator) * torch.tensor([4.0, 4.0, 1.0]) - torch.tensor(
        [2.0, 2.0, 0.1]
    )
    near_floor, near_ball = points[: count // 2], points[count // 2 : count * 3 // 4]
    near_floor[:, 2] = near_floor[:, 2] * 0.2 - 0.08
    near_ball *= torch.tensor([0.2, 0.2, 0.8])
    return points


def tiny_layer(folder, center=OBJECT[:3], size=(0.4, 0.4, 0.4), name="haze", density_bias=0.0) -> LayerEntry:
    """Put a layer that was never fitted, gray and half transparent, on top of the scene in `folder`."""
    scene, region = Scene.open(folder), BoxRegion(center, size)
    home = scene.new_layer_folder(name)
    box = {"center": [*map(float, center)], "size": [*map(float, size)]}
    write_yaml(
        home / "recipe.yaml", Recipe(region=RegionSpec.parse({"box": box}), name=name, seed=7).to_dict()
    )
    write_json(home / "region" / "region.json", region.save(home / "region"))
    Layer(region, density_bias=density_bias).save(home / "field.safetensors")
    scene.add(LayerEntry(home.name, name))
    return scene.layers[-1]
