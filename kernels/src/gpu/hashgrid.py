"""Hash encoding for GPUs, in Triton (see `kernels.hashgrid`).

Points are rows [M, 3] of float32, features planes [L * F, M]; the table is float32 or float16, sums are
float32. A program is a block of points, on one level (`forward`, `backward`) or on all (`backward_points`).
"""

# pyright: reportGeneralTypeIssues=false
# (Triton's annotations describe the compiled language, not what Python passes)

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def _axis(points, i, inside, axis, scale, shift):
    """Return the cells of points along an axis, and the positions within them."""
    x = tl.load(points + i.to(tl.int64) * 3 + axis, mask=inside, other=0.0)
    position = tl.fma(tl.minimum(tl.maximum(x, 0.0), 1.0), scale, shift)
    cell = tl.floor(position)
    return cell.to(tl.int32).to(tl.uint32), position - cell


@triton.jit
def _entry(x, y, z, resolution, dense, size):
    """Return the entries, within a level, of grid points."""
    if dense:
        index = x + resolution * (y + resolution * z)
        index = tl.where(index >= size, index - size, index)
    else:
        index = (x ^ (y * 2654435761) ^ (z * 805459861)) & (size - 1)
    return index


@triton.jit
def _level(level, scales, resolutions, dense, offsets):
    first = tl.load(offsets + level)
    size = (tl.load(offsets + level + 1) - first).to(tl.uint32)
    resolution = tl.load(resolutions + level).to(tl.uint32)
    return tl.load(scales + level), resolution, tl.load(dense + level) != 0, first, size


@triton.jit
def forward(
    points,
    table,
    planes,
    count,
    shift,
    scales,
    resolutions,
    dense,
    offsets,
    FEATURES: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Encode a block of points on one level, into the level's rows of `planes` [L * F, M]."""
    level = tl.program_id(1)
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = i < count
    scale, resolution, is_dense, first, size = _level(level, scales, resolutions, dense, offsets)
    x, fx = _axis(points, i, inside, 0, scale, shift)
    y, fy = _axis(points, i, inside, 1, scale, shift)
    z, fz = _axis(points, i, inside, 2, scale, shift)
    feature = tl.arange(0, FEATURES)
    total = tl.zeros([BLOCK, FEATURES], tl.float32)
    for corner in tl.static_range(8):
        a, b, c = corner & 1, (corner >> 1) & 1, corner >> 2
        entry = _entry(x + a, y + b, z + c, resolution, is_dense, size)
        weight = (fx if a else 1 - fx) * ((fy if b else 1 - fy) * (fz if c else 1 - fz))
        at = (first + entry.to(tl.int64)) * FEATURES
        value = tl.load(table + at[:, None] + feature[None, :], mask=inside[:, None], other=0.0)
        total += weight[:, None] * value.to(tl.float32)
    row = (level * FEATURES + feature).to(tl.int64) * count
    tl.store(planes + row[None, :] + i[:, None], total.to(planes.dtype.element_ty), mask=inside[:, None])


@triton.jit
def backward(
    points,
    planes,
    grad_table,
    count,
    shift,
    scales,
    resolutions,
    dense,
    offsets,
    FEATURES: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Add to `grad_table`, float32, in whatever order programs run."""
    level = tl.program_id(1)
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = i < count
    scale, resolution, is_dense, first, size = _level(level, scales, resolutions, dense, offsets)
    x, fx = _axis(points, i, inside, 0, scale, shift)
    y, fy = _axis(points, i, inside, 1, scale, shift)
    z, fz = _axis(points, i, inside, 2, scale, shift)
    feature = tl.arange(0, FEATURES)
    row = (level * FEATURES + feature).to(tl.int64) * count
    grad = tl.load(planes + row[None, :] + i[:, None], mask=inside[:, None], other=0.0).to(tl.float32)
    for corner in tl.static_range(8):
        a, b, c = corner & 1, (corner >> 1) & 1, corner >> 2
        entry = _entry(x + a, y + b, z + c, resolution, is_dense, size)
        weight = (fx if a else 1 - fx) * ((fy if b else 1 - fy) * (fz if c else 1 - fz))
        at = (first + entry.to(tl.int64)) * FEATURES
        target = grad_table + at[:, None] + feature[None, :]
        tl.atomic_add(target, weight[:, None] * grad, mask=inside[:, None], sem="relaxed")


@triton.jit
def backward_points(
    points,
    table,
    planes,
    grad_points,
    count,
    levels,
    shift,
    scales,
    resolutions,
    dense,
    offsets,
    FEATURES: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Sum up over all levels the gradients of a block of points, in rows of `grad_points` [M, 3]."""
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = i < count
    feature = tl.arange(0, FEATURES)
    sx = tl.zeros([BLOCK], tl.float32)
    sy = tl.zeros([BLOCK], tl.float32)
    sz = tl.zeros([BLOCK], tl.float32)
    for level in range(levels):
        scale, resolution, is_dense, first, size = _level(level, scales, resolutions, dense, offsets)
        x, fx = _axis(points, i, inside, 0, scale, shift)
        y, fy = _axis(points, i, inside, 1, scale, shift)
        z, fz = _axis(points, i, inside, 2, scale, shift)
        row = (level * FEATURES + feature).to(tl.int64) * count
        grad = tl.load(planes + row[None, :] + i[:, None], mask=inside[:, None], other=0.0).to(tl.float32)
        for corner in tl.static_range(8):
            a, b, c = corner & 1, (corner >> 1) & 1, corner >> 2
            entry = _entry(x + a, y + b, z + c, resolution, is_dense, size)
            at = (first + entry.to(tl.int64)) * FEATURES
            value = tl.load(table + at[:, None] + feature[None, :], mask=inside[:, None], other=0.0)
            change = scale * tl.sum(value.to(tl.float32) * grad, 1)
            wx, wy, wz = fx if a else 1 - fx, fy if b else 1 - fy, fz if c else 1 - fz
            sx += (2 * a - 1) * change * wy * wz
            sy += (2 * b - 1) * change * wx * wz
            sz += (2 * c - 1) * change * wx * wy
    at = grad_points + i.to(tl.int64) * 3
    tl.store(at, sx, mask=inside)
    tl.store(at + 1, sy, mask=inside)
    tl.store(at + 2, sz, mask=inside)
