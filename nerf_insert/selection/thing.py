"""A thing and its cells, from what the photographs show around it. World coordinates and units."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from nerf_insert.errors import InputError
from nerf_insert.geometry.planes import Plane
from nerf_insert.regions.distance_grid import Lattice
from nerf_insert.selection.carving import Outline, carve
from nerf_insert.selection.clicks import Click
from nerf_insert.selection.cloud import CELL_PIXELS, SeenPart, Voxels, cell_size
from nerf_insert.selection.footing import Footing
from nerf_insert.selection.pieces import Piece
from nerf_insert.selection.shape import Selection
from nerf_insert.selection.silhouettes import refine
from nerf_insert.selection.support import Extent, connected, find_supports_of, rises

MARGIN = 1.25  # radius that is looked at, in that of the thing
AROUND = 2.5  # radius within which supports are looked for, in that of the thing
BESIDE = 2.0  # cells of a piece, within which points belong to it
ROUGH = 4.0  # tolerances of a support, up to which what rises from it may be its own rough depth
TOP, LOW = 0.95, 0.35  # quantile of a thing's heights that is its own; share of it that may be rough depth


def select_thing(
    parts: Sequence[SeenPart],
    extent: Extent,
    eyes: Float[Tensor, "V 3"],
    click: Click,
    overview: Float[Tensor, "N 3"],
    piece: Piece | None = None,
) -> Selection:
    """Return a thing from fine depth around it.

    Args:
        parts: What the photographs show around it.
        extent: Roughly where it is.
        eyes: The cameras' centers.
        click: On it.
        overview: What the photographs show of the scene, coarsely.
        piece: All that the thing is, if it touches others; else what hangs together is one thing.

    Raises:
        InputError: The photographs do not agree about it.
    """
    cell = cell_size(parts, extent.center)
    solid = torch.cat([part.points[part.solid] for part in parts])
    away = (overview - extent.center).norm(dim=-1)
    near = torch.cat([solid, overview[away < AROUND * extent.radius]])
    reach = AROUND * extent.radius
    supports = find_supports_of(extent.points, extent.center, near, eyes, reach) or extent.supports
    if piece is not None:
        solid = solid[piece.holds(solid, reach=BESIDE)]
    thing = solid[connected(solid, torch.cat([click.point[None], extent.points]), supports, cell)]
    if not len(thing):
        raise InputError(f"the photographs do not agree about what is at the click {click.label}")
    return Selection(parts, supports, *carved(parts, thing, supports, cell, extent, click))


def carved(
    parts: Sequence[SeenPart],
    thing: Float[Tensor, "N 3"],
    supports: Sequence[Plane],
    cell: float,
    extent: Extent,
    click: Click | None = None,
) -> tuple[Lattice, Bool[Tensor, "X Y Z"]]:
    """Return the cells of a thing from points of its surface: its outlines, and their hull.

    Args:
        parts: What the photographs show around it.
        thing: Points of its surface.
        supports: The planes that it stands on.
        cell: See `cell_size`.
        extent: Roughly where it is.
        click: On it, if there was one.

    Raises:
        InputError: The photographs do not agree about it.
    """
    solid = torch.cat([part.points[part.solid] for part in parts])
    pixel = cell / CELL_PIXELS
    footings = [Footing.find(plane, rough_height(plane, thing), thing, pixel) for plane in supports]
    surface = torch.cat([thing, *(solid[footing.under(solid)] for footing in footings)])
    voxels = Voxels(thing, cell)
    outlines = []
    for part in parts:
        points, shape = part.points.view(-1, 3), part.valid.shape
        own = rises(points, supports) & voxels.contain(points)
        doubtful = torch.zeros_like(own)
        for footing in footings:
            own |= footing.under(points)
            doubtful |= footing.doubts(points)
        mask, doubtful = part.valid & part.depth.isfinite() & own.view(shape), doubtful.view(shape)
        known = []
        if click is not None and click.view.name == part.view.name:
            known.append(part.camera.project(click.point[None]).pixels[0])
        outlines.append(Outline(part, refine(part, mask, known, doubtful)))
    shown = [outline for outline in outlines if bool(outline.mask.any())]
    return carve(shown, surface, supports, cell, (extent.center, MARGIN * extent.radius))


def rough_height(plane: Plane, thing: Float[Tensor, "N 3"]) -> float:
    """Return the height over a support up to which what rises may be its own rough depth, not the thing."""
    return min(ROUGH * plane.tolerance, LOW * float(plane.height(thing).quantile(TOP)))
