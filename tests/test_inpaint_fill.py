"""The inpainter `fill`, against scenes whose truth without the object is known in closed form."""

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
import pytest
import torch
from analytic import DENSITY, AnalyticField, look_at

from nerf_insert.cameras import Camera, Rays
from nerf_insert.errors import InputError
from nerf_insert.guide import Guide
from nerf_insert.inpaint.contract import EditContext, Inpainter, InpaintView
from nerf_insert.inpaint.fill import FillInpainter
from nerf_insert.inpaint.fill_planes import Plane, find_planes
from nerf_insert.inpaint.fill_texture import complete, membrane
from nerf_insert.progress import Progress
from nerf_insert.regions.box import BoxRegion
from nerf_insert.rendering import Stack

BALL = (0.0, 0.0, 0.2, 0.22, (0.9, 0.2, 0.1))  # sunk 2 cm into the floor
BOX = ((0.0, 0.0, 0.15), (0.5, 0.5, 0.62))  # around it, and down through the floor


class Field(AnalyticField):
    """The analytic scene, whose floor can be plain and lit from one side, and which can have a wall."""

    def __init__(self, balls=(BALL,), plain=False, wall=False):
        super().__init__(balls, step=0.02)
        self.bounds = torch.tensor([[-1.5, -1.5, -0.08], [1.5, 1.5, 0.7]])
        self.plain, self.wall = plain, wall

    def query(self, points, directions):
        density, rgb = super().query(points, directions)
        x, y, z = points.unbind(-1)
        floor = (z < 0) & (rgb[:, 0] == rgb[:, 1])
        if self.plain:
            rgb[floor] = (0.5 + 0.1 * x[floor])[:, None] * torch.tensor([0.9, 0.8, 0.7])
        if self.wall:
            behind = (y > 0.3) & (y < 0.4) & (z >= 0)
            density[behind] = DENSITY
            rgb[behind] = (0.5 + 0.1 * z[behind])[:, None] * torch.tensor([0.5, 0.7, 1.0])
        return density, rgb


@dataclass(frozen=True)
class Shot:
    """A view of the capture whose photograph is a render."""

    name: str
    camera: Camera
    rgb: torch.Tensor

    @property
    def size(self):
        return self.camera.width, self.camera.height

    def photograph(self, size=None):
        return self.rgb


def cameras(turns=range(10), spread=2 * math.pi):
    for k in turns:
        around, up = spread * (k * 0.618 % 1) - math.pi / 2 - spread / 2, math.radians((24, 38, 52)[k % 3])
        eye = (math.cos(around) * math.cos(up), math.sin(around) * math.cos(up), math.sin(up))
        yield look_at(tuple(1.5 * e for e in eye), (0.0, 0.0, 0.1), size=(80, 60), focal=90.0)


@cache
def edited(plain=False, wall=False, spread=2 * math.pi, seed=0, **options):
    """(inpainter, views, painted, truth) of a removal."""
    scene, empty = Stack(Field(plain=plain, wall=wall)), Stack(Field((), plain=plain, wall=wall))
    region = BoxRegion(*BOX)
    shots, views, truth = [], [], []
    for k, camera in enumerate(cameras(spread=spread)):
        seen = scene.picture(camera)
        shots.append(Shot(f"{k}.png", camera, seen.rgb))
        mask = region.project(camera)
        views.append(InpaintView(f"{k}.png", seen.rgb, seen.rgb, mask, seen.depth, camera))
        truth.append(empty.picture(camera))
    inpainter = FillInpainter(**options)
    inpainter.prepare(EditContext(scene, region, Guide(), tuple(shots), seed, Progress()))
    return inpainter, views, inpainter.inpaint(views, Guide(), strength=1.0, seed=seed), truth


def psnr(a, b):
    return -10 * math.log10(float(((a - b) ** 2).mean()))


def on_floor(view, truth):
    """Where each pixel's ray meets the floor in truth, and whether that is on the plane z = 0."""
    points = view.camera.rays().at(truth.depth.reshape(-1)).view(*view.mask.shape, 3)
    return points, view.mask & truth.depth.isfinite() & (points[..., 2].abs() < 0.03)


@pytest.mark.parametrize("plain", [True, False])
def test_the_floor_comes_back(plain):
    _, views, painted, truth = edited(plain)
    seen, hidden = [[], []], [[], []]
    for view, picture, true in zip(views, painted, truth, strict=True):
        points, floor = on_floor(view, true)
        under = points[..., :2].norm(dim=-1) < 0.2
        for pair, where in ((seen, floor & ~under), (hidden, floor & under)):
            pair[0].append(picture[where])
            pair[1].append(true.rgb[where])
        assert torch.equal(picture[~view.mask], view.original[~view.mask])
    # The photographs of the test have stepped edges and pixels as large as the texels: a chequer drawn
    # from several of them is soft at its edges, a plain floor is exact to a grey level or two.
    for pair, bars in ((seen, (25, 38)), (hidden, (18, 36))):
        assert len(torch.cat(pair[0])) > 300
        assert psnr(torch.cat(pair[0]), torch.cat(pair[1])) > bars[plain]
