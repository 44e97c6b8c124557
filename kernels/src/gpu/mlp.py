"""Fused small MLPs for GPUs, in Triton (see `kernels.mlp`).

A program takes BLOCK points through all layers without leaving the chip; the backward computes the hidden
layers again. Weights are one flat array in the numbers' own type (float16 or float32), each matrix padded
with zeros: [WIDTH, IN], then N_HIDDEN - 1 of [WIDTH, WIDTH], then [OUT, WIDTH]. Products are summed in
float32. Gradients have a wider range than float16: those of a block are divided by a power of two near the
largest of them, and their products multiplied by it.
"""

# pyright: reportGeneralTypeIssues=false
# (Triton's annotations describe the compiled language, not what Python passes)

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def _matrix(weights, start, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    row, column = tl.arange(0, ROWS), tl.arange(0, COLUMNS)
    at = weights + start + row[:, None] * COLUMNS + column[None, :]
    return tl.load(at, volatile=True)  # again each time: all matrices at once do not fit into registers


@triton.jit
def _columns(planes, i, count, n, N: tl.constexpr):
    """Load points `i` of planes [n, count] as [BLOCK, N], with zeros elsewhere."""
    k = tl.arange(0, N)
    at = planes + k[None, :].to(tl.int64) * count + i[:, None]
    return tl.load(at, mask=(i[:, None] < count) & (k[None, :] < n), other=0.0)


@triton.jit
def _store_columns(values, planes, i, count, n, N: tl.constexpr):
    k = tl.arange(0, N)
    at = planes + k[None, :].to(tl.int64) * count + i[:, None]
    tl.store(at, values.to(planes.dtype.element_ty), mask=(i[:, None] < count) & (k[None, :] < n))


@triton.jit
def _hidden(x, weights, IN: tl.constexpr, WIDTH: tl.constexpr, N_HIDDEN: tl.constexpr):
    """Return the output of each hidden layer, in the weights' type."""
    kind: tl.constexpr = weights.dtype.element_ty
    h = tl.dot(x, tl.trans(_matrix(weights, 0, WIDTH, IN)), input_precision="ieee")
    h = tl.maximum(h, 0.0).to(kind)
    layers = (h,)
    for layer in tl.static_range(N_HIDDEN - 1):
        start = WIDTH * IN + layer * WIDTH * WIDTH
        h = tl.dot(h, tl.trans(_matrix(weights, start, WIDTH, WIDTH)), input_precision="ieee")
        h = tl.maximum(h, 0.0).to(kind)
        layers = layers + (h,)  # noqa: RUF005  # Triton knows no unpacking
    return layers


@triton.jit
def forward(
    inputs,
    weights,
    outputs,
    count,
    n_in,
    n_out,
    IN: tl.constexpr,
    WIDTH: tl.constexpr,
    OUT: tl.constexpr,
    N_HIDDEN: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Apply all layers to a block of points: planes [n_in, count] to planes [n_out, count]."""
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    x = _columns(inputs, i, count, n_in, IN).to(weights.dtype.element_ty)
    h = _hidden(x, weights, IN, WIDTH, N_HIDDEN)[N_HIDDEN - 1]
    last = _matrix(weights, WIDTH * IN + (N_HIDDEN - 1) * WIDTH * WIDTH, OUT, WIDTH)
    _store_columns(tl.dot(h, tl.trans(last), input_precision="ieee"), outputs, i, count, n_out, OUT)


@triton.jit
def _scaled(gradients, KIND: tl.constexpr):
    """Divide gradients by a power of two so that they fit into KIND; return them and that power."""
    scale = tl.exp2(tl.ceil(tl.log2(tl.maximum(tl.max(tl.max(tl.abs(gradients), 1), 0), 1e-30))))
    return (gradients / scale).to(KIND), scale


@triton.jit
def _store(sums, matrix, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    row, column = tl.arange(0, ROWS), tl.arange(0, COLUMNS)
    tl.store(sums + row[:, None] * COLUMNS + column[None, :], matrix)


@triton.jit
def backward(
    inputs,
    weights,
    gradients,
    grad_inputs,
    sums,
    count,
    n_in,
    n_out,
    n_weights,
    programs,
    IN: tl.constexpr,
    WIDTH: tl.constexpr,
    OUT: tl.constexpr,
    N_HIDDEN: tl.constexpr,
    INPUTS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """A program takes every `programs`-th block; its sums are a row of `sums` [programs, n_weights]."""
    kind: tl.constexpr = weights.dtype.element_ty
    hidden_at: tl.constexpr = WIDTH * IN
    last_at: tl.constexpr = hidden_at + (N_HIDDEN - 1) * WIDTH * WIDTH
    grad_first = tl.zeros([WIDTH, IN], tl.float32)
    grad_last = tl.zeros([OUT, WIDTH], tl.float32)
    grad_hidden = ()
    for _ in tl.static_range(N_HIDDEN - 1):
        grad_hidden = grad_hidden + (tl.zeros([WIDTH, WIDTH], tl.float32),)  # noqa: RUF005
    for start in range(tl.program_id(0) * BLOCK, count, programs * BLOCK):
        i = start + tl.arange(0, BLOCK)
        x = _columns(inputs, i, count, n_in, IN).to(kind)
        layers = _hidden(x, weights, IN, WIDTH, N_HIDDEN)
        g, scale = _scaled(_columns(gradients, i, count, n_out, OUT).to(tl.float32), kind)
        grad_last += scale * tl.dot(tl.trans(g), layers[N_HIDDEN - 1], input_precision="ieee")
        slope = scale * tl.dot(g, _matrix(weights, last_at, OUT, WIDTH), input_precision="ieee")
        slope = tl.where(layers[N_HIDDEN - 1] > 0, slope, 0.0)
        sums_so_far = ()
        for n in tl.static_range(N_HIDDEN - 1):
            below: tl.constexpr = N_HIDDEN - 2 - n
            g, scale = _scaled(slope, kind)
            product = tl.dot(tl.trans(g), layers[below], input_precision="ieee")
            sums_so_far = (grad_hidden[below] + scale * product,) + sums_so_far  # noqa: RUF005
            matrix = _matrix(weights, hidden_at + below * WIDTH * WIDTH, WIDTH, WIDTH)
            slope = tl.where(layers[below] > 0, scale * tl.dot(g, matrix, input_precision="ieee"), 0.0)
        grad_hidden = sums_so_far
        g, scale = _scaled(slope, kind)
        grad_first += scale * tl.dot(tl.trans(g), x, input_precision="ieee")
        if INPUTS:
            slope = scale * tl.dot(g, _matrix(weights, 0, WIDTH, IN), input_precision="ieee")
            _store_columns(slope, grad_inputs, i, count, n_in, IN)
    own = sums + tl.program_id(0).to(tl.int64) * n_weights
    _store(own, grad_first, WIDTH, IN)
    for n in tl.static_range(N_HIDDEN - 1):
        _store(own + hidden_at + n * WIDTH * WIDTH, grad_hidden[n], WIDTH, WIDTH)
    _store(own + last_at, grad_last, OUT, WIDTH)
