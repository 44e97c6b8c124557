"""Outlines that colors refine, of shapes that are known."""

from pathlib import Path

import numpy as np
import torch
from analytic import look_at

from nerf_insert.capture.view import View
from nerf_insert.selection.cloud import SeenPart
from nerf_insert.selection.silhouettes import refine

SIZE = 80


def seen(shape, like_floor=None):
    """A thing of two colors on a gray floor, as one view shows it; some of its pixels are the floor's."""
    generator = np.random.default_rng(0)
    rows, columns = np.mgrid[:SIZE, :SIZE]
    colors = np.full((SIZE, SIZE, 3), 130.0) + 12 * ((rows // 5 + columns // 7) % 2)[..., None]
    thing = np.where((rows // 6 + columns // 6) % 2, 1, 0)[..., None] * [90, -40, 60] + [120, 90, 150]
    colors[shape] = thing[shape]
    colors[shape & (rows >= 48)] = [122, 126, 160]  # the thing's feet, not unlike the floor
    if like_floor is not None:
        colors[like_floor] = 130.0
    colors += generator.normal(0, 4, colors.shape)
    camera = look_at((0.0, -2.0, 1.0), (0.0, 0.0, 0.0), size=(SIZE, SIZE), focal=80.0)
    depth = torch.full((SIZE, SIZE), 2.0)
    view = View("a.png", Path("a.png"), camera)
    part = SeenPart(view, camera, (SIZE, SIZE), (0, 0), depth, torch.ones(SIZE, SIZE, dtype=torch.bool))
    part.__dict__["colors"] = colors.clip(0, 255).astype(np.uint8)  # a cached property
    return part


def stool():
    """A seat on four legs that are three pixels wide; and the legs alone."""
    seat, legs = np.zeros((2, SIZE, SIZE), dtype=bool)
    seat[20:32, 15:65] = True
    for x in (18, 31, 46, 59):
        legs[32:62, x : x + 3] = True
    return seat | legs, legs


def test_thin_legs_are_kept():
    shape, legs = stool()
    found = refine(seen(shape), torch.from_numpy(shape)).numpy()
    assert (found & legs).sum() > 0.9 * legs.sum()
    # a third of the outline's pixels may move by one
    assert (found ^ shape).sum() < 0.08 * shape.sum()


def test_what_is_thin_and_looks_like_the_floor_is_not():
    """Depth that is wrong beside a thing: a streak in the floor's own color."""
    shape, legs = stool()
    wrong = np.zeros_like(shape)
    wrong[40:42, 62:76] = True
    found = refine(seen(shape, wrong), torch.from_numpy(shape | wrong)).numpy()
    assert (found & wrong & ~legs).sum() < 0.3 * wrong.sum()
