"""Inside test for grid points and meshes that need not be watertight: parity votes along the three axes.

All grid lines along the three axes are intersected with all triangles. From either end of its three lines, a
point is inside where the number of crossings on the way is odd: six votes, of which a majority decides. A
closed surface gets six of six; a hole costs the votes that look through it; an open sheet never gets a
majority. Winding plays no part. Each connected part is tested by itself, so that parts may overlap. A ray
caster would need a hundred times the rays and leak through edges.

Triangle coordinates are in grid units: grid points have integer coordinates. V vertices, F faces, P parts.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from scipy import ndimage
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

VOTES = 6
PIECE = 1 << 18  # pairs worked on at once: few enough for the CPU's cache


class Crossings(NamedTuple):
    """The K crossings of grid lines along one axis with triangles."""

    line: Int[np.ndarray, "K 2"]  # the line's coordinates on the other two axes, in their order
    depth: Float[np.ndarray, " K"]  # coordinate along the axis
    part: Int[np.ndarray, " K"]  # ascending


def inside_points(
    vertices: Float[np.ndarray, "V 3"], faces: Int[np.ndarray, "F 3"], shape: tuple[int, int, int]
) -> Bool[np.ndarray, "X Y Z"]:
    """Return the grid points inside any part of a mesh.

    Args:
        vertices: Grid units; the whole mesh must lie within the grid.
        faces: Indices of vertices; the winding does not matter.
        shape: Grid points along each axis.
    """
    inside = np.zeros(shape, dtype=bool)
    faces, is_open, part = parts_of(vertices, faces)
    if not len(faces):
        return inside
    corners = vertices[faces]
    order = np.argsort(part, kind="stable")
    corners, part = corners[order], part[order]
    low, high = boxes(corners, part)
    size = high - low + 1
    crossings = [crossings_along(axis, corners, part, shape) for axis in range(3)]
    for number in np.flatnonzero((size > 0).all(1)):
        votes = np.zeros(size[number], dtype=np.uint8)
        for axis, found in enumerate(crossings):
            begin, end = np.searchsorted(found.part, [number, number + 1])
            votes += votes_along(
                axis, found.line[begin:end], found.depth[begin:end], low[number], size[number]
            )
        block = tuple(slice(a, a + n) for a, n in zip(low[number], size[number], strict=True))
        decided = votes > VOTES // 2
        if is_open[number]:  # votes leak through holes: no point decides against all of its neighbors
            around = ndimage.uniform_filter(votes.astype(np.float32), 5, mode="nearest")
            decided = np.where(np.abs(around - VOTES / 2) > VOTES / 4, around > VOTES / 2, decided)
        inside[block] |= decided
    return inside


def parts_of(
    vertices: Float[np.ndarray, "V 3"], faces: Int[np.ndarray, "F 3"]
) -> tuple[Int[np.ndarray, "G 3"], Bool[np.ndarray, " P"], Int[np.ndarray, " G"]]:
    """Split a mesh into parts connected by edges that exactly two faces share.

    Parts with a boundary appear once more, all together as one part: they may be patches of one surface with
    gaps between them.

    Returns:
        The faces, whether each part has a boundary, and the number of each face's part, from 0.
    """
    _, inverse = np.unique(vertices + 0.0, axis=0, return_inverse=True)  # + 0.0: no minus zero
    merged = inverse.reshape(-1)[faces]
    proper = (merged != np.roll(merged, 1, axis=1)).all(1)
    faces, merged = faces[proper], merged[proper]
    if not len(faces):
        return faces, np.zeros(0, dtype=bool), np.zeros(0, dtype=np.int64)
    keep = without_doubles(merged)
    faces, merged = faces[keep], merged[keep]

    edge, uses = edges_of(merged)
    order = np.argsort(edge, kind="stable")
    pairs = order[np.repeat(uses == 2, uses)] // 3
    part = components(len(faces), pairs[0::2], pairs[1::2])
    own_edge, own_uses = edges_of(merged, part)
    is_open = np.zeros(part.max(initial=-1) + 1, dtype=bool)
    is_open[part.repeat(3)[own_uses[own_edge] % 2 == 1]] = True
    if is_open.sum() > 1:
        loose = is_open[part]
        faces = np.concatenate([faces, faces[loose]])
        part = np.concatenate([part, np.full(loose.sum(), len(is_open))])
        is_open = np.append(is_open, True)
    return faces, is_open, part


def components(
    count: int, one: Int[np.ndarray, " E"], two: Int[np.ndarray, " E"]
) -> Int[np.ndarray, " count"]:
    """Return the number of each node's connected component in a graph with edges between `one` and `two`."""
    graph = coo_matrix((np.ones(len(one), dtype=np.int8), (one, two)), shape=(count, count))
    return connected_components(graph, directed=False)[1].astype(np.int64)


def edges_of(
    merged: Int[np.ndarray, "F 3"], part: Int[np.ndarray, " F"] | None = None
) -> tuple[Int[np.ndarray, " F3"], Int[np.ndarray, " E"]]:
    """Number the edges of faces.

    Args:
        merged: Faces whose coinciding vertices have one index.
        part: The part of each face; if given, edges of different parts are different.

    Returns:
        The number of each edge of each face, and how many faces have each edge.
    """
    ends = np.sort(np.stack([merged, np.roll(merged, -1, axis=1)], -1).reshape(-1, 2), axis=1)
    key = ends[:, 0] * (merged.max(initial=0) + 1) + ends[:, 1]
    _, edge, uses = np.unique(key, return_inverse=True, return_counts=True)
    if part is not None:
        key = edge.reshape(-1) * (part.max(initial=0) + 1) + part.repeat(3)
        _, edge, uses = np.unique(key, return_inverse=True, return_counts=True)
    return edge.reshape(-1), uses


def without_doubles(merged: Int[np.ndarray, "F 3"]) -> Bool[np.ndarray, " F"]:
    """Return which faces to keep of those that coincide.

    Where most faces of a connected part are double, each pair is front and back of one face: keep one.
    Elsewhere doubles are walls between cells that touch: keep none of an even number, one of an odd one.
    """
    _, first, double_of, uses = np.unique(
        np.sort(merged, axis=1), axis=0, return_index=True, return_inverse=True, return_counts=True
    )
    part = components(int(merged.max()) + 1, merged.reshape(-1), np.roll(merged, -1, axis=1).reshape(-1))[
        merged[:, 0]
    ]
    double = uses[double_of.reshape(-1)] > 1
    mostly = np.bincount(part, weights=double) > 0.5 * np.bincount(part)
    kept = np.zeros(len(merged), dtype=bool)
    kept[first] = (uses % 2 == 1) | mostly[part[first]]
    return kept


def boxes(
    corners: Float[np.ndarray, "F 3 3"], part: Int[np.ndarray, " F"]
) -> tuple[Int[np.ndarray, "P 3"], Int[np.ndarray, "P 3"]]:
    """Return the first and the last grid point within each part's box; last < first where there is none.

    Args:
        corners: Triangles, sorted by part.
        part: The part of each triangle, ascending.
    """
    begin = np.searchsorted(part, np.arange(part[-1] + 1))
    begin = np.append(begin, len(part))
    low, high = corners.min(1), corners.max(1)
    empty = begin[:-1] == begin[1:]
    begin = np.minimum(begin[:-1], len(part) - 1)
    first = np.ceil(np.minimum.reduceat(low, begin)).astype(np.int64)
    last = np.floor(np.maximum.reduceat(high, begin)).astype(np.int64)
    return first, np.where(empty[:, None], first - 1, last)


def crossings_along(
    axis: int, corners: Float[np.ndarray, "F 3 3"], part: Int[np.ndarray, " F"], shape: tuple[int, ...]
) -> Crossings:
    """Find all crossings of grid lines along an axis with triangles, by scan conversion.

    Rows and columns are half open and an edge is always computed from the same end, so that a line through a
    shared edge or vertex crosses exactly one of the triangles.
    """
    u, v = (other for other in range(3) if other != axis)
    rank = np.argsort(corners[:, :, v], axis=1, kind="stable")
    lo, mid, hi = np.take_along_axis(corners, rank[:, :, None], axis=1).transpose(1, 0, 2)
    first = np.clip(np.ceil(lo[:, v]), 0, shape[v]).astype(np.int64)
    last = np.clip(np.ceil(hi[:, v]), 0, shape[v]).astype(np.int64)
    lines, depths, parts = [], [], []
    for face, row in spans(first, last):
        a, b, c = lo[face], mid[face], hi[face]
        upper = (row >= b[:, v])[:, None]
        one, d_one = along_edge(a, c, row, u, v, axis)
        two, d_two = along_edge(np.where(upper, b, a), np.where(upper, c, b), row, u, v, axis)
        swap = one > two
        one, two = np.where(swap, two, one), np.where(swap, one, two)
        d_one, d_two = np.where(swap, d_two, d_one), np.where(swap, d_one, d_two)
        begin = np.clip(np.ceil(one), 0, shape[u]).astype(np.int64)
        end = np.clip(np.ceil(two), 0, shape[u]).astype(np.int64)
        for index, column in spans(begin, end):
            fraction = (column - one[index]) / (two[index] - one[index])
            lines.append(np.stack([column, row[index]], -1))
            depths.append(d_one[index] + fraction * (d_two[index] - d_one[index]))
            parts.append(part[face[index]])
    if not lines:
        return Crossings(np.zeros((0, 2), np.int64), np.zeros(0), np.zeros(0, np.int64))
    return Crossings(np.concatenate(lines), np.concatenate(depths), np.concatenate(parts))


def along_edge(
    a: Float[np.ndarray, "K 3"],
    b: Float[np.ndarray, "K 3"],
    row: Int[np.ndarray, " K"],
    u: int,
    v: int,
    axis: int,
) -> tuple[Float[np.ndarray, " K"], Float[np.ndarray, " K"]]:
    """Return where edges from a up to b meet rows: the coordinates along u and along the axis."""
    rise = b[:, v] - a[:, v]
    fraction = (row - a[:, v]) / np.where(rise > 0, rise, 1)
    return a[:, u] + fraction * (b[:, u] - a[:, u]), a[:, axis] + fraction * (b[:, axis] - a[:, axis])


def spans(
    first: Int[np.ndarray, " N"], last: Int[np.ndarray, " N"]
) -> Iterator[tuple[Int[np.ndarray, " K"], Int[np.ndarray, " K"]]]:
    """Yield arrays (index, value) of all first[index] <= value < last[index], in order, in bounded pieces."""
    counts = np.maximum(last - first, 0)
    total = np.append(0, np.cumsum(counts))
    begin = 0
    while begin < len(counts):
        end = max(begin + 1, int(np.searchsorted(total, total[begin] + PIECE, side="right")) - 1)
        index = np.repeat(np.arange(begin, end), counts[begin:end])
        if len(index):
            yield index, np.arange(len(index)) + total[begin] - total[index] + first[index]
        begin = end


def votes_along(
    axis: int,
    line: Int[np.ndarray, "K 2"],
    depth: Float[np.ndarray, " K"],
    low: Int[np.ndarray, " 3"],
    size: Int[np.ndarray, " 3"],
) -> UInt8[np.ndarray, "X Y Z"]:
    """Return 0 to 2 votes for each point of a block, from the two ends of its grid line along `axis`."""
    u, v = (other for other in range(3) if other != axis)
    index = np.clip(np.ceil(depth).astype(np.int64) - low[axis], 0, size[axis])
    column, row = line[:, 0] - low[u], line[:, 1] - low[v]
    flat = (column * size[v] + row) * (size[axis] + 1) + index
    count = np.bincount(flat, minlength=size[u] * size[v] * (size[axis] + 1)).astype(np.uint8)
    before = np.cumsum(
        count.reshape(size[u], size[v], size[axis] + 1), axis=-1, dtype=np.uint8
    )  # odd or even
    after = before[..., -1:] - before
    votes = ((before & 1) + (after & 1))[..., :-1]
    return np.moveaxis(votes, -1, axis)
