"""Compiled hash encoding; `hashgrid` says what is computed.

The forward's tasks are blocks of points on one level, level after level, so that a level's table stays in
the cache; results are planes [L * F, M]. The backward's tasks are levels: no two write to the same memory,
and sums have one order. F is 2.
"""

from __future__ import annotations

import numpy as np
from numba import njit

jit = njit(cache=True, nogil=True, error_model="numpy")

FEATURES = 2
Y, Z = np.uint32(2654435761), np.uint32(805459861)


@jit
def _split(x, scale):
    """The cell of a coordinate and the position in it, rounded as one fused multiply-add would."""
    position = np.float32(np.float64(min(max(x, np.float32(0)), np.float32(1))) * np.float64(scale) + 0.5)
    cell = np.floor(position)
    return np.uint32(cell), position - cell


@jit
def _index(x, y, z, dense, resolution, size):
    if dense:
        index = x + resolution * (y + resolution * z)
        return index if index < size else index - size
    return (x ^ (y * Y) ^ (z * Z)) & np.uint32(size - 1)


@jit
def forward(task, block, scales, resolutions, dense, offsets, points, table, planes):
    count = points.shape[0]
    blocks = (count + block - 1) // block
    level = task // blocks
    first = (task % blocks) * block
    scale, resolution, flat = scales[level], np.uint32(resolutions[level]), dense[level]
    at, size = offsets[level], np.uint32(offsets[level + 1] - offsets[level])
    one = np.float32(1)
    for i in range(first, min(first + block, count)):
        x, u = _split(points[i, 0], scale)
        y, v = _split(points[i, 1], scale)
        z, w = _split(points[i, 2], scale)
        a = np.float32(0)
        b = np.float32(0)
        for corner in range(8):
            cx, cy, cz = corner & 1, corner >> 1 & 1, corner >> 2
            index = at + _index(
                np.uint32(x + cx), np.uint32(y + cy), np.uint32(z + cz), flat, resolution, size
            )
            weight = (u if cx else one - u) * (v if cy else one - v) * (w if cz else one - w)
            a += weight * table[index, 0]
            b += weight * table[index, 1]
        planes[2 * level, i] = a
        planes[2 * level + 1, i] = b


@jit
def backward(task, scales, resolutions, dense, offsets, points, grad, to_table):
    level = scales.shape[0] - 1 - task  # the finest, slowest first
    scale, resolution, flat = scales[level], np.uint32(resolutions[level]), dense[level]
    at, size = offsets[level], np.uint32(offsets[level + 1] - offsets[level])
    one = np.float32(1)
    to_table[at : offsets[level + 1]] = 0
    for i in range(points.shape[0]):
        x, u = _split(points[i, 0], scale)
        y, v = _split(points[i, 1], scale)
        z, w = _split(points[i, 2], scale)
        a, b = grad[2 * level, i], grad[2 * level + 1, i]
        for corner in range(8):
            cx, cy, cz = corner & 1, corner >> 1 & 1, corner >> 2
            index = at + _index(
                np.uint32(x + cx), np.uint32(y + cy), np.uint32(z + cz), flat, resolution, size
            )
            weight = (u if cx else one - u) * (v if cy else one - v) * (w if cz else one - w)
            to_table[index, 0] += weight * a
            to_table[index, 1] += weight * b


@jit
def backward_points(task, block, scales, resolutions, dense, offsets, points, table, grad, to_points):
    one = np.float32(1)
    for i in range(task * block, min((task + 1) * block, points.shape[0])):
        gx = gy = gz = 0.0
        for level in range(scales.shape[0]):
            scale, resolution, flat = scales[level], np.uint32(resolutions[level]), dense[level]
            at, size = offsets[level], np.uint32(offsets[level + 1] - offsets[level])
            x, u = _split(points[i, 0], scale)
            y, v = _split(points[i, 1], scale)
            z, w = _split(points[i, 2], scale)
            a, b = grad[2 * level, i], grad[2 * level + 1, i]
            for corner in range(8):
                cx, cy, cz = corner & 1, corner >> 1 & 1, corner >> 2
                index = at + _index(
                    np.uint32(x + cx), np.uint32(y + cy), np.uint32(z + cz), flat, resolution, size
                )
                value = scale * (a * table[index, 0] + b * table[index, 1])
                wx, wy, wz = u if cx else one - u, v if cy else one - v, w if cz else one - w
                gx += value * wy * wz if cx else -value * wy * wz
                gy += value * wx * wz if cy else -value * wx * wz
                gz += value * wx * wy if cz else -value * wx * wy
        for axis, total in enumerate((gx, gy, gz)):
            to_points[i, axis] = total if 0 <= points[i, axis] <= 1 else 0.0
