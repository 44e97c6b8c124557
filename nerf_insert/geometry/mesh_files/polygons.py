"""Divide polygons into triangles.

P polygons with C corners in all, which lie one polygon after the other; F triangles.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int64

from nerf_insert.geometry.mesh_files.parts import Refusal

MAX_CORNERS = 100_000  # of one polygon
MAX_CONCAVE = 2_000  # corners of a concave polygon, which takes time that grows with their square


def triangulate(
    points: Float[np.ndarray, "C 3"], lengths: Int64[np.ndarray, " P"]
) -> Int64[np.ndarray, "F 3"]:
    """Divide polygons, which may be concave and not quite plane.

    Args:
        points: The corners of all polygons.
        lengths: The number of corners of each. Polygons of fewer than three have no triangles.

    Returns:
        Indices of corners, in the order of the polygons.

    Raises:
        Refusal: A polygon has too many corners.
    """
    if len(lengths) and lengths.max() > MAX_CORNERS:
        raise Refusal(f"has a polygon with {lengths.max():,} corners: divide it into triangles")
    starts = lengths.cumsum() - lengths
    faces, owners = [], []
    for n in np.unique(lengths[lengths >= 3]).tolist():
        of_size = np.flatnonzero(lengths == n)
        index = starts[of_size, None] + np.arange(n)
        local = _fans(points[index], n)
        faces.append(index[np.arange(len(index))[:, None, None], local].reshape(-1, 3))
        owners.append(of_size.repeat(n - 2))
    if not faces:
        return np.zeros((0, 3), np.int64)
    order = np.argsort(np.concatenate(owners), kind="stable")
    return np.concatenate(faces)[order]


def _fans(corners: Float[np.ndarray, "P n 3"], n: int) -> Int64[np.ndarray, "P m 3"]:
    """Triangles of polygons with n corners each, as indices of these."""
    fan = np.stack([np.zeros(n - 2, np.int64), np.arange(1, n - 1), np.arange(2, n)], 1)
    out = np.broadcast_to(fan, (len(corners), n - 2, 3)).copy()
    if n == 3:
        return out
    with np.errstate(invalid="ignore", over="ignore"):
        following = np.roll(corners, -1, axis=1)
        normal = np.cross(corners - corners[:, :1], following - corners[:, :1]).sum(1)  # twice the area
        before, after = corners - np.roll(corners, 1, axis=1), following - corners
        turn = (np.cross(before, after) * normal[:, None]).sum(-1)
        concave = (turn < -1e-9 * np.abs(turn).max(1, keepdims=True)).any(1)
    if n == 4:  # the other diagonal lies inside if the reflex corner is 1 or 3
        other = np.array([[1, 2, 3], [1, 3, 0]])
        out[concave & np.isin(turn.argmin(1), (1, 3))] = other
        return out
    for k in np.flatnonzero(concave) if n <= MAX_CONCAVE else ():
        out[k] = _ears(corners[k], normal[k])
    return out


def _ears(corners: Float[np.ndarray, "n 3"], normal: Float[np.ndarray, " 3"]) -> Int64[np.ndarray, "m 3"]:
    """Cut one ear after the other off a concave polygon."""
    axis = int(np.abs(normal).argmax())
    flat = np.delete(corners, axis, axis=1)
    if (normal[axis] < 0) != (axis == 1):  # to run counterclockwise; without y, x and z are left-handed
        flat = flat[:, ::-1]
    left = list(range(len(flat)))
    out = []
    while len(left) > 3:
        for k in range(len(left)):
            a, b, c = left[k - 1], left[k], left[(k + 1) % len(left)]
            if _is_ear(flat, a, b, c, left):
                break
        else:  # crosses itself: any corner will do
            k = 0
            a, b, c = left[-1], left[0], left[1]
        out.append((a, b, c))
        left.pop(k)
    return np.array([*out, left], dtype=np.int64)


def _is_ear(flat: Float[np.ndarray, "n 2"], a: int, b: int, c: int, left: list[int]) -> bool:
    one, two, three = flat[a], flat[b], flat[c]
    if _side(one, two, three) <= 0:
        return False
    others = flat[[k for k in left if k not in (a, b, c)]]
    # Corners at the same place, as where a bridge leads to a hole, do not lie inside.
    others = others[~(others[:, None] == flat[[a, b, c]]).all(-1).any(-1)]
    inside = (_side(one, two, others) >= 0) & (_side(two, three, others) >= 0)
    return not bool((inside & (_side(three, one, others) >= 0)).any())


def _side(one, two, points):
    """Twice the signed area of the triangle with a point, or each of several."""
    x, y = points[..., 0] - one[0], points[..., 1] - one[1]
    return (two[0] - one[0]) * y - (two[1] - one[1]) * x
