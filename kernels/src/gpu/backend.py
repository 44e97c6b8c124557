"""The GPU backend: operations compiled by Triton when first used, with closed-form gradients.

Tables and weights are read in half precision unless `precision` says otherwise; they are kept, sums are
made and gradients come in float32. Gradients to tables are added up in no fixed order, so their last
bits differ from run to run. On a machine without a GPU, TRITON_INTERPRET=1 runs all of it, slowly.
"""

# pyright: reportCallIssue=false, reportArgumentType=false, reportIndexIssue=false
# (Triton's annotations describe the compiled language, not what Python passes)

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import pairwise

import torch
import triton
from torch import Tensor

from nerf_insert.kernels.compositing import Composite
from nerf_insert.kernels.dispatch import INTERPRETED, after
from nerf_insert.kernels.gpu import compositing, hashgrid, marching
from nerf_insert.kernels.gpu import mlp as mlp_kernels
from nerf_insert.kernels.hashgrid import GridSpec
from nerf_insert.kernels.precision import number_type
from nerf_insert.kernels.samples import Samples

POINTS, RAYS = 128, 128  # of a program
MLP = {torch.float16: (64, 4), torch.float32: (32, 8)}  # points of a program, and its warps
MLP_BACKWARD = 32, 8
PROGRAMS = 512  # of an MLP's backward at most: each leaves a sum of its own

EXACT = {"enable_fp_fusion": False}  # sums and products as they are written


def _block(usual: int, count: int) -> int:
    """Return the block size. In the interpreter a program costs the same whatever its size: one takes all."""
    return max(usual, triton.next_power_of_2(count)) if INTERPRETED else usual


def _grid(count: int, block: int, *more: int) -> tuple[int, ...]:
    return (triton.cdiv(count, block), *more)


def hash_encode(points: Tensor, table: Tensor, spec: GridSpec) -> Tensor:
    """Encode points; see `kernels.hashgrid.hash_encode`."""
    if spec.n_features & (spec.n_features - 1) or not len(points):  # Triton's tiles are powers of two
        return after("triton", "hash_encode", table)(points, table, spec)
    return _HashEncode.apply(points, table, spec)


class _HashEncode(torch.autograd.Function):
    """Points go into the kernels as rows, features come out as planes, one row for each feature."""

    @staticmethod
    def forward(ctx, points: Tensor, table: Tensor, spec: GridSpec) -> Tensor:
        """Encode points [M, 3] into features [M, L * F]; the table is kept in the type it is read in."""
        points, table = points.contiguous(), table.to(number_type(table)).contiguous()
        ctx.save_for_backward(points, table)
        ctx.spec = spec
        count, block = len(points), _block(POINTS, len(points))
        planes = points.new_empty(spec.output_dim, count)
        hashgrid.forward[_grid(count, block, spec.n_levels)](
            points,
            table,
            planes,
            count,
            spec.shift,
            *_levels(spec, points.device),
            FEATURES=spec.n_features,
            BLOCK=block,
        )
        return planes.t()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad: Tensor):
        """Return the gradients of the points and of the table, float32, each if it is wanted."""
        points, table = ctx.saved_tensors
        planes, levels = grad.t().contiguous(), _levels(ctx.spec, points.device)
        count, block = len(points), _block(POINTS, len(points))
        sizes = {"FEATURES": ctx.spec.n_features, "BLOCK": block}
        grad_points = grad_table = None
        if ctx.needs_input_grad[1]:
            grad_table = torch.zeros_like(table, dtype=torch.float32)
            grid = _grid(count, block, ctx.spec.n_levels)
            hashgrid.backward[grid](points, planes, grad_table, count, ctx.spec.shift, *levels, **sizes)
        if ctx.needs_input_grad[0]:
            slopes = torch.empty_like(points)
            hashgrid.backward_points[_grid(count, block)](
                points, table, planes, slopes, count, ctx.spec.n_levels, ctx.spec.shift, *levels, **sizes
            )
            grad_points = torch.where((points >= 0) & (points <= 1), slopes, 0)
        return grad_points, grad_table, None


@cache
def _levels(spec: GridSpec, device: torch.device) -> tuple[Tensor, ...]:
    parts = spec.scales, spec.resolutions, spec.dense.astype("int8"), spec.offsets
    return tuple(torch.from_numpy(part).to(device) for part in parts)


def mlp(x: Tensor, weights: Sequence[Tensor]) -> Tensor:
    """Apply the layers; see `kernels.mlp.mlp`."""
    if len(weights) == 1 or not len(x):
        return after("triton", "mlp", x)(x, weights)
    return _MLP.apply(x, *weights)


class _MLP(torch.autograd.Function):
    """The padded weights of all layers go into the kernels as one flat array, points as planes."""

    @staticmethod
    def forward(ctx, x: Tensor, *weights: Tensor) -> Tensor:
        """Apply the layers to points [M, D]; only inputs and weights are kept for the backward."""
        columns = x.t().contiguous()
        shapes, sizes = [w.shape for w in weights], _sizes([w.shape for w in weights])
        flat = _flat(weights, _padded(sizes)).to(number_type(x))
        ctx.save_for_backward(columns, flat)
        ctx.shapes = shapes
        count, (block, warps) = x.shape[0], MLP[flat.dtype]
        block = _block(block, count)
        planes = x.new_empty(shapes[-1][0], count)
        mlp_kernels.forward[_grid(count, block)](
            columns, flat, planes, count, x.shape[1], len(planes), **sizes, BLOCK=block, num_warps=warps
        )
        return planes.t()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad: Tensor):
        """Return the gradients of the points, if they are wanted, and of each layer's weights."""
        columns, flat = ctx.saved_tensors
        sizes, planes = _sizes(ctx.shapes), grad.t().contiguous()
        (n_in, count), (block, warps) = columns.shape, MLP_BACKWARD
        block = _block(block, count)
        programs = min(triton.cdiv(count, block), PROGRAMS)
        grad_x = torch.empty_like(columns if ctx.needs_input_grad[0] else columns[:, :0])
        sums = columns.new_empty(programs, len(flat))
        mlp_kernels.backward[(programs,)](
            columns,
            flat,
            planes,
            grad_x,
            sums,
            count,
            n_in,
            len(planes),
            len(flat),
            programs,
            **sizes,
            INPUTS=ctx.needs_input_grad[0],
            BLOCK=block,
            num_warps=warps,
            num_stages=1,
        )
        grad_weights = _unflat(sums.sum(0), _padded(sizes), ctx.shapes)
        return grad_x.t() if ctx.needs_input_grad[0] else None, *grad_weights


def _sizes(shapes: Sequence[Sequence[int]]) -> dict[str, int]:
    """Round widths up to powers of two from 16 on, for the matrix units; one for all hidden layers."""
    power = lambda n: max(16, triton.next_power_of_2(n))  # noqa: E731
    return {
        "IN": power(shapes[0][1]),
        "WIDTH": max(power(rows) for rows, _ in shapes[:-1]),
        "OUT": power(shapes[-1][0]),
        "N_HIDDEN": len(shapes) - 1,
    }


def _padded(sizes: dict[str, int]) -> list[tuple[int, int]]:
    """Return the shape of each matrix in the flat array."""
    widths = [sizes["IN"], *[sizes["WIDTH"]] * sizes["N_HIDDEN"], sizes["OUT"]]
    return [(rows, columns) for columns, rows in pairwise(widths)]


def _flat(weights: Sequence[Tensor], padded: list[tuple[int, int]]) -> Tensor:
    pad = torch.nn.functional.pad
    return torch.cat(
        [
            pad(w, (0, columns - w.shape[1], 0, rows - w.shape[0])).reshape(-1)
            for w, (rows, columns) in zip(weights, padded, strict=True)
        ]
    )


def _unflat(flat: Tensor, padded: list[tuple[int, int]], shapes: list[torch.Size]) -> list[Tensor]:
    parts = flat.split([rows * columns for rows, columns in padded])
    return [
        part.view(size)[: shape[0], : shape[1]].contiguous()
        for part, size, shape in zip(parts, padded, shapes, strict=True)
    ]


def composite(optical_depth: Tensor, rgb: Tensor, distances: Tensor, offsets: Tensor) -> Composite:
    """Render colors, opacities and depths; see `kernels.compositing.composite`."""
    return Composite(*_Composite.apply(optical_depth, rgb, distances, offsets))


class _Composite(torch.autograd.Function):
    """Color, opacity and depth of a ray are one row of five numbers in the kernels."""

    @staticmethod
    def forward(ctx, optical_depth: Tensor, rgb: Tensor, distances: Tensor, offsets: Tensor):
        """Render N rays: rgb [N, 3], accumulation [N] and depth [N]."""
        samples = [t.contiguous() for t in (optical_depth, rgb, distances, offsets)]
        rays = len(offsets) - 1
        front, sums = torch.empty_like(samples[0]), optical_depth.new_empty(rays, 5)
        ctx.save_for_backward(*samples, front)
        if rays:
            block = _block(RAYS, rays)
            compositing.forward[_grid(rays, block)](*samples, front, sums, rays, BLOCK=block)
        return sums[:, :3].contiguous(), sums[:, 3].contiguous(), sums[:, 4].contiguous()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad_rgb: Tensor, grad_accumulation: Tensor, grad_depth: Tensor):
        """Return the gradients of optical depths [M] and colors [M, 3]."""
        samples = ctx.saved_tensors
        grad = torch.cat([grad_rgb, grad_accumulation[:, None], grad_depth[:, None]], 1)
        grad_optical_depth, grad_rgb = torch.empty_like(samples[0]), torch.empty_like(samples[1])
        if len(grad):
            block = _block(RAYS, len(grad))
            compositing.backward[_grid(len(grad), block)](
                *samples, grad, grad_optical_depth, grad_rgb, len(grad), BLOCK=block
            )
        return grad_optical_depth, grad_rgb, None, None


def median_depth(optical_depth: Tensor, distances: Tensor, offsets: Tensor) -> Tensor:
    """Find where half of the light is stopped; see `kernels.compositing.median_depth`."""
    rays = len(offsets) - 1
    median = optical_depth.new_empty(rays)
    if rays:
        block = _block(RAYS, rays)
        compositing.median_depth[_grid(rays, block)](
            optical_depth.contiguous(),
            distances.contiguous(),
            offsets.contiguous(),
            median,
            rays,
            BLOCK=block,
        )
    return median


def transmittance(optical_depth: Tensor, offsets: Tensor) -> Tensor:
    """Compute the light in front of each sample; see `kernels.compositing.transmittance`."""
    result, rays = torch.empty_like(optical_depth, memory_format=torch.contiguous_format), len(offsets) - 1
    if rays:
        block = _block(RAYS, rays)
        compositing.transmittance[_grid(rays, block)](
            optical_depth.contiguous(), offsets.contiguous(), result, rays, BLOCK=block
        )
    return result


def march_box(origins, directions, occupancy, offsets, step, bounds, near, far) -> Samples:
    """March through the cells of a box; see `kernels.marching.march`."""
    low, high = bounds
    per_unit = [n / (b - a) for n, a, b in zip(occupancy.shape, low, high, strict=True)]
    numbers = [step, near, far, *low, *high, *per_unit]
    return _march(marching.box, origins, directions, occupancy, offsets, numbers)


def march_contracted(origins, directions, occupancy, offsets, step, near, far) -> Samples:
    """March through the cells of contracted space; see `kernels.marching.march`."""
    return _march(marching.contracted, origins, directions, occupancy, offsets, [step, near, far])


def _march(
    kernel, origins: Tensor, directions: Tensor, occupancy: Tensor, shifts: Tensor, numbers: list[float]
) -> Samples:
    rays, device = len(origins), origins.device
    ends_at = torch.zeros(rays + 1, dtype=torch.int64, device=device)
    if not rays:
        return Samples(origins.new_empty(0), origins.new_empty(0), ends_at[:0], ends_at)
    limits = torch.tensor(numbers, dtype=torch.float64, device=device)
    arrays = [t.contiguous() for t in (origins, directions, shifts, occupancy.view(torch.uint8))]
    counts, block = ends_at.new_empty(rays), _block(RAYS, rays)
    nowhere = origins.new_empty(0)

    def walk(starts: Tensor, ends: Tensor, write: bool) -> None:
        kernel[_grid(rays, block)](
            *arrays,
            limits,
            ends_at,
            counts,
            starts,
            ends,
            rays,
            *occupancy.shape,
            WRITE=write,
            BLOCK=block,
            **EXACT,
        )

    walk(nowhere, nowhere, False)
    torch.cumsum(counts, 0, out=ends_at[1:])
    starts, ends = (origins.new_empty(int(ends_at[-1])) for _ in range(2))
    walk(starts, ends, True)
    ray_index = torch.arange(rays, device=device).repeat_interleave(counts)
    return Samples(starts, ends, ray_index, ends_at)
