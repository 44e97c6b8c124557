"""Compiled hash encoding (see `kernels.hashgrid`).

Points are planes [3, M], features planes [L * F, M], F is 2. A task of the forward is a block of points on
one level, level after level, so that a level's table stays in the cache. A task of the backward is a level:
no two write to the same memory, and sums have one order. Sixteen points (LANES) are computed at once.
"""

# pyright: reportCallIssue=false
# Numba calls an intrinsic without the typing context that its definition takes.
from __future__ import annotations

import numpy as np
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from nerf_insert.kernels.cpu.simd import LANES, Plane, gather_pairs, scatter_pairs, splat
from nerf_insert.kernels.hashgrid import PRIMES

jit = njit(cache=True, nogil=True, error_model="numpy")

FEATURES = 2


def _corners(builder, dense, level, points, i):
    """Yield for each corner of sixteen cells: its sides, its table entries, its weights along x, y, z."""
    scale, shift, resolution, size = (splat(builder, part) for part in cgutils.unpack_tuple(builder, level))
    cells, weights = [], []
    for axis in range(3):
        x = points.load(axis, i)
        zero, one = x.like(0.0), x.like(1.0)
        position = x.at_least(zero).at_most(one).times_plus(scale, shift)
        cell = position.floor()
        cells.append(cell.whole())
        weights.append((one - (position - cell), position - cell))
    one = size.like(1)
    y, z = (resolution, resolution * resolution) if dense else (one.like(prime) for prime in PRIMES[1:])
    parts = [
        (start, start + stride) for start, stride in zip(_times(cells, one, y, z), (one, y, z), strict=True)
    ]
    for corner in range(8):
        which = corner & 1, corner >> 1 & 1, corner >> 2
        a, b, c = (part[side] for part, side in zip(parts, which, strict=True))
        if dense:
            index = a + (b + c)
            index = index.where(index.below(size), index - size)
        else:
            index = (a ^ (b ^ c)) & (size - one)
        yield which, index, [pair[side] for pair, side in zip(weights, which, strict=True)]


def _times(cells, *strides):
    return [cell * stride for cell, stride in zip(cells, strides, strict=True)]


def _planes(context, builder, signature, arguments, *which):
    return [Plane(context, builder, signature.args[k], arguments[k]) for k in which]


@intrinsic(prefer_literal=True)
def _encode(_, dense, level, points, i, table, planes):
    """Write the features of points i to i + 15 on a level (see `_level`) into both planes."""

    def generate(context, builder, signature, arguments):
        points, table, planes = _planes(context, builder, signature, arguments, 2, 4, 5)
        i = arguments[3]
        first = second = points.load(0, i).like(0.0)
        for _, index, (x, y, z) in _corners(builder, dense.literal_value, arguments[1], points, i):
            weight = x * (y * z)
            a, b = gather_pairs(table, index)
            first, second = weight.times_plus(a, first), weight.times_plus(b, second)
        planes.store(0, i, first)
        planes.store(1, i, second)
        return context.get_dummy_value()

    return types.void(dense, level, points, i, table, planes), generate


@intrinsic(prefer_literal=True)
def _scatter(_, dense, level, points, i, planes, grad_table):
    """Add the gradients of points i to i + 15, times the corners' weights, to the entries they read."""

    def generate(context, builder, signature, arguments):
        points, planes, grad_table = _planes(context, builder, signature, arguments, 2, 4, 5)
        i = arguments[3]
        first, second = planes.load(0, i), planes.load(1, i)
        corners = []
        for _, index, (x, y, z) in _corners(builder, dense.literal_value, arguments[1], points, i):
            weight = x * (y * z)
            corners.append((index, weight * first, weight * second))
        scatter_pairs(grad_table, corners)
        return context.get_dummy_value()

    return types.void(dense, level, points, i, planes, grad_table), generate


@intrinsic(prefer_literal=True)
def _slope(_, dense, level, points, i, table, planes, grad_points):
    """Add a level's gradient to that of points i to i + 15."""

    def generate(context, builder, signature, arguments):
        points, table, planes, grad_points = _planes(context, builder, signature, arguments, 2, 4, 5, 6)
        i = arguments[3]
        first, second = planes.load(0, i), planes.load(1, i)
        slopes = [first.like(0.0)] * 3
        for which, index, (x, y, z) in _corners(builder, dense.literal_value, arguments[1], points, i):
            a, b = gather_pairs(table, index)
            value = first.times_plus(a, second * b)
            for axis, others in enumerate((y * z, x * z, x * y)):
                change = others * value
                slopes[axis] = slopes[axis] + change if which[axis] else slopes[axis] - change
        scale = splat(builder, cgutils.unpack_tuple(builder, arguments[1])[0])
        for axis, slope in enumerate(slopes):
            grad_points.store(axis, i, slope.times_plus(scale, grad_points.load(axis, i)))
        return context.get_dummy_value()

    return types.void(dense, level, points, i, table, planes, grad_points), generate


@jit
def _level(level, scales, shift, resolutions, offsets):
    """Return scale, shift, resolution and size of a level, and the range of its entries."""
    first, end = offsets[level], offsets[level + 1]
    return (scales[level], shift, np.uint32(resolutions[level]), np.uint32(end - first)), first, end


@jit
def _padded(planes, start):
    """Return the columns from `start` on, padded with zeros to sixteen."""
    rest = np.zeros((planes.shape[0], LANES), np.float32)
    rest[:, : planes.shape[1] - start] = planes[:, start:]
    return rest


@jit
def forward(task, block, scales, shift, resolutions, dense, offsets, points, table, planes):
    """Encode a block of points on one level."""
    count = points.shape[1]
    blocks = (count + block - 1) // block
    number = task // blocks
    level, first, end = _level(number, scales, shift, resolutions, offsets)
    entries, out = table[first:end], planes[2 * number : 2 * number + 2]
    start = task % blocks * block
    stop = min(start + block, count)
    whole = stop - (stop - start) % LANES
    for i in range(start, whole, LANES):
        if dense[number]:
            _encode(True, level, points, i, entries, out)
        else:
            _encode(False, level, points, i, entries, out)
    if whole < stop:
        rest, result = _padded(points, whole), np.empty((2, LANES), np.float32)
        if dense[number]:
            _encode(True, level, rest, 0, entries, result)
        else:
            _encode(False, level, rest, 0, entries, result)
        out[:, whole:] = result[:, : stop - whole]


@jit
def encode_tile(levels, points, table, count, planes):
    """Encode the first `count` points of a tile, rounded up to sixteen, on all levels.

    `levels` are scales, shift, resolutions, dense and offsets.
    """
    dense = levels[3]
    for number in range(dense.shape[0]):
        level, first, end = _level(number, levels[0], levels[1], levels[2], levels[4])
        entries, out = table[first:end], planes[2 * number : 2 * number + 2]
        for i in range(0, count, LANES):
            if dense[number]:
                _encode(True, level, points, i, entries, out)
            else:
                _encode(False, level, points, i, entries, out)


@jit
def backward(task, scales, shift, resolutions, dense, offsets, points, planes, grad_table):
    """Overwrite one level of `grad_table` with the sum of all points' gradients."""
    number = scales.shape[0] - 1 - task  # the finest, slowest first
    level, first, end = _level(number, scales, shift, resolutions, offsets)
    entries, grad = grad_table[first:end], planes[2 * number : 2 * number + 2]
    entries[:] = 0
    count = points.shape[1]
    whole = count - count % LANES
    for i in range(0, whole, LANES):
        if dense[number]:
            _scatter(True, level, points, i, grad, entries)
        else:
            _scatter(False, level, points, i, grad, entries)
    if whole < count:
        rest, part = _padded(points, whole), _padded(grad, whole)
        if dense[number]:
            _scatter(True, level, rest, 0, part, entries)
        else:
            _scatter(False, level, rest, 0, part, entries)


@jit
def backward_points(
    task, block, scales, shift, resolutions, dense, offsets, points, table, planes, grad_points
):
    """Sum up over all levels the gradients of a block of points, in planes `grad_points` [3, M]."""
    count = points.shape[1]
    start = task * block
    stop = min(start + block, count)
    whole = stop - (stop - start) % LANES
    grad_points[:, start:stop] = 0
    for number in range(scales.shape[0]):
        level, first, end = _level(number, scales, shift, resolutions, offsets)
        entries, grad = table[first:end], planes[2 * number : 2 * number + 2]
        for i in range(start, whole, LANES):
            if dense[number]:
                _slope(True, level, points, i, entries, grad, grad_points)
            else:
                _slope(False, level, points, i, entries, grad, grad_points)
        if whole < stop:
            rest, part = _padded(points, whole), _padded(grad, whole)
            result = np.zeros((3, LANES), np.float32)
            if dense[number]:
                _slope(True, level, rest, 0, entries, part, result)
            else:
                _slope(False, level, rest, 0, entries, part, result)
            grad_points[:, whole:] += result[:, : stop - whole]
