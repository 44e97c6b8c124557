"""Compiled small MLPs (see `kernels.mlp`).

Numbers lie in planes: inputs [D, M], activations [width, TILE] of one tile of points at a time, which stay in
the cache. The weights of all layers are one flat array; widths are padded to multiples of four. A task is a
block of points. Each task of the backward writes its own sum of the weights' gradients, in blocks of 4 x 4,
and the caller adds these up in order.
"""

# pyright: reportCallIssue=false
# Numba calls an intrinsic without the typing context that its definition takes.
from __future__ import annotations

import numpy as np
from llvmlite import binding, ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from nerf_insert.kernels.cpu.simd import FLOATS, I64, LANES, Lanes, Plane, shuffle, splat

jit = njit(cache=True, nogil=True, error_model="numpy")

TILE = 128  # points
ROWS = 4  # outputs computed side by side
# Vectors of points side by side: as many as sums fit into registers.
VECTORS = 4 if binding.get_host_cpu_features().get("avx512f") else 1
LINEAR, RECTIFY, GATE = 0, 1, 2


def _loop(builder, count, sums, body):
    """Add up the products that `body(k)` yields for k < count, one for each of `sums` vectors."""
    slots = [cgutils.alloca_once(builder, FLOATS) for _ in range(sums)]
    for slot in slots:
        builder.store(ir.Constant(FLOATS, [0.0] * LANES), slot)
    with cgutils.for_range(builder, count) as loop:
        for slot, (a, b) in zip(slots, body(loop.index), strict=True):
            builder.store(a.times_plus(b, Lanes(builder, builder.load(slot))).value, slot)
    return [Lanes(builder, builder.load(slot)) for slot in slots]


@intrinsic(prefer_literal=True)
def _product(_, transposed, finish, weights, row, inputs, column, gates, outputs):
    """Compute four rows and VECTORS * LANES columns of weights @ inputs (or weights.T @ inputs).

    `finish`: LINEAR, RECTIFY (ReLU), or GATE (zero where `gates` are).
    """
    finish_as, by_column = finish.literal_value, transposed.literal_value

    def generate(context, builder, signature, arguments):
        row, column = arguments[3], arguments[5]
        matrix = context.make_array(signature.args[2])(context, builder, arguments[2])
        rows, columns = cgutils.unpack_tuple(builder, matrix.shape)
        inputs, gates, outputs = (Plane(context, builder, signature.args[k], arguments[k]) for k in (4, 6, 7))
        starts = [builder.add(column, I64(LANES * v)) for v in range(VECTORS)]

        def summands(k):
            values = [inputs.load(k, start) for start in starts]
            for r in range(ROWS):
                i, j = builder.add(row, I64(r)), k
                if by_column:
                    i, j = j, i
                weight = builder.load(builder.gep(matrix.data, [builder.add(builder.mul(i, columns), j)]))
                for value in values:
                    yield splat(builder, weight), value

        sums = _loop(builder, rows if by_column else columns, ROWS * VECTORS, summands)
        for n, total in enumerate(sums):
            r, start = builder.add(row, I64(n // VECTORS)), starts[n % VECTORS]
            zero = total.like(0.0)
            if finish_as == RECTIFY:
                total = total.at_least(zero)
            elif finish_as == GATE:
                total = total.where(zero.below(gates.load(r, start)), zero)
            outputs.store(r, start, total)
        return context.get_dummy_value()

    return types.void(transposed, finish, weights, row, inputs, column, gates, outputs), generate


@intrinsic
def _outer(_, gradients, row, inputs, column, sums, at):
    """Add gradients @ inputs.T, four rows and columns of it, to the sixteen numbers sums[at] and on."""

    def generate(context, builder, signature, arguments):
        row, column, at = arguments[1], arguments[3], arguments[5]
        gradients, inputs = (Plane(context, builder, signature.args[k], arguments[k]) for k in (0, 2))

        def summands(v):
            start = builder.mul(v, I64(LANES))
            left = [gradients.load(builder.add(row, I64(r)), start) for r in range(ROWS)]
            right = [inputs.load(builder.add(column, I64(c)), start) for c in range(LANES // ROWS)]
            for a in left:
                for b in right:
                    yield a, b

        parts = _loop(builder, builder.udiv(inputs.columns, I64(LANES)), LANES, summands)
        width = 1
        while len(parts) > 1:  # halve the lanes that a sum is spread over; sum n ends up in lane n
            parts = [_merge(a, b, width) for a, b in zip(parts[::2], parts[1::2], strict=True)]
            width *= 2
        target = context.make_array(signature.args[4])(context, builder, arguments[4]).data
        target = builder.bitcast(builder.gep(target, [at]), FLOATS.as_pointer())
        total = Lanes(builder, builder.load(target, align=4)) + parts[0]
        builder.store(total.value, target, align=4)
        return context.get_dummy_value()

    return types.void(gradients, row, inputs, column, sums, at), generate


def _merge(a, b, width):
    """Add neighboring groups of `width` lanes, in turns of `a` and of `b`."""
    groups = range(0, LANES, 2 * width)
    first = [lane for g in groups for side in (0, LANES) for lane in range(side + g, side + g + width)]
    return shuffle(a, b, first) + shuffle(a, b, [lane + width for lane in first])


@jit
def _layer(flat, widths, number):
    """Return the weights [out, in] of a layer and where they begin in the flat array."""
    start = 0
    for k in range(number):
        start += widths[k] * widths[k + 1]
    rows, columns = widths[number + 1], widths[number]
    return flat[start : start + rows * columns].reshape(rows, columns), start


@jit
def _read(planes, start, tile):
    """Copy a tile's columns of `planes`, with zeros beyond the last point and the last row."""
    count = min(planes.shape[1] - start, TILE)
    for row in range(tile.shape[0]):
        if row < planes.shape[0]:
            tile[row, :count] = planes[row, start : start + count]
            tile[row, count:] = 0
        else:
            tile[row] = 0


@jit
def _write(tile, planes, start):
    count = min(planes.shape[1] - start, TILE)
    for row in range(planes.shape[0]):
        planes[row, start : start + count] = tile[row, :count]


@jit
def forward_tile(flat, widths, tiles):
    """Apply all layers to a tile of points: from the first of `tiles` to the last."""
    layers = widths.shape[0] - 1
    for number in range(layers):
        weights, _ = _layer(flat, widths, number)
        inputs, outputs = tiles[number], tiles[number + 1]
        for row in range(0, widths[number + 1], ROWS):
            for column in range(0, TILE, VECTORS * LANES):
                if number + 1 < layers:
                    _product(False, RECTIFY, weights, row, inputs, column, outputs, outputs)
                else:
                    _product(False, LINEAR, weights, row, inputs, column, outputs, outputs)


@jit
def tiles_of(widths):
    """Return room for a tile's inputs and for what each layer returns."""
    return [np.empty((width, TILE), np.float32) for width in widths]


@jit
def forward(task, block, flat, widths, inputs, outputs):
    """Apply all layers to a block of points, tile by tile."""
    tiles = tiles_of(widths)
    for start in range(task * block, min((task + 1) * block, inputs.shape[1]), TILE):
        _read(inputs, start, tiles[0])
        forward_tile(flat, widths, tiles)
        _write(tiles[-1], outputs, start)


@jit
def backward(task, block, flat, widths, inputs, gradients, grad_inputs, sums):
    """Add up gradients over a block of points. `grad_inputs` has no columns if it is not wanted."""
    tiles, slopes = tiles_of(widths), tiles_of(widths)
    total = sums[task]
    total[:] = 0
    layers = widths.shape[0] - 1
    for start in range(task * block, min((task + 1) * block, inputs.shape[1]), TILE):
        _read(inputs, start, tiles[0])
        forward_tile(flat, widths, tiles)
        _read(gradients, start, slopes[layers])
        for number in range(layers - 1, -1, -1):
            weights, at = _layer(flat, widths, number)
            before, above, below = tiles[number], slopes[number + 1], slopes[number]
            for row in range(0, widths[number + 1], ROWS):
                for column in range(0, widths[number], ROWS):
                    _outer(above, row, before, column, total, at + row * widths[number] + column * ROWS)
            if number == 0 and grad_inputs.shape[1] == 0:
                break
            for row in range(0, widths[number], ROWS):
                for column in range(0, TILE, VECTORS * LANES):
                    if number > 0:
                        _product(True, GATE, weights, row, above, column, before, below)
                    else:
                        _product(True, LINEAR, weights, row, above, column, before, below)
        _write(slopes[0], grad_inputs, start)
