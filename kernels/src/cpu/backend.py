"""The CPU backend: operations compiled by Numba for this machine, float32, with closed-form gradients.

Signatures and meaning are those of `reference`. The first use of each operation compiles it (seconds); the
result is cached on disk. Values and gradients do not depend on the number of threads.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from nerf_insert.kernels.compositing import Composite
from nerf_insert.kernels.cpu import compositing, hashgrid, marching, rendering, samples
from nerf_insert.kernels.cpu import mlp as mlp_kernels
from nerf_insert.kernels.cpu.malloc import keep_memory
from nerf_insert.kernels.cpu.splat_backend import (
    plan_raster,
    project,
    rasterize,
    ray_hits,
    spherical_harmonics,
    splat_density,
    splat_hits,
)
from nerf_insert.kernels.cpu.threads import run
from nerf_insert.kernels.dispatch import after
from nerf_insert.kernels.hashgrid import GridSpec
from nerf_insert.kernels.rendering import FieldWeights, RenderedRays
from nerf_insert.kernels.samples import Samples

__all__ = [
    "plan_raster",
    "project",
    "rasterize",
    "ray_hits",
    "spherical_harmonics",
    "splat_density",
    "splat_hits",
]

POINTS = 1 << 15  # per task of the encoding, a multiple of LANES
ROWS = 1 << 13  # points per task of the MLP, a multiple of TILE
RAYS = 256  # per task

keep_memory()


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().contiguous().numpy()


def _arrays(*tensors: Tensor) -> list[np.ndarray]:
    return [_array(tensor) for tensor in tensors]


def _blocks(count: int, size: int) -> int:
    return -(-count // size)


def hash_encode(points: Tensor, table: Tensor, spec: GridSpec) -> Tensor:
    """Encode points; see `kernels.hashgrid.hash_encode`."""
    if spec.n_features != hashgrid.FEATURES:
        return after("cpu", "hash_encode", table)(points, table, spec)
    return _HashEncode.apply(points, table, spec)


class _HashEncode(torch.autograd.Function):
    """Points and features go in and out of the kernels as planes, one row for each coordinate and feature."""

    @staticmethod
    def forward(ctx, points: Tensor, table: Tensor, spec: GridSpec) -> Tensor:
        """Encode points [M, 3] into features [M, L * F], level by level."""
        columns, table = points.t().contiguous(), table.contiguous()
        ctx.save_for_backward(columns, table)
        ctx.spec = spec
        planes = torch.empty(spec.output_dim, points.shape[0])
        tasks = spec.n_levels * _blocks(points.shape[0], POINTS)
        run(hashgrid.forward, tasks, POINTS, *_levels(spec), *_arrays(columns, table, planes))
        return planes.t()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad: Tensor):
        """Return the gradients of the points and of the table, each if it is wanted."""
        columns, table = ctx.saved_tensors
        levels, planes = _levels(ctx.spec), grad.t().contiguous()
        grad_points = grad_table = None
        if ctx.needs_input_grad[1]:
            grad_table = torch.from_numpy(np.empty(table.shape, np.float32))  # NumPy asks for huge pages
            run(hashgrid.backward, ctx.spec.n_levels, *levels, *_arrays(columns, planes, grad_table))
        if ctx.needs_input_grad[0]:
            rows = torch.empty_like(columns)
            tasks = _blocks(columns.shape[1], POINTS)
            run(hashgrid.backward_points, tasks, POINTS, *levels, *_arrays(columns, table, planes, rows))
            grad_points = torch.where((columns >= 0) & (columns <= 1), rows, 0).t()
        return grad_points, grad_table, None


def _levels(spec: GridSpec) -> tuple:
    return spec.scales, np.float32(spec.shift), spec.resolutions, spec.dense, spec.offsets


def mlp(x: Tensor, weights: Sequence[Tensor]) -> Tensor:
    """Apply the layers; see `kernels.mlp.mlp`."""
    return _MLP.apply(x, *weights)


class _MLP(torch.autograd.Function):
    """The weights of all layers go into the kernels as one flat array, points as planes."""

    @staticmethod
    def forward(ctx, x: Tensor, *weights: Tensor) -> Tensor:
        """Apply the layers to points [M, D]; only inputs and weights are kept for the backward."""
        columns = x.t().contiguous()
        flat, widths = _flat(weights)
        ctx.save_for_backward(columns, flat, widths)
        ctx.shapes = [weight.shape for weight in weights]
        planes = torch.empty(weights[-1].shape[0], x.shape[0])
        run(mlp_kernels.forward, _blocks(x.shape[0], ROWS), ROWS, *_arrays(flat, widths, columns, planes))
        return planes.t()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad: Tensor):
        """Return the gradients of the points, if they are wanted, and of each layer's weights."""
        columns, flat, widths = ctx.saved_tensors
        rows, count = columns.shape
        planes = grad.t().contiguous()
        grad_x = torch.empty(rows, count if ctx.needs_input_grad[0] else 0)
        tasks = _blocks(count, ROWS)
        sums = torch.empty(tasks, flat.shape[0])
        run(mlp_kernels.backward, tasks, ROWS, *_arrays(flat, widths, columns, planes, grad_x, sums))
        grad_weights = _unflat(torch.from_numpy(sums.numpy().sum(0)), widths.tolist(), ctx.shapes)
        return grad_x.t() if ctx.needs_input_grad[0] else None, *grad_weights


def _flat(weights: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Concatenate the weights, padded with zeros to multiples of four; return them and the padded widths."""
    padded = [torch.nn.functional.pad(w.detach(), (0, -w.shape[1] % 4, 0, -w.shape[0] % 4)) for w in weights]
    widths = [padded[0].shape[1], *(w.shape[0] for w in padded)]
    return torch.cat([w.reshape(-1) for w in padded]), torch.tensor(widths)


def _unflat(sums: Tensor, widths: list[int], shapes: list[torch.Size]) -> Iterator[Tensor]:
    """Yield the gradient of each layer's weights, from blocks of 4 x 4 in one array."""
    parts = sums.split([a * b for a, b in pairwise(widths)])
    for part, (columns, rows), shape in zip(parts, pairwise(widths), shapes, strict=True):
        matrix = part.view(rows // 4, columns // 4, 4, 4).transpose(1, 2).reshape(rows, columns)
        yield matrix[: shape[0], : shape[1]].contiguous()


def composite(optical_depth: Tensor, rgb: Tensor, distances: Tensor, offsets: Tensor) -> Composite:
    """Render colors, opacities and depths; see `kernels.compositing.composite`."""
    return Composite(*_Composite.apply(optical_depth, rgb, distances, offsets))


class _Composite(torch.autograd.Function):
    """Color, opacity and depth of a ray are one row of five numbers in the kernels."""

    @staticmethod
    def forward(ctx, optical_depth: Tensor, rgb: Tensor, distances: Tensor, offsets: Tensor):
        """Render N rays: rgb [N, 3], accumulation [N] and depth [N]."""
        ctx.save_for_backward(optical_depth, rgb, distances, offsets)
        rays = offsets.shape[0] - 1
        sums = torch.empty(rays, 5)
        run(
            compositing.forward,
            _blocks(rays, RAYS),
            RAYS,
            _array(optical_depth),
            _array(rgb),
            _array(distances),
            _array(offsets),
            sums.numpy(),
        )
        return sums[:, :3].contiguous(), sums[:, 3].contiguous(), sums[:, 4].contiguous()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad_rgb: Tensor, grad_accumulation: Tensor, grad_depth: Tensor):
        """Return the gradients of optical depths [M] and colors [M, 3]."""
        optical_depth, rgb, distances, offsets = ctx.saved_tensors
        grad = torch.cat([grad_rgb, grad_accumulation[:, None], grad_depth[:, None]], 1)
        grad_optical_depth = torch.empty(optical_depth.shape)
        grad_rgb = torch.empty(rgb.shape)
        run(
            compositing.backward,
            _blocks(grad.shape[0], RAYS),
            RAYS,
            _array(optical_depth),
            _array(rgb),
            _array(distances),
            _array(offsets),
            _array(grad),
            grad_optical_depth.numpy(),
            grad_rgb.numpy(),
        )
        return grad_optical_depth, grad_rgb, None, None


def distortion_loss(optical_depth: Tensor, positions: Tensor, offsets: Tensor) -> Tensor:
    """Compute each ray's distortion; see `kernels.compositing.distortion_loss`."""
    return _DistortionLoss.apply(optical_depth, positions, offsets)


class _DistortionLoss(torch.autograd.Function):
    """The distortion loss of rays, differentiable with respect to the optical depths."""

    @staticmethod
    def forward(ctx, optical_depth: Tensor, positions: Tensor, offsets: Tensor) -> Tensor:
        """Compute the losses [N]."""
        ctx.save_for_backward(optical_depth, positions, offsets)
        result = torch.empty(offsets.shape[0] - 1)
        arrays = _arrays(optical_depth, positions, offsets, result)
        run(compositing.distortion_loss, _blocks(result.shape[0], RAYS), RAYS, *arrays)
        return result

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad: Tensor):
        """Return the gradient of the optical depths [M]."""
        grad_optical_depth = torch.empty(ctx.saved_tensors[0].shape)
        arrays = _arrays(*ctx.saved_tensors, grad, grad_optical_depth)
        run(compositing.distortion_loss_backward, _blocks(grad.shape[0], RAYS), RAYS, *arrays)
        return grad_optical_depth, None, None


def median_depth(optical_depth: Tensor, distances: Tensor, offsets: Tensor) -> Tensor:
    """Find where half of the light is stopped; see `kernels.compositing.median_depth`."""
    rays = offsets.shape[0] - 1
    median = torch.empty(rays)
    arrays = (_array(t) for t in (optical_depth, distances, offsets, median))
    run(compositing.median_depth, _blocks(rays, RAYS), RAYS, *arrays)
    return median


def transmittance(optical_depth: Tensor, offsets: Tensor) -> Tensor:
    """Compute the light in front of each sample; see `kernels.compositing.transmittance`."""
    result = torch.empty(optical_depth.shape)
    arrays = (_array(t) for t in (optical_depth, offsets, result))
    run(compositing.transmittance, _blocks(offsets.shape[0] - 1, RAYS), RAYS, *arrays)
    return result


def merge(one: Tensor, one_offsets: Tensor, two: Tensor, two_offsets: Tensor) -> Tensor:
    """Order two sources' samples by twice their midpoints; see `kernels.samples.merge`."""
    order = torch.empty(len(one) + len(two), dtype=torch.int64)
    arrays = _arrays(one, one_offsets, two, two_offsets, order)
    run(samples.merge, _blocks(len(one_offsets) - 1, RAYS), RAYS, *arrays)
    return order


def march_box(origins, directions, occupancy, offsets, step, bounds, near, far) -> Samples:
    """March through the cells of a box; see `kernels.marching.march`."""
    blocks = marching.coarse(_array(occupancy))
    low, high = np.asarray(bounds, dtype=np.float64)
    limits = (blocks, step, low, high, near, far)
    return _march(marching.box, origins, directions, occupancy, offsets, limits)


def march_contracted(origins, directions, occupancy, offsets, step, near, far) -> Samples:
    """March through the cells of contracted space; see `kernels.marching.march`."""
    return _march(marching.contracted, origins, directions, occupancy, offsets, (step, near, far))


def _march(
    kernel, origins: Tensor, directions: Tensor, occupancy: Tensor, offsets: Tensor, limits: tuple
) -> Samples:
    rays = origins.shape[0]
    counts = torch.empty(rays, dtype=torch.int64)
    arrays = _arrays(origins, directions, occupancy, offsets, counts)
    parts = run(
        kernel,
        _blocks(rays, RAYS),
        RAYS,
        *arrays,
        *(x if isinstance(x, np.ndarray) else float(x) for x in limits),
    )
    starts, ends = (
        torch.cat([torch.from_numpy(part[side]) for part in parts]) if parts else torch.empty(0)
        for side in (0, 1)
    )
    offsets = torch.zeros(rays + 1, dtype=torch.int64)
    torch.cumsum(counts, 0, out=offsets[1:])
    return Samples(starts, ends, torch.arange(rays).repeat_interleave(counts), offsets)


def render_rays(
    origins, directions, view_features, field: FieldWeights, occupancy, step, near, far, stop
) -> RenderedRays:
    """Render rays in one pass; see `kernels.rendering.render_rays`."""
    if field.spec.n_features != hashgrid.FEATURES:
        arguments = (origins, directions, view_features, field, occupancy, step, near, far, stop)
        return after("cpu", "render_rays", field.table)(*arguments)
    cells, sums = _array(occupancy), np.empty((origins.shape[0], 5))
    run(
        rendering.render,
        _blocks(origins.shape[0], RAYS),
        RAYS,
        *_arrays(origins, directions, view_features),
        cells,
        marching.coarse(cells),
        tuple(map(float, (step, near, far, stop, field.density_bias))),
        *_weights(field, view_features),
        sums,
    )
    rows = torch.from_numpy(sums).float()
    return RenderedRays(rows[:, :3].contiguous(), rows[:, 3].contiguous(), rows[:, 4].contiguous())


def query_along(units, lengths, offsets, view_features, field: FieldWeights, stop) -> tuple[Tensor, Tensor]:
    """Query samples along rays in one pass; see `kernels.rendering.query_along`."""
    if field.spec.n_features != hashgrid.FEATURES:
        arguments = (units, lengths, offsets, view_features, field, stop)
        return after("cpu", "query_along", field.table)(*arguments)
    density, rgb = torch.empty(lengths.shape), torch.empty(units.shape)
    run(
        rendering.query,
        _blocks(offsets.shape[0] - 1, RAYS),
        RAYS,
        *_arrays(offsets, units, lengths, view_features),
        (float(stop), float(field.density_bias)),
        *_weights(field, view_features),
        *_arrays(density, rgb),
    )
    return density, rgb


def _weights(field: FieldWeights, view_features: Tensor) -> tuple:
    """Return a field as the kernels take it."""
    trunk, trunk_widths = _flat(field.trunk)
    head, head_widths = _flat(field.head) if field.head else (torch.zeros(0), torch.tensor([4]))
    geometry = field.head[0].shape[1] - view_features.shape[1] if field.head else 3
    arrays = _arrays(field.table, trunk, trunk_widths, head, head_widths)
    return _levels(field.spec), *arrays, geometry
