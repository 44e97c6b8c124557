"""Compiled marching of rays through an occupancy grid (see `kernels.marching`).

A task is a block of rays: it writes each ray's number of samples into `counts` and returns their starts and
ends. The arithmetic is, operation by operation, that of `reference`.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

jit = njit(cache=True, nogil=True, error_model="numpy")

COARSE = 8  # cells along a side of the blocks that are skipped at once


@jit
def coarse(occupancy):
    """Mark the blocks of 8 x 8 x 8 cells that hold an occupied cell."""
    nx, ny, nz = occupancy.shape
    blocks = np.zeros(((nx + 7) // COARSE, (ny + 7) // COARSE, (nz + 7) // COARSE), np.bool_)
    for x in range(nx):
        for y in range(ny):
            for block in range(blocks.shape[2]):
                some = False
                for z in range(block * COARSE, min((block + 1) * COARSE, nz)):
                    some |= occupancy[x, y, z]
                if some:
                    blocks[x // COARSE, y // COARSE, block] = True
    return blocks


@jit
def _cell(position, low, scale, cells):
    return min(max(math.floor((position - low) * scale), 0), cells - 1)


@jit
def _longer(values):
    result = np.empty(2 * values.shape[0], values.dtype)
    result[: values.shape[0]] = values
    return result


@jit
def _slab(o, d, low, high):
    """Return where a ray enters and leaves the space between two planes."""
    if d == 0:
        return (-np.inf, np.inf) if low <= o <= high else (np.inf, -np.inf)
    a, b = (low - o) / d, (high - o) / d
    return min(a, b), max(a, b)


@jit
def _leave(o, inverse, cell, width, low, scale):
    """Return where a ray leaves, along one axis, the block of `width` cells that holds `cell`."""
    first = cell // width * width
    return (low + (first + (width if inverse > 0 else 0)) * scale - o) * inverse


@jit
def three(rows, i):
    """Return a row of three as float64."""
    return np.float64(rows[i, 0]), np.float64(rows[i, 1]), np.float64(rows[i, 2])


@jit
def _walk_box(o, d, u, k, entry, leave, occupancy, blocks, step, low, scale, starts, ends, n):
    """Walk from sample k until the ray ends or `starts` is full; return the next k (-1: none) and n."""
    inverse = 1 / d[0], 1 / d[1], 1 / d[2]
    nx, ny, nz = occupancy.shape
    while n < starts.shape[0]:
        start = entry if k == 0 else entry + (k - u) * step
        if not start < leave:
            return -1, n
        end = min(entry + (k + 1 - u) * step, leave)
        middle = 0.5 * (start + end)
        x = _cell(o[0] + middle * d[0], low[0], scale[0], nx)
        y = _cell(o[1] + middle * d[1], low[1], scale[1], ny)
        z = _cell(o[2] + middle * d[2], low[2], scale[2], nz)
        k += 1
        if occupancy[x, y, z]:
            starts[n], ends[n] = start, end
            n += ends[n] > starts[n]  # one that is empty in float32 does not count
        else:
            # Skip to the last sample whose midpoint is surely still in this empty space.
            width = 1 if blocks[x // COARSE, y // COARSE, z // COARSE] else COARSE
            t = leave
            for axis, cell in enumerate((x, y, z)):
                if d[axis] != 0:
                    t = min(t, _leave(o[axis], inverse[axis], cell, width, low[axis], 1 / scale[axis]))
            k = max(k, math.floor((t - entry) / step + u - 0.5))
    return k, n


@jit
def box(task, block, origins, directions, occupancy, shifts, counts, blocks, step, low, high, near, far):
    """March a block of rays through the cells of a box."""
    nx, ny, nz = occupancy.shape
    scale = nx / (high[0] - low[0]), ny / (high[1] - low[1]), nz / (high[2] - low[2])
    low, high = (low[0], low[1], low[2]), (high[0], high[1], high[2])
    starts, ends = np.empty(16 * block, np.float32), np.empty(16 * block, np.float32)
    n = 0
    for ray in range(task * block, min((task + 1) * block, origins.shape[0])):
        o, d = three(origins, ray), three(directions, ray)
        entry, leave = near, far
        for axis in range(3):
            a, b = _slab(o[axis], d[axis], low[axis], high[axis])
            entry, leave = max(entry, a), min(leave, b)
        before = n
        k = 0 if leave > entry and leave < np.inf else -1
        while k >= 0:
            k, n = _walk_box(
                o,
                d,
                np.float64(shifts[ray]),
                k,
                entry,
                leave,
                occupancy,
                blocks,
                step,
                low,
                scale,
                starts,
                ends,
                n,
            )
            if k >= 0:
                starts, ends = _longer(starts), _longer(ends)
        counts[ray] = n - before
    return starts[:n], ends[:n]


@jit
def _walk_contracted(o, d, start, part, far, occupancy, step, starts, ends, n):
    """Walk from `start` until the ray ends or `starts` is full; return the next start, its part, and n."""
    nx, ny, nz = occupancy.shape
    while start < far and n < starts.shape[0]:
        size = max(abs(o[0] + start * d[0]), abs(o[1] + start * d[1]), abs(o[2] + start * d[2]), 1.0)
        following = start + part * (step * (size * size))
        end = min(following, far)
        middle = 0.5 * (start + end)
        x, y, z = o[0] + middle * d[0], o[1] + middle * d[1], o[2] + middle * d[2]
        size = max(abs(x), abs(y), abs(z))
        if size > 1:
            shrink = (2 - 1 / size) / size
            x, y, z = shrink * x, shrink * y, shrink * z
        if occupancy[_cell(x, -2.0, nx / 4, nx), _cell(y, -2.0, ny / 4, ny), _cell(z, -2.0, nz / 4, nz)]:
            starts[n], ends[n] = start, end
            n += ends[n] > starts[n]
        start, part = following, 1.0
    return start, part, n


@jit
def contracted(task, block, origins, directions, occupancy, shifts, counts, step, near, far):
    """March a block of rays through the cells of contracted space."""
    starts, ends = np.empty(16 * block, np.float32), np.empty(16 * block, np.float32)
    n = 0
    for ray in range(task * block, min((task + 1) * block, origins.shape[0])):
        o, d = three(origins, ray), three(directions, ray)
        before = n
        start, part = near, 1 - np.float64(shifts[ray])
        while start < far:
            start, part, n = _walk_contracted(o, d, start, part, far, occupancy, step, starts, ends, n)
            if start < far:
                starts, ends = _longer(starts), _longer(ends)
        counts[ray] = n - before
    return starts[:n], ends[:n]
