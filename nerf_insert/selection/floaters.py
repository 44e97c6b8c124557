"""Floaters: what hangs in the air and the photographs do not confirm. World coordinates and units.

The scene's density is looked at on a grid where the photographs look. Pieces that touch nothing else are
rendered away: a thing that is really there, such as a lamp, makes most photographs that show it fit worse
when it is gone; a floater does not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy.ndimage import label
from torch import Tensor

from nerf_insert.capture.capture import Capture
from nerf_insert.capture.view import View
from nerf_insert.geometry.cameras import Camera, Rays
from nerf_insert.regions.distance_grid import Lattice
from nerf_insert.regions.grid_region import GridRegion
from nerf_insert.rendering.depth_view import DepthView
from nerf_insert.rendering.stack import LayerStack
from nerf_insert.runtime.progress import Progress

POINTS = 1_500_000  # of the grid
QUERIES = 1 << 17  # points in one call
MAX_VIEWS = 32  # photographs that are asked
OVERVIEW_RAYS = 40_000  # of their depth maps together
OUTLIERS = 0.02  # of the points that the photographs show, that may lie beyond each end of the grid
OPACITY = 0.2  # optical depth of a cell that is not empty
MAX_SHARE = 0.02  # of all filled cells, above which a piece is a part of the scene
MAX_PIECES = 150  # that are judged, the largest first
ASKED, RAYS = 6, 12  # photographs that judge a piece, and rays of each
MIN_SEEN = 0.3  # of those rays that have to reach the piece
GAIN = 1.1, (3 / 255) ** 2  # factor and term by which a photograph fits worse without what it confirms
MIN_CONFIRMED, MIN_CONFIRMED_SHARE = 2, 0.5  # photographs, and their share, that confirm a thing


@dataclass(frozen=True, eq=False)
class Floater:
    """A piece of the scene that is probably not there.

    Attributes:
        center: World coordinates.
        size: Diagonal of its bounding box, world units.
        seen: Photographs that were asked.
        confirmed: Those of them that fit worse without it.
    """

    center: Float[Tensor, " 3"]
    size: float
    seen: int
    confirmed: int


@dataclass(frozen=True, eq=False)
class Floaters:
    """What was found: the floaters, the largest first, and their cells."""

    found: tuple[Floater, ...]
    lattice: Lattice
    cells: Bool[Tensor, "X Y Z"]

    def region(self) -> GridRegion:
        """Return the cells of all floaters as a region.

        Raises:
            InputError: There are none.
        """
        return GridRegion.of_cells(self.lattice, self.cells)


def find_floaters(scene: LayerStack, capture: Capture, progress: Progress) -> Floaters:
    """Find what hangs in the air and few photographs confirm.

    Args:
        scene: The scene.
        capture: The photographs it was trained on.
        progress: Where the work is reported.
    """
    count = min(MAX_VIEWS, len(capture.train))
    views = [capture.train[k * len(capture.train) // count] for k in range(count)]
    with progress.task("Looking for floaters", total=3) as task:
        seen = _overview(scene, views)
        lattice = Lattice.over(_bounds(seen, views), 0.0, POINTS)
        filled = _filled(scene, lattice)
        task.advance(1)
        labels, pieces = _pieces(filled)
        task.advance(1)
        cells = torch.from_numpy(np.isin(labels, pieces))
        found: list[tuple[int, Floater]] = []
        if len(pieces):
            region = GridRegion.of_cells(lattice, cells)
            asked = [_ask(k, labels, lattice, views, seen) for k in pieces]
            votes = _votes(scene, region, views, asked)
            for piece, (asks, confirms) in zip(pieces, votes, strict=True):
                if asks and _is_floater(asks, confirms):
                    found.append((piece, _describe(piece, labels, lattice, asks, confirms)))
        task.advance(1)
    found.sort(key=lambda pair: -pair[1].size)
    cells = torch.from_numpy(np.isin(labels, [piece for piece, _ in found]))
    return Floaters(tuple(floater for _, floater in found), lattice, cells)


def _is_floater(asked: int, confirmed: int) -> bool:
    return confirmed < MIN_CONFIRMED or confirmed < MIN_CONFIRMED_SHARE * asked


def _overview(scene: LayerStack, views: Sequence[View]) -> list[DepthView]:
    total = sum(view.camera.width * view.camera.height for view in views)
    scale = min(1.0, (OVERVIEW_RAYS / total) ** 0.5)
    cameras = [view.camera.scaled(scale) for view in views]
    return [DepthView(camera=camera, depth=scene.render_image(camera).depth) for camera in cameras]


def _bounds(seen: Sequence[DepthView], views: Sequence[View]) -> Float[Tensor, "2 3"]:
    """The box of the cameras and of what they show nearby."""
    near = []
    for view in seen:
        depth = view.depth[view.depth.isfinite()]
        if len(depth):
            points = view.points()
            away = (points - view.camera.center).norm(dim=-1)
            near.append(points[away <= depth.median()])
    centers = torch.stack([view.camera.center for view in views])
    points = torch.cat(near) if near else centers
    ends = torch.stack([points.quantile(OUTLIERS, 0), points.quantile(1 - OUTLIERS, 0)])
    every = torch.cat([ends, centers])
    return torch.stack([every.amin(0), every.amax(0)])


def _filled(scene: LayerStack, lattice: Lattice) -> Bool[np.ndarray, "X Y Z"]:
    parts = []
    for points in lattice.points().split(QUERIES):
        up = torch.tensor([0.0, 0.0, 1.0]).expand(len(points), 3)
        parts.append(scene.query(points, up, rendered=True)[0] * lattice.spacing > OPACITY)
    return torch.cat(parts).view(lattice.shape).numpy()


def _pieces(filled: Bool[np.ndarray, "X Y Z"]) -> tuple[np.ndarray, list[int]]:
    """Return the connected pieces' numbers at the cells, and those of the pieces that may be floaters.

    A piece at the grid's border goes on outside.
    """
    labels, count = cast(tuple[np.ndarray, int], label(filled, structure=np.ones((3, 3, 3))))
    sizes = np.bincount(labels.reshape(-1), minlength=count + 1)
    faces = [labels.take(end, axis).reshape(-1) for axis in range(3) for end in (0, -1)]
    small = sizes <= MAX_SHARE * max(int(filled.sum()), 1)
    small[0] = small[np.concatenate(faces)] = False
    pieces = np.flatnonzero(small)
    return labels, pieces[sizes[pieces].argsort()[::-1]][:MAX_PIECES].tolist()


def _points_of(piece: int, labels: np.ndarray, lattice: Lattice) -> Float[Tensor, "N 3"]:
    index = torch.from_numpy(np.argwhere(labels == piece)).float()
    return lattice.low + lattice.spacing * index


def _ask(
    piece: int, labels: np.ndarray, lattice: Lattice, views: Sequence[View], seen: Sequence[DepthView]
) -> list[tuple[int, Float[Tensor, "_ 3"]]]:
    """Return the views in front of which a piece lies free, and points of it."""
    points = _points_of(piece, labels, lattice)
    points = points[torch.linspace(0, len(points) - 1, min(RAYS, len(points))).long()]
    asked = []
    for number, view in enumerate(seen):
        free = view.visibility(points, 2 * lattice.spacing)[1]
        if float(free.float().mean()) >= MIN_SEEN:
            asked.append((number, points[free]))
    chosen = [asked[k * len(asked) // ASKED] for k in range(ASKED)] if len(asked) > ASKED else asked
    return chosen


def _votes(
    scene: LayerStack,
    region: GridRegion,
    views: Sequence[View],
    asked: Sequence[Sequence[tuple[int, Float[Tensor, "_ 3"]]]],
) -> list[tuple[int, int]]:
    """Return for each piece how many photographs were asked and how many of them confirm it."""
    worse: dict[tuple[int, int], bool] = {}
    for number, view in enumerate(views):
        groups = [(k, points) for k, asks in enumerate(asked) for n, points in asks if n == number]
        if not groups:
            continue
        rays, colors = _rays_to(torch.cat([points for _, points in groups]), view)
        with_it = (scene.render(rays).rgb - colors).square().mean(-1)
        without = (scene.render(rays, exclude=region).rgb - colors).square().mean(-1)
        sizes = [len(points) for _, points in groups]
        for (k, _), a, b in zip(groups, with_it.split(sizes), without.split(sizes), strict=True):
            worse[k, number] = bool(b.mean() > GAIN[0] * a.mean() + GAIN[1])
    return [(len(asks), sum(worse[k, n] for n, _ in asks)) for k, asks in enumerate(asked)]


def _rays_to(points: Float[Tensor, "N 3"], view: View) -> tuple[Rays, Float[Tensor, "N 3"]]:
    """Return rays through the pixels that show points, and the photograph's colors there."""
    camera: Camera = view.camera
    x, y = camera.project(points).pixels.long().unbind(-1)
    x, y = x.clamp(0, camera.width - 1), y.clamp(0, camera.height - 1)
    rays = camera.rays_through(torch.stack([x, y], -1) + 0.5)
    return rays, view.photograph()[y, x]


def _describe(piece: int, labels: np.ndarray, lattice: Lattice, asked: int, confirmed: int) -> Floater:
    points = _points_of(piece, labels, lattice)
    low, high = points.amin(0) - lattice.spacing / 2, points.amax(0) + lattice.spacing / 2
    return Floater((low + high) / 2, float((high - low).norm()), asked, confirmed)
