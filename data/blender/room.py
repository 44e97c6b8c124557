"""The room around the table: four different walls, a window, the light. Meters, z up."""

from __future__ import annotations

import math

import bpy
import numpy as np

from . import shapes
from .paint import WHITE, Paint, gray, plain, srgb, wood
from .stage import block, put, turned

FLOOR, CEILING = -0.72, 1.75  # the table's top is at zero
HALF_X, HALF_Y = 2.1, 1.8


def build() -> None:
    _floor()
    _walls()
    _window()
    _bookshelf()
    _sideboard()
    _pictures()
    _lights()


def _floor():
    paint = Paint("floor", roughness=0.55)
    boards = paint.bricks(srgb("b98a5c"), srgb("8a5f3a"), srgb("4a321f"), 0.75, 0.11, 0.003, turn=0.5)
    grain = paint.ramp(paint.noise(14.0, 5.0, (0.3, 3.0, 1.0)), (0.3, gray(0.75)), (0.7, WHITE))
    size = (2 * HALF_X, 2 * HALF_Y, 0.1)
    block("floor", size, paint.done(paint.mix(boards, grain)), (0, 0, FLOOR - 0.1), bevel=0)
    block("ceiling", size, plain("ceiling", "f2efe8"), (0, 0, CEILING), bevel=0)

    paint = Paint("rug", roughness=0.95, specular=0.05)
    colors = [(0.0, "24506b"), (0.25, "e5d3ae"), (0.4, "b5482f"), (0.7, "e0a458"), (0.85, "24506b")]
    rings = paint.steps(paint.rings(0.75, 0.6, axis="Z"), *colors)
    weave = paint.ramp(paint.noise(70.0, 2.0), (0.35, gray(0.6)), (0.65, WHITE))
    rug = [(1.25, 0), (1.25, 0.012), (0, 0.012)]
    turned("rug", rug, paint.done(paint.mix(rings, weave)), (0, 0, FLOOR), 96)


def _walls():
    brick = Paint("brick", roughness=0.8)
    bricks = brick.bricks(srgb("c07a5a"), srgb("9c4f38"), srgb("d8cdbd"), 0.24, 0.085, 0.009)
    worn = brick.ramp(brick.noise(9.0, 5.0), (0.3, gray(0.7)), (0.7, WHITE))
    paper = Paint("wallpaper", roughness=0.8)
    stripes = paper.steps(paper.wave(1.6), (0.0, "cfd8c4"), (0.5, "a9bd9f"))
    dots = paper.steps(paper.cells(9.0, output=0), (0.0, "e0a458"), (0.13, WHITE))
    sage = Paint("sage", roughness=0.8)
    leaves = sage.steps(sage.rings(3.0, 7.0), (0.0, "6f9088"), (0.55, "8fb0a4"))
    plaster = Paint("plaster", roughness=0.8)
    patches = plaster.ramp(plaster.noise(5.0, 6.0), (0.35, "d9c9a8"), (0.65, "efe3cb"))
    # A wall is built lying down, its pattern in the x-y plane, then stood up.
    for name, half, material, at, turn in [
        ("south", HALF_X, brick.done(brick.mix(bricks, worn)), (0, -HALF_Y, 0), 180),
        ("west", HALF_Y, paper.done(paper.mix(stripes, dots)), (-HALF_X, 0, 0), 90),
        ("north", HALF_X, sage.done(leaves), (0, HALF_Y, 0), 0),
        ("east", HALF_Y, plaster.done(patches), (HALF_X, 0, 0), -90),
    ]:
        plate = shapes.box((2 * half, CEILING - FLOOR, 0.02))
        plate = shapes.moved(plate, (0, (FLOOR + CEILING) / 2, -0.02))
        put(name, plate, material, at, (90, 0, turn), smooth=False)
        foot = (0.993 * at[0], 0.993 * at[1], FLOOR)
        block("skirting", (2 * half, 0.03, 0.1), plain("skirting", "efe9dc"), foot, turn)


def _window():
    """On the east wall: panes of sky that glow, a frame, curtains."""
    paint = Paint("sky", specular=0.0)
    clouds = paint.ramp(paint.noise(3.0, 5.0), (0.45, gray(0)), (0.65, WHITE))
    blue = paint.ramp(paint.height(1.0), (0.0, "cfe4f2"), (1.0, "7fb2e0"))
    sky = paint.done(paint.mix(blue, srgb("fafafa"), clouds, "MIX"), glow=0.7)
    block("sky", (0.01, 1.7, 1.5), sky, (HALF_X - 0.012, 0, -0.1))
    white = plain("frame", "f4f1ea")
    for y in (-0.86, -0.29, 0.29, 0.86):
        block("post", (0.06, 0.06, 1.56), white, (HALF_X - 0.03, y, -0.13))
    for z in (-0.13, 0.55, 1.36):
        block("bar", (0.055, 1.75, 0.06), white, (HALF_X - 0.03, 0, z))
    block("sill", (0.2, 1.95, 0.035), wood("sill", "8a5a33", "c08a55"), (HALF_X - 0.1, 0, -0.17))

    paint = Paint("curtain", roughness=0.9, specular=0.05)
    cloth = paint.done(paint.steps(paint.wave(2.2, axis="Z"), (0.0, "d9793f"), (0.5, "eec08a")))
    y = np.linspace(0, 0.42, 80)
    folds = np.stack([0.035 * np.sin(y * 75), y], -1)
    vertices = np.concatenate([np.c_[folds, np.full(80, z)] for z in (-0.5, 1.5)])
    j = np.arange(79)
    faces = np.concatenate([np.stack([j, j + 1, j + 81], -1), np.stack([j, j + 81, j + 80], -1)])
    for side in (-1.33, 0.91):
        put("curtain", (vertices, faces), cloth, (HALF_X - 0.12, side, 0))


def _bookshelf():
    """Along the north wall, full of books."""
    rng = np.random.default_rng(5)
    oak = wood("oak", "7d5230", "b37f4d")
    width, depth, top = 2.2, 0.28, 0.72
    y = HALF_Y - depth / 2
    covers = "b33a2e 2d5d87 e0b04a 3f7d5a efe3c8 7a4a78 d9773a 394a52 88a9b8 a4343f".split()
    covers = [plain(f"cover {code}", code) for code in covers]
    boards, uprights = np.linspace(FLOOR + 0.06, top, 5), np.array([-0.5, -1 / 6, 1 / 6, 0.5]) * width
    for z in boards:
        block("board", (width, depth, 0.03), oak, (0, y, z - 0.03))
    for x in uprights:
        block("upright", (0.03, depth, top - FLOOR), oak, (x, y, FLOOR))
    for z, space in zip(boards, np.diff(boards), strict=False):
        x = 0.03 - width / 2
        while x < width / 2 - 0.08:
            thick, high = rng.uniform(0.022, 0.055), space * rng.uniform(0.6, 0.88)
            free = np.abs(x + thick / 2 - uprights[1:3]).min() >= thick / 2 + 0.02
            if free and rng.random() > 0.08:
                cover = covers[rng.integers(len(covers))]
                size = (thick - 0.002, depth * rng.uniform(0.65, 0.85), high)
                block("book", size, cover, (x + thick / 2, y, z))
            x += thick
    _vase((-0.75, y, top), "e5d3ae", "b5482f")
    block("box", (0.3, 0.2, 0.17), plain("box", "2d5d87"), (0.1, y, top), 8)
    block("box", (0.22, 0.16, 0.1), plain("box", "d9a441"), (0.1, y, top + 0.17), -9)
    put("ball", shapes.ball(0.11), plain("ball", "b33a2e"), (0.72, y, top + 0.11))


def _vase(at, code, other):
    paint = Paint("vase", roughness=0.4)
    pattern = paint.steps(paint.wave(6.0, 2.0, axis="Z"), (0.0, code), (0.6, other))
    outside = [(0, 0), (0.06, 0), (0.1, 0.08), (0.105, 0.14), (0.07, 0.24), (0.035, 0.3), (0.05, 0.34)]
    turned("vase", [*outside, (0.035, 0.33), (0.02, 0.2), (0, 0.2)], paint.done(pattern), at)


def _sideboard():
    """Along the west wall, with a vase and a bowl."""
    x, top = 0.21 - HALF_X, FLOOR + 0.67
    walnut = wood("walnut", "4d2f1d", "83573a")
    block("sideboard", (0.4, 1.5, 0.55), walnut, (x, 0.1, top - 0.55), bevel=0.01)
    for i, code in enumerate(("e0a458", "cfd8c4", "b5482f")):
        at = (x + 0.2, 0.1 + 0.48 * (i - 1), top - 0.5)
        block("door", (0.02, 0.44, 0.45), plain("door", code), at, bevel=0.008)
    for y in (-0.55, 0.75):
        block("foot", (0.3, 0.06, 0.12), plain("foot", "38241a"), (x, y, FLOOR))
    _vase((x, -0.3, top), "f1ece0", "24506b")
    bowl = [(0, 0), (0.06, 0), (0.16, 0.09), (0.15, 0.09), (0.05, 0.02), (0, 0.02)]
    turned("bowl", bowl, plain("bowl", "3f7d5a"), (x, 0.45, top))
    for dx, dy in ((-0.04, 0.03), (0.05, 0.02), (0.0, -0.05)):
        put("orange", shapes.ball(0.05), plain("orange", "e8842a"), (x + dx, 0.45 + dy, top + 0.07))


def _pictures():
    """Framed, on the brick wall and above the sideboard."""
    cells, waves, hills = Paint("cells"), Paint("waves"), Paint("hills")
    sea = [(0, "1f3d5a"), (0.3, "3f8fa3"), (0.55, "f1e4c6"), (0.75, "e07a4b")]
    land = [(0, "2f4858"), (0.42, "3f7d5a"), (0.5, "e0b04a"), (0.58, "f4ead4")]
    cells = cells.done(cells.mix(cells.cells(9.0), srgb("f3d9a0"), 0.55, "MIX"))
    waves = waves.done(waves.steps(waves.wave(4.0, 9.0, axis="Y"), *sea))
    hills = hills.done(hills.steps(hills.noise(5.0, 2.0, (0.6, 1.6, 1)), *land))
    black, white = plain("frame black", "2b2624"), plain("mount", "f4efe4")
    for art, at, turn, (w, h) in [
        (cells, (-1.2, -HALF_Y, 0.35), 180, (0.6, 0.8)),
        (waves, (-0.25, -HALF_Y, 0.25), 180, (0.85, 0.6)),
        (hills, (0.8, -HALF_Y, 0.4), 180, (0.7, 0.95)),
        (hills, (-HALF_X, -0.75, 0.45), 90, (0.5, 0.65)),
        (waves, (-HALF_X, 0.85, 0.5), 90, (0.55, 0.75)),
    ]:
        mount = 0.2 * min(w, h)
        for material, border, depth in [(black, 0, 0.03), (white, 0.05, 0.033), (art, mount, 0.036)]:
            plate = shapes.box((w - border, h - border, depth))
            put("picture", plate, material, at, (90, 0, turn), smooth=False)


def _lights():
    """Daylight from the window, a soft warm ceiling; neither lamp is seen itself."""
    for name, at, tilt, size, energy, color in [
        ("day", (HALF_X - 0.2, -0.1, 0.7), 68, (1.6, 1.4), 57, (0.93, 0.97, 1.0)),
        ("ceiling", (-0.3, 0.1, CEILING - 0.05), 0, (2.6, 2.2), 32, (1.0, 0.95, 0.87)),
    ]:
        lamp = bpy.data.lights.new(name, "AREA")
        lamp.shape, (lamp.size, lamp.size_y), lamp.energy, lamp.color = "RECTANGLE", size, energy, color
        placed = bpy.data.objects.new(name, lamp)
        placed.location, placed.visible_camera = at, False
        placed.rotation_euler = (0, math.radians(tilt), 0)
        bpy.context.scene.collection.objects.link(placed)
    bpy.context.scene.world = bpy.data.worlds.new("world")
