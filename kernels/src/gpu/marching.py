"""Marching of rays through an occupancy grid for GPUs, in Triton (see `kernels.marching`).

A program is a block of rays. It runs twice: with WRITE off it counts each ray's samples, with it on it
leaves them from `offsets` on. The arithmetic is float64 and, operation by operation, that of `reference`;
compile it without contracting products and sums (`enable_fp_fusion=False`).
"""

# pyright: reportOperatorIssue=false
# (Triton's annotations describe the compiled language, not what Python passes)

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def _three(rows, ray, inside):
    at = rows + 3 * ray
    return (
        tl.load(at, mask=inside, other=1.0).to(tl.float64),
        tl.load(at + 1, mask=inside, other=1.0).to(tl.float64),
        tl.load(at + 2, mask=inside, other=1.0).to(tl.float64),
    )


@triton.jit
def _cell(position, low, scale, cells):
    cell = tl.floor((position - low) * scale)
    return tl.minimum(tl.maximum(cell, 0.0), cells - 1.0).to(tl.int64)


@triton.jit
def _slab(o, d, low, high):
    """Return where rays enter and leave the space between two planes."""
    still = d == 0
    a, b = (low - o) / tl.where(still, 1.0, d), (high - o) / tl.where(still, 1.0, d)
    between = tl.where((o >= low) & (o <= high), float("-inf"), float("inf"))
    return tl.where(still, between, tl.minimum(a, b)), tl.where(still, -between, tl.maximum(a, b))


@triton.jit
def _take(occupancy, x, y, z, ny, nz, start, end, starts, ends, at, here, WRITE: tl.constexpr):
    """Keep the samples in occupied cells that are not empty in float32; which they are."""
    there = tl.load(occupancy + (x * ny + y) * nz + z, mask=here, other=0) != 0
    start, end = start.to(tl.float32), end.to(tl.float32)
    keep = here & there & (end > start)
    if WRITE:
        tl.store(starts + at, start, mask=keep)
        tl.store(ends + at, end, mask=keep)
    return keep


@triton.jit
def box(
    origins,
    directions,
    shifts,
    occupancy,
    numbers,
    offsets,
    counts,
    starts,
    ends,
    rays,
    nx,
    ny,
    nz,
    WRITE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """`numbers`, float64: step, near, far, the box's lowest and highest corner, cells per unit."""
    ray = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = ray < rays
    ox, oy, oz = _three(origins, ray, inside)
    dx, dy, dz = _three(directions, ray, inside)
    u = tl.load(shifts + ray, mask=inside, other=0.0).to(tl.float64)
    step, near, far = tl.load(numbers), tl.load(numbers + 1), tl.load(numbers + 2)
    lx, ly, lz = tl.load(numbers + 3), tl.load(numbers + 4), tl.load(numbers + 5)
    sx, sy, sz = tl.load(numbers + 9), tl.load(numbers + 10), tl.load(numbers + 11)
    ax, bx = _slab(ox, dx, lx, tl.load(numbers + 6))
    ay, by = _slab(oy, dy, ly, tl.load(numbers + 7))
    az, bz = _slab(oz, dz, lz, tl.load(numbers + 8))
    entry = tl.maximum(tl.maximum(tl.maximum(ax, ay), az), near)
    leave = tl.minimum(tl.minimum(tl.minimum(bx, by), bz), far)
    at = tl.load(offsets + ray, mask=inside, other=0)
    first = at
    k = tl.zeros([BLOCK], tl.float64)
    start = entry
    here = inside & (leave > entry) & (leave < float("inf"))
    while tl.max(here.to(tl.int32), 0) > 0:
        end = tl.minimum(entry + (k + 1.0 - u) * step, leave)
        middle = 0.5 * (start + end)
        x = _cell(ox + middle * dx, lx, sx, nx)
        y = _cell(oy + middle * dy, ly, sy, ny)
        z = _cell(oz + middle * dz, lz, sz, nz)
        at += _take(occupancy, x, y, z, ny, nz, start, end, starts, ends, at, here, WRITE).to(tl.int64)
        k += 1.0
        start = entry + (k - u) * step
        here = here & (start < leave)
    if not WRITE:
        tl.store(counts + ray, at - first, mask=inside)


@triton.jit
def contracted(
    origins,
    directions,
    shifts,
    occupancy,
    numbers,
    offsets,
    counts,
    starts,
    ends,
    rays,
    nx,
    ny,
    nz,
    WRITE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """`numbers`, float64: step, near, far."""
    ray = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = ray < rays
    ox, oy, oz = _three(origins, ray, inside)
    dx, dy, dz = _three(directions, ray, inside)
    share = 1.0 - tl.load(shifts + ray, mask=inside, other=0.0).to(tl.float64)
    step, near, far = tl.load(numbers), tl.load(numbers + 1), tl.load(numbers + 2)
    at = tl.load(offsets + ray, mask=inside, other=0)
    first = at
    start = tl.zeros([BLOCK], tl.float64) + near
    here = inside & (start < far)
    while tl.max(here.to(tl.int32), 0) > 0:
        size = tl.maximum(tl.maximum(tl.abs(ox + start * dx), tl.abs(oy + start * dy)), 1.0)
        size = tl.maximum(size, tl.abs(oz + start * dz))
        following = start + share * (step * (size * size))
        end = tl.minimum(following, far)
        middle = 0.5 * (start + end)
        px, py, pz = ox + middle * dx, oy + middle * dy, oz + middle * dz
        size = tl.maximum(tl.maximum(tl.abs(px), tl.abs(py)), tl.abs(pz))
        shrink = tl.where(size <= 1.0, 1.0, (2.0 - 1.0 / size) / size)
        x = _cell(shrink * px, -2.0, nx / 4.0, nx)
        y = _cell(shrink * py, -2.0, ny / 4.0, ny)
        z = _cell(shrink * pz, -2.0, nz / 4.0, nz)
        at += _take(occupancy, x, y, z, ny, nz, start, end, starts, ends, at, here, WRITE).to(tl.int64)
        start = tl.where(here, following, start)
        share = tl.full([BLOCK], 1.0, tl.float64)
        here = here & (start < far)
    if not WRITE:
        tl.store(counts + ray, at - first, mask=inside)
