"""Distances from the points of a grid to triangles near them.

Coordinates are in grid units: grid points have integer coordinates. F triangles, K pairs of a point and a
triangle.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

from nerf_insert.regions.inside_test import spans

LONGEST = 6.0  # longest edge of a triangle after splitting, grid units
FAR = np.float32(1e9)


def split(corners: Float[np.ndarray, "F 3 3"]) -> Float[np.ndarray, "G 3 3"]:
    """Split triangles until no edge is longer than LONGEST."""
    done = []
    while len(corners):
        edges = np.roll(corners, -1, axis=1) - corners
        length = (edges**2).sum(-1)
        longest = length.argmax(1)
        short = length.max(1) <= LONGEST**2
        done.append(corners[short])
        corners, longest = corners[~short], longest[~short]
        rows = np.arange(len(corners))
        a, b, c = (corners[rows, (longest + k) % 3] for k in range(3))
        middle = (a + b) / 2
        corners = np.concatenate([np.stack([a, middle, c], 1), np.stack([middle, b, c], 1)])
    return np.concatenate(done) if done else corners


def near_distances(
    corners: Float[np.ndarray, "F 3 3"], shape: tuple[int, int, int], reach: float
) -> tuple[Float[np.ndarray, "X Y Z"], Int[np.ndarray, "X Y Z"]]:
    """Find the nearest triangle of each grid point.

    Args:
        corners: Triangles; they should be small (see `split`).
        shape: Grid points along each axis.
        reach: The distance up to which the result is exact; beyond it is too large, or FAR.

    Returns:
        The distance to the nearest triangle, and that triangle's index.
    """
    distance = np.full(np.prod(shape), FAR)
    nearest = np.zeros(np.prod(shape), dtype=np.int32)
    corners = corners.astype(np.float32)
    low = np.maximum(np.ceil(corners.min(1) - reach), 0).astype(np.int64)
    high = np.minimum(np.floor(corners.max(1) + reach), np.array(shape) - 1).astype(np.int64)
    size = np.maximum(high - low + 1, 0)
    count = size.prod(1)
    for face, local in spans(np.zeros_like(count), count):
        _, depth, height = size[face].T
        slab, z = np.divmod(local, height)
        x, y = np.divmod(slab, depth)
        x, y, z = x + low[face, 0], y + low[face, 1], z + low[face, 2]
        found = to_triangles(np.stack([x, y, z], -1).astype(np.float32), corners[face])
        close = found <= reach
        flat = ((x * shape[1] + y) * shape[2] + z)[close]
        found, face = found[close], face[close]
        np.minimum.at(distance, flat, found)
        best = distance[flat] == found
        nearest[flat[best]] = face[best]
    return distance.reshape(shape), nearest.reshape(shape)


def to_triangles(
    points: Float[np.ndarray, "K 3"], corners: Float[np.ndarray, "K 3 3"]
) -> Float[np.ndarray, " K"]:
    """Return the distance from each point to the triangle of the same index."""
    # Coordinates first: numpy is several times quicker on long rows than on triples.
    p = points.T
    a, b, c = np.ascontiguousarray(corners.transpose(1, 2, 0))
    normal = cross(b - a, c - a)
    area = dot(normal, normal)
    height = dot(p - a, normal)
    above = area > 0
    best = np.full(len(points), np.inf, dtype=points.dtype)
    for start, end in ((a, b), (b, c), (c, a)):
        edge, away = end - start, p - start
        length = dot(edge, edge)
        fraction = np.clip(dot(away, edge) / np.where(length > 0, length, 1), 0, 1)
        rest = away - fraction * edge
        np.minimum(best, dot(rest, rest), out=best)
        above &= dot(cross(normal, edge), away) >= 0
    best = np.where(above, height * height / np.where(area > 0, area, 1), best)
    return np.sqrt(best)


def dot(a: Float[np.ndarray, "3 K"], b: Float[np.ndarray, "3 K"]) -> Float[np.ndarray, " K"]:
    """Return the dot products of rows of coordinates."""
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def cross(a: Float[np.ndarray, "3 K"], b: Float[np.ndarray, "3 K"]) -> Float[np.ndarray, "3 K"]:
    """Return the cross products of rows of coordinates."""
    return np.stack([a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]])
