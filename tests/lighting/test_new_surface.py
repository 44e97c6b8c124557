"""The surface of a thing, told from the floor that it stands on."""

import math
from pathlib import Path

import torch
from analytic import AnalyticField, look_at

from nerf_insert.capture.view import View
from nerf_insert.lighting.depth_fusion import fuse_tsdf
from nerf_insert.lighting.new_surface import new_surface
from nerf_insert.regions import BoxRegion
from nerf_insert.rendering.depth_view import DepthView
from nerf_insert.rendering.stack import LayerStack

BALL = (0.0, 0.0, 0.25, 0.25, (0.9, 0.2, 0.1))  # lies on the floor
BOUNDS = torch.tensor([[-1.2, -1.2, -0.3], [1.2, 1.2, 0.9]])


def test_a_thing_reaches_down_to_the_floor_and_has_nothing_of_it():
    angles = torch.linspace(0, 2 * math.pi, 13)[:-1].tolist()
    eyes = [(1.6 * math.cos(a), 1.6 * math.sin(a), 0.5 + 0.3 * (k % 3)) for k, a in enumerate(angles)]
    cameras = [look_at(eye, (0.0, 0.0, 0.1), size=(64, 48), focal=60.0) for eye in eyes]
    views = [View(f"{k}.png", Path(f"{k}.png"), camera) for k, camera in enumerate(cameras)]
    with_ball, without = (LayerStack(AnalyticField(balls, step=0.02)) for balls in ((BALL,), ()))
    renders = [(camera, without.render_image(camera)) for camera in cameras]
    floor = [DepthView(camera=c, depth=image.depth, color=image.rgb) for c, image in renders]
    below = fuse_tsdf(floor, BOUNDS, 30)
    thing = new_surface(with_ball, views, BoxRegion((0.0, 0.0, 0.26), (0.7, 0.7, 0.6)), below)
    assert thing is not None and below.cell > 0.07
    vertices = thing.mesh.vertices[thing.mesh.faces.unique()]
    # what is lower than a part of the coarse surface's cells is not told from the floor
    assert float(vertices[:, 2].min()) < 0.75 * below.cell
    away = (vertices - torch.tensor(BALL[:3])).norm(dim=-1) - BALL[3]
    assert float(away.abs().quantile(0.99)) < 0.03  # one and a half steps of the field's samples
