"""A selection corrected by a click, near the click only. World coordinates and units.

In the clicked photograph, the click spreads to what it means there (see spread.py). A click that takes away
removes the region in front of what those pixels show and, where they show the region's own surface, what lies
behind it as well. A click that adds puts a layer of cells on the surface that they show and on what other
photographs show of the same piece. Cells that are farther away than the piece is wide stay as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy.ndimage import binary_closing, binary_dilation, binary_fill_holes, distance_transform_edt
from scipy.spatial import KDTree
from torch import Tensor

from nerf_insert.regions.distance_grid import Lattice
from nerf_insert.selection.clicks import Click
from nerf_insert.selection.cloud import SeenPart, on_edge, pixel_width
from nerf_insert.selection.shape import Selection
from nerf_insert.selection.spread import spread
from nerf_insert.selection.support import connected, rises

BEHIND = 2.0  # spacings behind a surface that belong to it
DEEP = 1.5  # widths of a piece of the surface that go with it when it is taken away
AROUND = (
    0.75  # widths of a piece that is added, around its middle, within which other photographs complete it
)
MARGIN_CELLS = 4  # of the lattice around a piece that is added
CLOSING = 2  # cells
ROUNDS = 3  # over all clicks, until each is met


def correct(
    selection: Selection, adding: Sequence[tuple[Click, SeenPart]], taking: Sequence[tuple[Click, SeenPart]]
) -> Selection:
    """Return a selection in which clicks that add are inside, and those that take away outside.

    Args:
        selection: To be corrected.
        adding: Clicks with what their photographs show.
        taking: Clicks on what does not belong to it, likewise.
    """
    for _ in range(ROUNDS):
        met = True
        for clicks, others, adds in ((adding, taking, True), (taking, adding, False)):
            for click, part in clicks:
                shown = selection.shown(part)
                x, y = _pixel(click, part)
                if shown[y, x] == adds:
                    continue
                met = False
                staying = [_pixel(other, its) for other, its in others if its.view.name == part.view.name]
                selection = (_add if adds else _take)(selection, click, part, shown, staying)
        if met:
            break
    return selection


def _take(
    selection: Selection,
    click: Click,
    part: SeenPart,
    shown: Bool[np.ndarray, "h w"],
    staying: Sequence[tuple[int, int]],
) -> Selection:
    """Return the selection without what a click means."""
    lattice, spacing = selection.lattice, selection.lattice.spacing
    x, y = _pixel(click, part)
    change = spread(part.colors, on_edge(part.depth).numpy(), shown, (x, y), staying)
    index = selection.solid.nonzero()
    cells = lattice.low + spacing * index
    projection = part.camera.project(cells)
    hit = projection.inside.clone()
    column, row = projection.pixels[hit].long().unbind(-1)
    changed = torch.from_numpy(change)
    own = changed & part.solid
    own[own.clone()] = selection.within(part.points[own])
    pixel = pixel_width(part, click.point)
    behind = pixel * _thickness(own).clamp_min(BEHIND * spacing / pixel)
    front = projection.distance[hit] < (part.depth + behind)[row, column]
    cut, kept = torch.zeros(len(cells), dtype=torch.bool), torch.zeros(len(cells), dtype=torch.bool)
    cut[hit] = front & changed[row, column]
    # The middle of a cell may fall beside a narrow piece whose pixels the cell covers.
    ray = click.point - part.camera.center
    ray = ray / ray.norm()
    along = (cells - part.camera.center) @ ray
    off = (cells - part.camera.center - along[:, None] * ray).norm(dim=-1)
    cut |= (off < spacing) & (along < float(part.depth[y, x]) + BEHIND * spacing)
    kept[hit] = front & torch.from_numpy(shown & ~change)[row, column]
    if bool(own.any()):
        width = float(own.sum()) ** 0.5 * pixel
        hidden = (~cut & ~kept).nonzero()[:, 0]
        away = _gaps(cells[cut], cells[hidden])
        nearer = (_gaps(part.points[own], cells[hidden]) < DEEP * width) & (
            away < _gaps(cells[kept], cells[hidden])
        )
        cut[hidden[nearer]] = True
    solid = selection.solid.clone()
    solid[tuple(index[cut].T)] = False
    return replace(selection, solid=solid)


def _add(
    selection: Selection,
    click: Click,
    part: SeenPart,
    shown: Bool[np.ndarray, "h w"],
    staying: Sequence[tuple[int, int]],
) -> Selection:
    """Return the selection with what a click means."""
    spacing = selection.lattice.spacing
    x, y = _pixel(click, part)
    raised = rises(part.points.view(-1, 3), selection.supports).view(part.valid.shape)
    closed = ~raised.numpy() if bool(raised[y, x]) else None  # a click on a thing does not mean its support
    change = torch.from_numpy(
        spread(part.colors, on_edge(part.depth).numpy(), shown, (x, y), staying, closed)
    )
    distance = float((click.point - part.camera.center).norm())
    width = float(change.sum()) ** 0.5 * pixel_width(part, click.point)
    near = part.valid & ((part.depth - distance).abs() < max(2 * width, 3 * spacing))
    piece = torch.cat([part.points[change & near], click.point[None]])
    middle, radius = piece.mean(0), float((piece - piece.mean(0)).norm(dim=-1).max()) + AROUND * width
    beside = part.points[part.solid & ~change & ~torch.from_numpy(shown)]
    found = [piece]
    for other in selection.parts:
        points = other.points[other.solid]
        points = points[(points - middle).norm(dim=-1) < radius]
        points = points[~selection.within(points) & rises(points, selection.supports)]
        if other.view.name != part.view.name and len(points):
            found.append(points[_gaps(piece, points) < _gaps(beside, points)])
    points = torch.cat(found)
    points = points[connected(points, piece, (), 2 * spacing)]
    selection = _padded(selection, torch.stack([points.amin(0), points.amax(0)]))
    index = ((points - selection.lattice.low) / spacing).round().long()
    added = torch.zeros(selection.lattice.shape, dtype=torch.bool)
    added[tuple(index.T)] = True
    solid = selection.solid.numpy() | np.asarray(binary_dilation(added.numpy()), dtype=bool)
    low, high = index.amin(0).tolist(), index.amax(0).tolist()
    window = tuple(
        slice(max(0, a - MARGIN_CELLS), b + MARGIN_CELLS + 1) for a, b in zip(low, high, strict=True)
    )
    whole = np.asarray(binary_closing(solid[window], iterations=CLOSING), dtype=bool) | solid[window]
    solid[window] = binary_fill_holes(whole)
    return replace(selection, solid=torch.from_numpy(solid))


def _thickness(piece: Bool[Tensor, "h w"]) -> Float[Tensor, "h w"]:
    """How deep a piece of a photograph is taken to be, in pixels: a ball is as deep as it is wide."""
    inner = torch.from_numpy(np.asarray(distance_transform_edt(np.pad(piece.numpy(), 1)))[1:-1, 1:-1]).float()
    return 2 * (inner * (2 * inner.max() - inner)).sqrt()


def _padded(selection: Selection, bounds: Float[Tensor, "2 3"]) -> Selection:
    """The same cells on a lattice that also holds a box."""
    lattice, spacing = selection.lattice, selection.lattice.spacing
    shape = torch.tensor(lattice.shape)
    low = ((bounds[0] - lattice.low) / spacing).floor().long() - MARGIN_CELLS
    high = ((bounds[1] - lattice.low) / spacing).ceil().long() + MARGIN_CELLS
    before, after = (-low).clamp_min(0), (high + 1 - shape).clamp_min(0)
    if not bool((before + after).any()):
        return selection
    pads = [pad for axis in (2, 1, 0) for pad in (int(before[axis]), int(after[axis]))]
    solid = torch.nn.functional.pad(selection.solid, pads)
    x, y, z = solid.shape
    return replace(
        selection, lattice=Lattice(lattice.low - spacing * before, spacing, (x, y, z)), solid=solid
    )


def _pixel(click: Click, part: SeenPart) -> tuple[int, int]:
    """The pixel (column, row) of a part that a click is on, or the nearest one."""
    x, y = part.camera.project(click.point[None]).pixels[0].long().tolist()
    height, width = part.valid.shape
    return min(max(x, 0), width - 1), min(max(y, 0), height - 1)


def _gaps(points: Float[Tensor, "N 3"], queries: Float[Tensor, "M 3"]) -> Float[Tensor, " M"]:
    """The distance of each query to the nearest point; infinity where there is none."""
    if not len(points) or not len(queries):
        return torch.full((len(queries),), float("inf"))
    return torch.as_tensor(KDTree(points.numpy()).query(queries.numpy())[0]).float()
