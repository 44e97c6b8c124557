"""The CPU backend's rasterization of splats: what `backend` calls; see `kernels.splatting`."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from nerf_insert.kernels import splatting as api
from nerf_insert.kernels.cpu import splat_numbers, splatting
from nerf_insert.kernels.cpu.threads import run
from nerf_insert.kernels.dispatch import after
from nerf_insert.kernels.splat_cells import BITS, LEVELS, REACH
from nerf_insert.kernels.splatting import ImagePlane, Projected, Raster, RasterPlan, SplatHits

SPLATS = 1 << 13  # per task
POINTS = 1 << 11  # per task
RAYS = 64  # per task, of those that look at every splat
NUMBERS = 3  # of a row of gradients per task, when they are added up


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().contiguous().numpy()


def _blocks(count: int, size: int) -> int:
    return -(-count // size)


def project(means, scales, quaternions, opacities, plane: ImagePlane, antialiased: bool = False) -> Projected:
    """Project splats; see `kernels.splatting.project`. Gradients are those of the twin."""
    tensors = (means, scales, quaternions, opacities)
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors):
        return after("cpu", "project", means)(*tensors, plane, antialiased)
    rows, depths = torch.zeros(len(means), splat_numbers.ROW), torch.empty(len(means))
    view = tuple(np.concatenate([_array(plane.rotation.double().reshape(-1)), _array(plane.center.double())]))
    size = tuple(float(number) for number in plane[2:])
    constants = (api.NEAR, api.BLUR, api.MARGIN)
    arrays = [_array(tensor) for tensor in tensors]
    tasks = _blocks(len(means), SPLATS)
    arguments = (*arrays, view, size, constants, bool(antialiased), rows.numpy(), depths.numpy())
    run(splat_numbers.project, tasks, SPLATS, *arguments)
    return Projected(rows[:, :2], rows[:, 2:5], depths, rows[:, 5], rows[:, 10:12], rows[:, 12:14])


def spherical_harmonics(directions: Tensor, coefficients: Tensor) -> Tensor:
    """Return colors; see `kernels.splatting.spherical_harmonics`. Gradients are those of the twin."""
    if torch.is_grad_enabled() and (directions.requires_grad or coefficients.requires_grad):
        return after("cpu", "spherical_harmonics", directions)(directions, coefficients)
    rgb = torch.empty(len(directions), 3)
    arrays = _array(directions), np.zeros(3), _array(coefficients), rgb.numpy()
    run(splat_numbers.colors, _blocks(len(directions), SPLATS), SPLATS, *arrays)
    return rgb


def plan_raster(projected: Projected, width: int, height: int) -> RasterPlan:
    """Sort splats and assign them to tiles; see `kernels.splatting.plan_raster`."""
    visible = (projected.extents[:, 0] > 0).nonzero()[:, 0]
    order = visible[projected.depths[visible].argsort(stable=True)]
    columns, rows = (max(1, _blocks(size, splatting.TILE)) for size in (width, height))
    parts = (order, projected.means, projected.conics, projected.opacities, projected.extents)
    arrays = [_array(part) for part in parts]
    offsets = torch.zeros(columns * rows + 1, dtype=torch.int64)
    counts = torch.zeros(columns * rows, dtype=torch.int64)
    run(splatting.count_pairs, 1, *arrays, columns, rows, counts.numpy())
    torch.cumsum(counts, 0, out=offsets[1:])
    splats = torch.empty(int(offsets[-1]), dtype=torch.int32)
    run(splatting.list_pairs, 1, *arrays, columns, rows, offsets[:-1].clone().numpy(), splats.numpy())
    return RasterPlan(order, offsets, splats, columns, rows, splatting.TILE)


def _data(projected: Projected, rgb: Tensor | None) -> Tensor:
    """Pack what the kernels read of a splat into a row; without colors, rows that `project` made serve."""
    whole = projected.means._base
    if rgb is None and whole is not None and whole.shape == (len(projected.means), splat_numbers.ROW):
        return whole
    data = torch.zeros(len(projected.means), splat_numbers.ROW)
    data[:, :2], data[:, 2:5], data[:, 5] = projected.means, projected.conics, projected.opacities
    if rgb is not None:
        data[:, 6:9] = rgb
    data[:, 9], data[:, 10:12], data[:, 12:14] = projected.depths, projected.slopes, projected.extents
    return data


def _by_tile(pixels: Tensor, plan: RasterPlan) -> tuple[Tensor, Tensor]:
    """Return the pixels' order by tile and row, and where each tile's begin."""
    cell = pixels.long()
    column = (cell[:, 0] // splatting.TILE).clamp(0, plan.columns - 1)
    row = (cell[:, 1] // splatting.TILE).clamp(0, plan.rows - 1)
    tile = row * plan.columns + column
    inner = (cell[:, 1] - row * splatting.TILE).clamp(0, splatting.TILE - 1)
    order = (tile * splatting.TILE + inner).argsort(stable=True)
    offsets = torch.zeros(plan.columns * plan.rows + 1, dtype=torch.int64)
    torch.cumsum(torch.bincount(tile, minlength=len(offsets) - 1), 0, out=offsets[1:])
    return order, offsets


def rasterize(projected: Projected, rgb: Tensor, pixels: Tensor, plan: RasterPlan) -> Raster:
    """Composite splats; see `kernels.splatting.rasterize`."""
    means, conics, opacities = projected.means, projected.conics, projected.opacities
    color, accumulation, depth = _Rasterize.apply(means, conics, opacities, rgb, projected, pixels, plan)
    return Raster(color, accumulation, depth)


class _Rasterize(torch.autograd.Function):
    """Pixels are composited tile by tile; the backward goes through each tile's splats in reverse."""

    @staticmethod
    def forward(ctx, means, conics, opacities, rgb, projected: Projected, pixels: Tensor, plan: RasterPlan):
        """Composite P pixels: rgb [P, 3], accumulation [P] and depth [P]."""
        data = _data(projected, rgb.detach())
        order, offsets = _by_tile(pixels, plan)
        out = torch.zeros(len(pixels), 6)
        arrays = [_array(part) for part in (plan.offsets, plan.splats, data, offsets, order, pixels)]
        run(splatting.forward, plan.columns * plan.rows, plan.columns, *arrays, out.numpy())
        ctx.save_for_backward(data, order, offsets, pixels, out)
        ctx.plan = plan
        depth = out[:, 4].clone()
        ctx.mark_non_differentiable(depth)
        return out[:, :3].clone(), 1 - out[:, 3], depth

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad_rgb: Tensor, grad_accumulation: Tensor, _: Tensor):
        """Return the gradients of means [N, 2], conics [N, 3], opacities [N] and colors [N, 3]."""
        data, order, offsets, pixels, out = ctx.saved_tensors
        plan = ctx.plan
        grad = torch.cat([grad_rgb, grad_accumulation[:, None]], 1)
        sums = torch.empty(len(plan.splats), splatting.GRADIENTS)
        parts = (plan.offsets, plan.splats, data, offsets, order, pixels, out, grad)
        arrays = [_array(part) for part in parts]
        run(splatting.backward, plan.columns * plan.rows, plan.columns, *arrays, sums.numpy())
        total = torch.zeros(len(data), splatting.GRADIENTS)
        tasks = _blocks(splatting.GRADIENTS, NUMBERS)
        run(splatting.add_pairs, tasks, NUMBERS, _array(plan.splats), sums.numpy(), total.numpy())
        return total[:, :2], total[:, 2:5], total[:, 5], total[:, 6:], None, None, None


def splat_hits(projected: Projected, pixels: Tensor, plan: RasterPlan, certain: Tensor) -> SplatHits:
    """List the splats that pixels meet; see `kernels.splatting.splat_hits`."""
    order, offsets = _by_tile(pixels, plan)
    tensors = (plan.offsets, plan.splats, _data(projected, None), offsets, order, pixels, certain)
    parts = run(splatting.hits, plan.columns * plan.rows, plan.columns, *(_array(t) for t in tensors))
    counts = torch.from_numpy(np.concatenate([part[3] for part in parts]))
    columns = [torch.from_numpy(np.concatenate([part[k] for part in parts])) for k in range(3)]
    begin = counts.cumsum(0) - counts  # of each pixel in the tiles' order
    place = torch.empty_like(order)
    place[order] = torch.arange(len(order))
    counts, begin = counts[place], begin[place]
    ends = torch.zeros(len(pixels) + 1, dtype=torch.int64)
    torch.cumsum(counts, 0, out=ends[1:])
    index = torch.arange(int(ends[-1])) + (begin - ends[:-1]).repeat_interleave(counts)
    splat, alpha, depth = (column.index_select(0, index) for column in columns)
    return SplatHits(splat, alpha, depth, ends)


def ray_hits(
    means: Tensor, whitening: Tensor, opacities: Tensor, origins: Tensor, directions: Tensor
) -> SplatHits:
    """List the splats that rays meet; see `kernels.splatting.ray_hits`."""
    if not len(origins):
        return after("cpu", "ray_hits", means)(means, whitening, opacities, origins, directions)
    # as far as alpha reaches 1/255: that many standard deviations along the longest axis, one over the
    # smallest singular value of the whitening
    deviation = 1 / torch.linalg.svdvals(whitening).amin(1).clamp_min(1e-30)
    radii = deviation * (2 * (opacities / api.MIN_ALPHA).clamp_min(1).log()).sqrt()
    arrays = [_array(t) for t in (means, whitening, radii, opacities, origins, directions)]
    parts = run(splatting.ray_hits, _blocks(len(origins), RAYS), RAYS, *arrays, api.NEAR)
    splat, alpha, depth, counts = (torch.from_numpy(np.concatenate([p[k] for p in parts])) for k in range(4))
    offsets = torch.zeros(len(origins) + 1, dtype=torch.int64)
    torch.cumsum(counts, 0, out=offsets[1:])
    return SplatHits(splat, alpha, depth.float(), offsets)


def splat_density(points, directions, means, whitening, optical_depth, sh, cells) -> tuple[Tensor, Tensor]:
    """Return density and color at points; see `kernels.splat_cells.splat_density`."""
    out = torch.empty(len(points), 4)
    tensors = (points, directions, means, whitening, optical_depth, sh, *cells)
    grid = (REACH, BITS, LEVELS)
    arrays = [_array(tensor) for tensor in tensors]
    run(splat_numbers.density, _blocks(len(points), POINTS), POINTS, *arrays, grid, out.numpy())
    return out[:, 0].clone(), out[:, 1:].clone()
