"""The pieces that a surface consists of, told apart by color and by creases. World coordinates and units.

Two things that touch meet in a crease: the surface bends inwards there (Stein et al., "Object Partitioning
using Local Convexity", CVPR 2014). Cells of the surface that touch are merged, the most alike first, as long
as they differ no more than the pieces do within (Felzenszwalb and Huttenlocher, "Efficient Graph-Based Image
Segmentation", IJCV 2004). How large pieces become is a parameter, the scale; what stays the same over the
widest range of scales is a piece. N points, C cells.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import KDTree
from torch import Tensor

from nerf_insert.selection.cloud import SeenPart, usual_pixel_width
from nerf_insert.selection.support import MIN_LIFE, NEAR_BORDER, Extent, is_same

CELLS = 45  # along the radius of the ball that is looked at, if photographs show it that finely
SCALES = tuple(2.0**k for k in range(1, 9))
TOUCHING = 1.8  # cells between the middles of two that touch
LEAST_SEEN = 3  # points of a cell
DIFFERENT_COLOR = 30.0  # in CIELAB
CREASE = 20.0  # degrees
OUTWARDS = 0.2  # of a bend inwards by as much: a thing has edges of its own
WINDOW = 5  # pixels over which a normal is measured
MIN_CELLS = 40  # of a piece
MAX_AT_BORDER = 0.02  # fraction of a piece's cells beyond NEAR_BORDER of the ball's radius


@dataclass(frozen=True, eq=False)
class Piece:
    """A piece of a surface, beside others.

    Attributes:
        cells: The middles of the cells of the whole surface.
        own: Those of the piece.
        cell: Their side.
    """

    cells: Float[Tensor, "C 3"]
    own: Bool[Tensor, " C"]
    cell: float

    @property
    def points(self) -> Float[Tensor, "N 3"]:
        """The middles of the piece's cells."""
        return self.cells[self.own]

    @cached_property
    def _tree(self) -> KDTree:
        return KDTree(self.cells.numpy())

    def holds(self, points: Float[Tensor, "N 3"], reach: float = float("inf")) -> Bool[Tensor, " N"]:
        """Return which points are nearer to the piece than to the others, and within `reach` cells of it."""
        away, nearest = self._tree.query(points.numpy(), distance_upper_bound=reach * self.cell)
        found = torch.from_numpy(np.isfinite(away))
        result = torch.zeros(len(points), dtype=torch.bool)
        result[found] = self.own[torch.from_numpy(np.asarray(nearest))[found]]
        return result


class Pieces:
    """A surface in cells, and its pieces at each scale.

    Args:
        parts: What the photographs show of it.
        center: The middle of the ball in which they show it.
        radius: Of that.
    """

    def __init__(self, parts: Sequence[SeenPart], center: Float[Tensor, " 3"], radius: float):
        self.center, self.radius = center, radius
        self.cell = max(radius / CELLS, usual_pixel_width(parts, center)) if parts else radius / CELLS
        self._points, normals, colors = _cells(parts, self.cell)
        self._tree = KDTree(self._points) if len(self._points) else None
        self.labels: list[Int64[Tensor, " C"]] = []
        if self._tree is None:
            return
        self._pairs = pairs = self._tree.query_pairs(TOUCHING * self.cell, output_type="ndarray")
        normals = _smoothed(_smoothed(normals, pairs), pairs)
        differences = _differences(self._points, normals, colors, pairs)
        order = np.argsort(differences, kind="stable")
        edges = pairs[order].tolist(), differences[order].tolist()
        self.labels = [_merged(len(self._points), *edges, scale) for scale in SCALES]

    def at(self, points: Float[Tensor, "N 3"]) -> Piece | None:
        """Return the piece that all of some points are on, if the ball holds all of one; else None.

        One point can be on parts of the thing that is meant: what stays the same over the widest range of
        scales is taken. Of what several points are on, the smallest is.
        """
        cells = [self._cell_at(point) for point in points]
        if None in cells:
            return None
        lives: list[list[Piece]] = []
        for labels in self.labels:
            here = labels[cells]
            piece = Piece(self.cells, labels == here[0], self.cell)
            if not bool((here == here[0]).all()) or not self._is_whole(piece):
                continue
            if len(points) > 1:
                return self._with_islands(piece)
            if lives and is_same(Extent(lives[-1][-1].points), Extent(piece.points)):
                lives[-1].append(piece)
            else:
                lives.append([piece])
        longest = max(lives, key=lambda life: (len(life), int(life[0].own.sum())), default=[])
        return self._with_islands(longest[-1]) if len(longest) >= MIN_LIFE else None

    def _with_islands(self, piece: Piece) -> Piece:
        """Return a piece with what hangs on it alone: a label on a can, its rim."""
        own = piece.own.numpy()
        one, other = self._pairs.T
        beside = ~own[one] & ~own[other]
        graph = coo_array((np.ones(beside.sum()), (one[beside], other[beside])), shape=(len(own), len(own)))
        count, group = connected_components(graph, directed=False)
        touching = own[one] != own[other]
        island = np.zeros(count, dtype=bool)
        island[group[np.where(own[one], other, one)[touching]]] = True
        beyond = (self.cells - self.center).norm(dim=-1).numpy() > NEAR_BORDER * self.radius
        island[group[beyond & ~own]] = False  # goes on
        island &= np.bincount(group, minlength=count) < own.sum()
        return replace(piece, own=torch.from_numpy(own | island[group]))

    @cached_property
    def cells(self) -> Float[Tensor, "C 3"]:
        """The middles of the cells."""
        return torch.from_numpy(self._points).float()

    def _cell_at(self, point: Float[Tensor, " 3"]) -> int | None:
        """Return the cell that a point is in or beside."""
        if self._tree is None:
            return None
        away, nearest = self._tree.query(point.numpy(), distance_upper_bound=2 * TOUCHING * self.cell)
        return int(nearest) if np.isfinite(away) else None

    def _is_whole(self, piece: Piece) -> bool:
        beyond = (piece.points - self.center).norm(dim=-1) > NEAR_BORDER * self.radius
        return len(beyond) >= MIN_CELLS and float(beyond.float().mean()) < MAX_AT_BORDER


def _cells(
    parts: Sequence[SeenPart], cell: float
) -> tuple[Float[np.ndarray, "C 3"], Float[np.ndarray, "C 3"], Float[np.ndarray, "C 3"]]:
    """Return the mean point, normal and color (CIELAB) of each cell that enough pixels show."""
    points, normals, colors = [], [], []
    for part in parts:
        solid = part.solid.numpy()
        if not solid.any():
            continue
        where = part.points.numpy()
        normal = _normals(where, solid, part.camera.center.numpy())
        lab = cv2.cvtColor(np.ascontiguousarray(part.colors, dtype=np.float32) / 255, cv2.COLOR_RGB2LAB)
        for found, kind in ((where, points), (normal, normals), (lab, colors)):
            kind.append(found[solid].astype(np.float64))
    if not points:
        none = np.zeros((0, 3))
        return none, none, none
    shown = np.concatenate(points)
    index = np.floor((shown - shown.min(0)) / cell).astype(np.int64)
    _, group, count = np.unique(index, axis=0, return_inverse=True, return_counts=True)
    enough = count >= LEAST_SEEN
    place, normal, color = (
        _means(np.concatenate(kind), group.reshape(-1), count)[enough] for kind in (points, normals, colors)
    )
    return place, normal, color


def _means(
    values: Float[np.ndarray, "N 3"], group: Int64[np.ndarray, " N"], count: Int64[np.ndarray, " C"]
) -> Float[np.ndarray, "C 3"]:
    return np.stack([np.bincount(group, weights=column) / count for column in values.T], 1)


def _normals(
    points: Float[np.ndarray, "h w 3"], solid: Bool[np.ndarray, "h w"], eye: Float[np.ndarray, " 3"]
) -> Float[np.ndarray, "h w 3"]:
    """Return a part's normals, towards the camera."""
    weight = solid.astype(np.float32)
    size = (WINDOW, WINDOW)
    smooth = cv2.blur(points * weight[..., None], size) / np.maximum(cv2.blur(weight, size), 1e-6)[..., None]
    across, down = np.zeros_like(smooth), np.zeros_like(smooth)
    across[:, 1:-1] = smooth[:, 2:] - smooth[:, :-2]
    down[1:-1] = smooth[2:] - smooth[:-2]
    normal = np.cross(across, down)
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True) + 1e-12
    return normal * -np.sign(((points - eye) * normal).sum(-1, keepdims=True))


def _smoothed(normals: Float[np.ndarray, "C 3"], pairs: Int64[np.ndarray, "E 2"]) -> Float[np.ndarray, "C 3"]:
    """Return unit normals, each with those that touch it and point to the same side."""
    one, other = pairs.T
    alike = (normals[one] * normals[other]).sum(1, keepdims=True).clip(0)
    result = normals.copy()
    np.add.at(result, one, normals[other] * alike)
    np.add.at(result, other, normals[one] * alike)
    return result / (np.linalg.norm(result, axis=1, keepdims=True) + 1e-12)


def _differences(
    points: Float[np.ndarray, "C 3"],
    normals: Float[np.ndarray, "C 3"],
    colors: Float[np.ndarray, "C 3"],
    pairs: Int64[np.ndarray, "E 2"],
) -> Float[np.ndarray, " E"]:
    """Return by how much cells that touch differ."""
    one, other = pairs.T
    bend = np.degrees(np.arccos((normals[one] * normals[other]).sum(1).clip(-1, 1)))
    inwards = ((normals[other] - normals[one]) * (points[other] - points[one])).sum(1) < 0
    color = np.linalg.norm(colors[one] - colors[other], axis=1)
    return np.where(inwards, bend, OUTWARDS * bend) / CREASE + color / DIFFERENT_COLOR


def _merged(
    count: int, pairs: Sequence[Sequence[int]], differences: Sequence[float], scale: float
) -> Int64[Tensor, " C"]:
    """Return the piece of each cell, as the number of one of its cells.

    Args:
        count: Number of cells.
        pairs: Cells that touch, the most alike first.
        differences: Theirs.
        scale: How large pieces become.
    """
    parent, size, most = list(range(count)), [1] * count, [scale] * count

    def root(cell: int) -> int:
        while parent[cell] != cell:
            parent[cell] = parent[parent[cell]]
            cell = parent[cell]
        return cell

    for (one, other), difference in zip(pairs, differences, strict=True):
        one, other = root(one), root(other)
        if one != other and difference <= most[one] and difference <= most[other]:
            if size[one] < size[other]:
                one, other = other, one
            parent[other] = one
            size[one] += size[other]
            most[one] = difference + scale / size[one]
    return torch.tensor([root(cell) for cell in range(count)])
