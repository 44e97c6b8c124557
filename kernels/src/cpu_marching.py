"""Compiled walks of rays through an occupancy grid; `marching` says which samples there are.

Each task is a block of rays; `write` false only counts samples into offsets[ray + 1], `write` true puts
them where the summed counts say. The arithmetic is, operation by operation, that of the twin.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

jit = njit(cache=True, nogil=True, error_model="numpy")


@jit
def _cell(position, low, scale, cells):
    return min(max(math.floor((position - low) * scale), 0), cells - 1)


@jit
def _keep(start, end, ray, at, n, starts, ends, index, write):
    """Count a sample, and write it if asked; one that is empty in float32 does not count."""
    first, last = np.float32(start), np.float32(end)
    if not last > first:
        return n
    if write:
        starts[at + n] = first
        ends[at + n] = last
        index[at + n] = ray
    return n + 1


@jit
def _exit(o, d, low, high):
    """Where a ray enters and leaves the slab between two planes."""
    if d == 0:
        return (-np.inf, np.inf) if low <= o <= high else (np.inf, -np.inf)
    a, b = (low - o) / d, (high - o) / d
    return min(a, b), max(a, b)


@jit
def _leave(o, d, cell, low, scale):
    """Where a ray leaves the cell along one axis."""
    if d == 0:
        return np.inf
    return (low + (cell + (1 if d > 0 else 0)) / scale - o) / d


@jit
def box(
    task, block, origins, directions, occupancy, shifts, step, low, high, near, far,
    offsets, starts, ends, index, write,
):  # fmt: skip
    nx, ny, nz = occupancy.shape
    sx, sy, sz = nx / (high[0] - low[0]), ny / (high[1] - low[1]), nz / (high[2] - low[2])
    for ray in range(task * block, min((task + 1) * block, origins.shape[0])):
        ox, oy, oz = np.float64(origins[ray, 0]), np.float64(origins[ray, 1]), np.float64(origins[ray, 2])
        dx, dy, dz = (
            np.float64(directions[ray, 0]),
            np.float64(directions[ray, 1]),
            np.float64(directions[ray, 2]),
        )
        u = np.float64(shifts[ray])
        ax, bx = _exit(ox, dx, low[0], high[0])
        ay, by = _exit(oy, dy, low[1], high[1])
        az, bz = _exit(oz, dz, low[2], high[2])
        entry, leave = max(ax, ay, az, near), min(bx, by, bz, far)
        n = 0
        at = offsets[ray] if write else 0
        if leave > entry and leave < np.inf:
            k = 0
            while True:
                start = entry if k == 0 else entry + (k - u) * step
                if not start < leave:
                    break
                end = min(entry + (k + 1 - u) * step, leave)
                middle = 0.5 * (start + end)
                x = _cell(ox + middle * dx, low[0], sx, nx)
                y = _cell(oy + middle * dy, low[1], sy, ny)
                z = _cell(oz + middle * dz, low[2], sz, nz)
                k += 1
                if occupancy[x, y, z]:
                    n = _keep(start, end, ray, at, n, starts, ends, index, write)
                else:
                    # On to the last sample whose middle is surely not beyond this cell.
                    t = min(_leave(ox, dx, x, low[0], sx), _leave(oy, dy, y, low[1], sy))
                    t = min(t, _leave(oz, dz, z, low[2], sz), leave)
                    k = max(k, math.floor((t - entry) / step + u - 0.5))
        if not write:
            offsets[ray + 1] = n


@jit
def _contracted_cell(x, y, z, occupancy):
    size = max(abs(x), abs(y), abs(z))
    if size > 1:
        shrink = (2 - 1 / size) / size
        x, y, z = shrink * x, shrink * y, shrink * z
    nx, ny, nz = occupancy.shape
    return occupancy[_cell(x, -2.0, nx / 4, nx), _cell(y, -2.0, ny / 4, ny), _cell(z, -2.0, nz / 4, nz)]


@jit
def contracted(
    task, block, origins, directions, occupancy, shifts, step, near, far,
    offsets, starts, ends, index, write,
):  # fmt: skip
    for ray in range(task * block, min((task + 1) * block, origins.shape[0])):
        ox, oy, oz = np.float64(origins[ray, 0]), np.float64(origins[ray, 1]), np.float64(origins[ray, 2])
        dx, dy, dz = (
            np.float64(directions[ray, 0]),
            np.float64(directions[ray, 1]),
            np.float64(directions[ray, 2]),
        )
        n = 0
        at = offsets[ray] if write else 0
        start, share = near, 1 - np.float64(shifts[ray])
        while start < far:
            x, y, z = ox + start * dx, oy + start * dy, oz + start * dz
            size = max(abs(x), abs(y), abs(z), 1.0)
            following = start + share * (step * (size * size))
            end = min(following, far)
            middle = 0.5 * (start + end)
            if _contracted_cell(ox + middle * dx, oy + middle * dy, oz + middle * dz, occupancy):
                n = _keep(start, end, ray, at, n, starts, ends, index, write)
            start, share = following, 1.0
        if not write:
            offsets[ray + 1] = n
