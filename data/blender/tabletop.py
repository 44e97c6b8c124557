"""The table and what lies on it. The origin is in the middle of its top."""

from __future__ import annotations

import bpy
import numpy as np

from . import shapes
from .paint import Paint, plain, wood
from .stage import block, put, turned


def build(floor: float) -> None:
    """The table, standing on a floor at that height, and everything on it but mug and rocket."""
    _table(floor)
    _cloth()
    _books()
    _plant()
    _globe()
    _notebook()


def mug(index: int) -> list[bpy.types.Object]:
    """The object to remove: 12 cm high, on the gingham cloth."""
    at = (0.27, -0.16, 0.004)
    paint = Paint("mug", roughness=0.4)
    blue, white = "2f6fb0", "f1ece0"
    bands = [(0.0, blue), (0.2, white), (0.3, blue), (0.42, white), (0.72, blue), (0.8, white), (0.9, blue)]
    glaze = paint.done(paint.steps(paint.height(0.12), *bands))
    outside = [(0, 0), (0.04, 0), (0.046, 0.004), (0.05, 0.03), (0.052, 0.117), (0.0505, 0.12)]
    inside = [(0.048, 0.118), (0.047, 0.1), (0.045, 0.02), (0.038, 0.012), (0, 0.012)]
    arc = np.linspace(-100, 100, 25) * np.pi / 180
    handle = np.stack([0.05 + 0.034 * np.cos(arc), 0 * arc, 0.062 + 0.036 * np.sin(arc)], -1)
    return [
        turned("mug", outside + inside, glaze, at, index=index),
        put("handle", shapes.tube(handle, 0.0075), plain("handle", blue), at, (0, 0, -35), index=index),
        turned("tea", [(0, 0.1), (0.0475, 0.1)], plain("tea", "6b3517"), at, index=index),
    ]


def _table(floor: float):
    oak = wood("table", "9a6a3c", "d6a871", planks=0.1, roughness=0.45)
    block("table top", (1.24, 0.84, 0.035), oak, (0, 0, -0.035), bevel=0.012)
    block("apron", (1.0, 0.64, 0.06), oak, (0, 0, -0.095))
    for x in (-0.5, 0.5):
        for y in (-0.31, 0.31):
            turned("leg", [(0.018, floor), (0.03, -0.035), (0, -0.035)], oak, (x, y, 0), 24)


def _cloth():
    paint = Paint("gingham", roughness=0.9, specular=0.05)
    rows, columns = (
        paint.steps(paint.wave(5.3, axis=axis), (0, "f6efe2"), (0.5, "c8483c")) for axis in ("X", "Y")
    )
    gingham = paint.done(paint.mix(rows, columns, 0.5, "MIX"))
    block("cloth", (0.40, 0.30, 0.004), gingham, (0.29, -0.18, 0), 9, bevel=0.0015)


def _books():
    paint = Paint("pages", roughness=0.9, specular=0.05)
    pages = paint.done(paint.ramp(paint.wave(40.0, 0.5, axis="Z"), (0.2, "e2d4b4"), (0.8, "f3ead2")))
    x, y, z = 0.1, 0.25, 0.0
    for (long, wide, thick), code, stripe, turn in [
        ((0.27, 0.20, 0.035), "264a6e", "e0b04a", 12),
        ((0.25, 0.18, 0.045), "b5482f", "f1e4c6", -6),
        ((0.21, 0.155, 0.03), "e3b44f", "394a52", 24),
    ]:
        paint = Paint("cover", roughness=0.5)
        cover = paint.done(paint.steps(paint.wave(4.0), (0, code), (0.93, stripe)))
        for height in (z, z + thick - 0.004):
            block("cover", (long, wide, 0.004), cover, (x, y, height), turn, 0.001)
        block("pages", (long - 0.012, wide - 0.012, thick - 0.008), pages, (x, y, z + 0.004), turn, 0)
        to_spine = shapes.turn(turn) @ (0, 0.003 - wide / 2, 0)
        block("spine", (long, 0.006, thick), cover, (x + to_spine[0], y + to_spine[1], z), turn, 0.002)
        z += thick
    _apple((x - 0.01, y - 0.01, z))


def _apple(at):
    outline = [
        (0, 0.006),
        (0.015, 0),
        (0.032, 0.012),
        (0.042, 0.038),
        (0.038, 0.062),
        (0.02, 0.073),
        (0, 0.064),
    ]
    paint = Paint("apple", roughness=0.35)
    skin = paint.ramp(paint.noise(16.0, 4.0, (1, 1, 0.3)), (0.35, "b3261e"), (0.7, "d9a032"))
    turned("apple", outline, paint.done(skin), at, 48)
    stalk = shapes.tube([(0, 0, 0.062), (0.002, 0, 0.075), (0.006, 0, 0.088)], 0.0025)
    put("stalk", stalk, plain("stalk", "4a321f"), at)


def _plant():
    rng = np.random.default_rng(2)
    at = (-0.4, 0.21, 0)
    paint = Paint("clay", roughness=0.8)
    clay = paint.done(paint.steps(paint.wave(5.0, axis="Z"), (0, "c4693f"), (0.75, "f0e2c8")))
    pot = [
        (0, 0),
        (0.06, 0),
        (0.082, 0.1),
        (0.092, 0.1),
        (0.094, 0.13),
        (0.082, 0.13),
        (0.078, 0.11),
        (0, 0.11),
    ]
    turned("pot", pot, clay, at)
    saucer = [(0, 0), (0.085, 0), (0.1, 0.016), (0.092, 0.016), (0, 0.006)]
    turned("saucer", saucer, plain("saucer", "b45f38"), at)
    turned("soil", [(0.079, 0.115), (0, 0.118)], plain("soil", "3b2a1d"), at)
    paint = Paint("leaf", roughness=0.5)
    green = paint.done(paint.ramp(paint.wave(9.0, 5.0, axis="Z"), (0, "2f6b3c"), (0.6, "78ab58")))
    along = np.linspace(0, 1, 16)
    for i in range(15):
        height, lean = rng.uniform(0.13, 0.25), rng.uniform(0.02, 0.15)
        rise = 0.112 + height * along * (1 - 0.25 * along * lean / 0.15)
        path = np.stack([0.012 + lean * along**2, 0 * along, rise], -1)
        width = rng.uniform(0.017, 0.024) * np.sin(np.pi * (0.16 + 0.84 * along)) ** 0.7
        leaf = shapes.tube(path, 0.28 * width.clip(1e-3), 12, flat=3.6)
        put("leaf", leaf, green, at, (0, 0, 137.5 * i))


def _globe():
    at = (0.46, 0.22, 0)
    paint = Paint("earth", roughness=0.45)
    colors = [(0, "2a6f97"), (0.5, "61a5c2"), (0.52, "c9b26b"), (0.56, "5f8f4e"), (0.68, "e8dcc0")]
    earth = paint.done(paint.steps(paint.noise(11.0, 4.0), *colors))
    put("earth", shapes.ball(0.095), earth, (*at[:2], 0.165), (20, 0, 40))
    arc = np.linspace(-112, 68, 40) * np.pi / 180
    ring = np.stack([0.108 * np.cos(arc), 0 * arc, 0.165 + 0.108 * np.sin(arc)], -1)
    brass = plain("brass", "b8892f", roughness=0.4)
    put("meridian", shapes.tube(ring, 0.006), brass, at, (0, 0, 40))
    foot = [(0, 0), (0.07, 0), (0.07, 0.012), (0.03, 0.03), (0.014, 0.06), (0, 0.06)]
    turned("foot", foot, wood("foot", "5b3620", "8f5f3a"), at)


def _notebook():
    paint = Paint("notebook", roughness=0.6)
    swirl = paint.steps(paint.rings(3.2, 6.0, axis="Z"), (0, "f0d9b5"), (0.45, "2a7f7f"), (0.8, "e8765a"))
    block("notebook", (0.17, 0.23, 0.014), paint.done(swirl), (-0.43, -0.17, 0), 14, 0.002)
    pencil = [(-0.085, 0, 0), (-0.05, 0, 0), (0.085, 0, 0), (0.1, 0, 0)]
    pencil = shapes.tube(pencil, np.array([0.0055, 0.0055, 0.0055, 0.001]), 6)
    for i, (code, turn) in enumerate([("d8452f", 35), ("f0b429", 52), ("2f8f5b", 22)]):
        at = (-0.45 + 0.035 * i, -0.18 - 0.03 * i, 0.0195)
        put("pencil", pencil, plain("pencil", code), at, (0, 0, turn), smooth=False)
