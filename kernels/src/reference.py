"""The operations in plain PyTorch, in any dtype and on any device: they define the meaning of all backends.

M points or samples, N rays. Gradients are autograd's own. What each function computes and takes is said where
it is called: `hashgrid`, `mlp`, `compositing`, `samples`, `marching`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from nerf_insert.kernels.compositing import Composite
from nerf_insert.kernels.hashgrid import PRIMES, GridSpec
from nerf_insert.kernels.reference_splatting import (
    plan_raster,
    project,
    rasterize,
    ray_hits,
    spherical_harmonics,
    splat_density,
    splat_hits,
)
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

OPAQUE = 800.0  # exp(-800) is zero in float64: nothing is lost by stopping there, and sums stay exact


def hash_encode(
    points: Float[Tensor, "M 3"], table: Float[Tensor, "entries features"], spec: GridSpec
) -> Float[Tensor, "M output"]:
    """Encode points; see `kernels.hashgrid.hash_encode`."""
    points = clamped(points)
    corners = torch.tensor([[i >> 0 & 1, i >> 1 & 1, i >> 2 & 1] for i in range(8)], device=points.device)
    features = []
    for level in range(spec.n_levels):
        # scale * x + shift rounded once, as by the fused multiply-add of compiled backends
        position = (points.double() * float(spec.scales[level]) + spec.shift).to(points.dtype)
        cell = position.detach().floor()
        weight = (position - cell)[:, None]
        weight = torch.where(corners == 1, weight, 1 - weight).prod(-1)
        index = _index(cell.long()[:, None] + corners, spec, level)
        features.append((weight[..., None] * table[index]).sum(1))
    return torch.cat(features, -1)


def clamped(points: Float[Tensor, "M 3"]) -> Float[Tensor, "M 3"]:
    """Clamp points to 0..1, with a gradient on the border, where versions of torch's clamp differ."""
    return torch.where((points >= 0) & (points <= 1), points, points.detach().clamp(0, 1))


def _index(cell: Int64[Tensor, "M 8 3"], spec: GridSpec, level: int) -> Int64[Tensor, "M 8"]:
    x, y, z = cell.unbind(-1)
    if spec.dense[level]:
        resolution = int(spec.resolutions[level])
        index = x + resolution * (y + resolution * z)
    else:
        index = (x * PRIMES[0]) ^ (y * PRIMES[1]) ^ (z * PRIMES[2])
    return index % int(spec.sizes[level]) + int(spec.offsets[level])


def mlp(x: Float[Tensor, "M D"], weights: Sequence[Float[Tensor, "_ _"]]) -> Float[Tensor, "M _"]:
    """Apply the layers; see `kernels.mlp.mlp`."""
    for weight in weights[:-1]:
        x = torch.nn.functional.linear(x, weight).relu()
    return torch.nn.functional.linear(x, weights[-1])


def composite(
    optical_depth: Float[Tensor, " M"],
    rgb: Float[Tensor, "M 3"],
    distances: Float[Tensor, " M"],
    offsets: Int64[Tensor, " N_plus_1"],
) -> Composite:
    """Render colors, opacities and depths; see `kernels.compositing.composite`."""
    ray = _ray_index(offsets)
    before, _ = _depths(optical_depth, offsets, ray)
    weights = (torch.exp(-before) * -torch.expm1(-optical_depth.double())).to(optical_depth.dtype)

    def total(values: Tensor) -> Tensor:
        return values.new_zeros(offsets.shape[0] - 1, *values.shape[1:]).index_add(0, ray, values)

    return Composite(total(weights[:, None] * rgb), total(weights), total(weights * distances))


def distortion_loss(
    optical_depth: Float[Tensor, " M"], positions: Float[Tensor, " M"], offsets: Int64[Tensor, " N_plus_1"]
) -> Float[Tensor, " N"]:
    """Compute each ray's distortion; see `kernels.compositing.distortion_loss`."""
    ray = _ray_index(offsets)
    before, _ = _depths(optical_depth, offsets, ray)
    weights = torch.exp(-before) * -torch.expm1(-optical_depth.double())

    def earlier(values: Tensor) -> Tensor:
        """Sum over the samples in front on the same ray."""
        sums = torch.cat([values.new_zeros(1), values.cumsum(0)])
        return sums[:-1] - sums[offsets[:-1]][ray]

    pairs = weights * (positions * earlier(weights) - earlier(weights * positions))
    return 2 * pairs.new_zeros(len(offsets) - 1).index_add(0, ray, pairs).to(optical_depth.dtype)


def median_depth(
    optical_depth: Float[Tensor, " M"], distances: Float[Tensor, " M"], offsets: Int64[Tensor, " N_plus_1"]
) -> Float[Tensor, " N"]:
    """Find where half of the light is stopped; see `kernels.compositing.median_depth`."""
    ray = _ray_index(offsets)
    _, behind = _depths(optical_depth, offsets, ray)
    count = optical_depth.shape[0]
    crossed = torch.where(behind > math.log(2), torch.arange(count, device=ray.device), count)
    first = crossed.new_full((offsets.shape[0] - 1,), count).scatter_reduce(0, ray, crossed, "amin")
    return torch.cat([distances, distances.new_full((1,), math.inf)])[first]


def transmittance(
    optical_depth: Float[Tensor, " M"], offsets: Int64[Tensor, " N_plus_1"]
) -> Float[Tensor, " M"]:
    """Compute the light in front of each sample; see `kernels.compositing.transmittance`."""
    before, _ = _depths(optical_depth, offsets, _ray_index(offsets))
    return torch.exp(-before).to(optical_depth.dtype)


def merge(
    one: Float[Tensor, " A"],
    one_offsets: Int64[Tensor, " N_plus_1"],
    two: Float[Tensor, " B"],
    two_offsets: Int64[Tensor, " N_plus_1"],
) -> Int64[Tensor, " A+B"]:
    """Order two sources' samples along each ray; see `kernels.samples.merge`.

    Args:
        one: A key of each sample of the first source, such as twice its midpoint, ascending along each ray.
        one_offsets: Where each ray's samples begin in `one`, and its end.
        two: The same of the second source.
        two_offsets: Where each ray's samples begin in `two`, and its end.

    Returns:
        The index of each merged sample in the concatenation of both; at equal keys `one` comes first.
    """
    ray_index = torch.cat([_ray_index(one_offsets), _ray_index(two_offsets)])
    order = torch.argsort(torch.cat([one, two]), stable=True)
    return order[torch.argsort(ray_index[order], stable=True)]


def render_rays(
    origins: Float[Tensor, "N 3"],
    directions: Float[Tensor, "N 3"],
    view_features: Float[Tensor, "N F"],
    field: FieldWeights,
    occupancy: Bool[Tensor, "R R R"],
    step: float,
    near: float,
    far: float,
    stop: float,
) -> RenderedRays:
    """Render rays, one operation after the other; see `kernels.rendering.render_rays`."""
    nothing = torch.zeros_like(origins[:, 0])
    samples = march_contracted(origins, directions, occupancy, nothing, step, near, far)
    points = samples.midpoints(origins, directions)
    size = points.abs().amax(-1, keepdim=True).clamp_min(1)
    units = ((2 - 1 / size) / size * points + 2) / 4
    density, rgb = _query(units, samples.ray_index, view_features, field)
    optical_depth = density * samples.lengths
    shows = _shows(optical_depth, samples.offsets, stop).to(units)
    out = composite(optical_depth, shows[:, None] * rgb, shows, samples.offsets)
    depth = median_depth(optical_depth, samples.distances, samples.offsets)
    return RenderedRays(out.rgb, out.depth, depth)


def query_along(
    units: Float[Tensor, "M 3"],
    lengths: Float[Tensor, " M"],
    offsets: Int64[Tensor, " N_plus_1"],
    view_features: Float[Tensor, "N F"],
    field: FieldWeights,
    stop: float,
) -> tuple[Float[Tensor, " M"], Float[Tensor, "M 3"]]:
    """Query samples along rays, one operation after the other; see `kernels.rendering.query_along`."""
    density, rgb = _query(units, _ray_index(offsets), view_features, field)
    shows = _shows(density * lengths, offsets, stop).to(units)
    return shows * density, shows[:, None] * rgb


def _query(
    units: Float[Tensor, "M 3"],
    ray: Int64[Tensor, " M"],
    view_features: Float[Tensor, "N F"],
    field: FieldWeights,
) -> tuple[Float[Tensor, " M"], Float[Tensor, "M 3"]]:
    found = mlp(hash_encode(units, field.table, field.spec), field.trunk)
    color = found[:, 1:]
    if field.head:
        color = mlp(torch.cat([color, view_features[ray]], -1), field.head)
    return (found[:, 0] + field.density_bias).clamp_max(15).exp(), color[:, :3].sigmoid()


def _shows(
    optical_depth: Float[Tensor, " M"], offsets: Int64[Tensor, " N_plus_1"], stop: float
) -> Bool[Tensor, " M"]:
    """Tell which samples enough light reaches and which add enough to their pixels."""
    reached = transmittance(optical_depth, offsets)
    return (reached >= stop) & (reached * -torch.expm1(-optical_depth) >= stop)


def _ray_index(offsets: Int64[Tensor, " N_plus_1"]) -> Int64[Tensor, " M"]:
    rays = torch.arange(offsets.shape[0] - 1, device=offsets.device)
    return rays.repeat_interleave(offsets.diff())


def _depths(
    optical_depth: Float[Tensor, " M"], offsets: Int64[Tensor, " N_plus_1"], ray: Int64[Tensor, " M"]
) -> tuple[Float[Tensor, " M"], Float[Tensor, " M"]]:
    """Return the optical depth in front of and behind each sample, float64."""
    optical_depth = optical_depth.double().clamp_max(OPAQUE)
    sums = torch.cat([optical_depth.new_zeros(1), optical_depth.cumsum(0)])
    first = sums[offsets[:-1]][ray]
    return sums[:-1] - first, sums[1:] - first


def march_box(
    origins: Float[Tensor, "N 3"],
    directions: Float[Tensor, "N 3"],
    occupancy: Bool[Tensor, "X Y Z"],
    offsets: Float[Tensor, " N"],
    step: float,
    bounds: list[list[float]],
    near: float,
    far: float,
) -> Samples:
    """March through the cells of a box; see `kernels.marching.march`."""
    o, d, u = origins.double(), directions.double(), offsets.double()
    low, high = torch.tensor(bounds, dtype=torch.float64, device=o.device)
    # A ray parallel to a pair of planes is between them always or never.
    a, b = (low - o) / d, (high - o) / d
    between = torch.where((o >= low) & (o <= high), -math.inf, math.inf)
    entry = torch.where(d == 0, between, torch.minimum(a, b)).amax(-1).clamp_min(near)
    leave = torch.where(d == 0, -between, torch.maximum(a, b)).amin(-1).clamp_max(far)
    meets = (leave > entry) & leave.isfinite()
    count = torch.where(meets, ((leave - entry) / step + u).ceil() + 1, 0).long()
    ray = torch.arange(o.shape[0], device=o.device).repeat_interleave(count)
    first = count.cumsum(0) - count
    k = torch.arange(ray.shape[0], device=o.device) - first[ray]
    start = torch.where(k == 0, entry[ray], entry[ray] + (k - u[ray]) * step)
    end = torch.minimum(entry[ray] + (k + 1 - u[ray]) * step, leave[ray])
    middle = 0.5 * (start + end)
    cells = torch.tensor(occupancy.shape, device=o.device)
    cell = (((o[ray] + middle[:, None] * d[ray]) - low) * (cells / (high - low))).floor().long()
    return _occupied(start, end, ray, cell, occupancy, origins)


def march_contracted(
    origins: Float[Tensor, "N 3"],
    directions: Float[Tensor, "N 3"],
    occupancy: Bool[Tensor, "X Y Z"],
    offsets: Float[Tensor, " N"],
    step: float,
    near: float,
    far: float,
) -> Samples:
    """March through the cells of contracted space; see `kernels.marching.march`."""
    o, d, u = origins.double(), directions.double(), offsets.double()
    ray = torch.arange(o.shape[0], device=o.device)
    start, part = torch.full_like(u, near), 1 - u  # of a first sample's length
    starts, ends, rays = [start[:0]], [start[:0]], [ray[:0]]
    while (alive := start < far).any():
        start, part, ray = start[alive], part[alive], ray[alive]
        size = (o[ray] + start[:, None] * d[ray]).abs().amax(-1).clamp_min(1)
        end = start + part * (step * (size * size))
        starts.append(start)
        ends.append(end.clamp_max(far))
        rays.append(ray)
        start, part = end, torch.ones_like(end)
    ray, order = torch.cat(rays).sort(stable=True)
    start, end = torch.cat(starts)[order], torch.cat(ends)[order]
    middle = 0.5 * (start + end)
    points = o[ray] + middle[:, None] * d[ray]
    size = points.abs().amax(-1, keepdim=True)
    points = torch.where(size <= 1, points, (2 - 1 / size) / size * points)
    cells = torch.tensor(occupancy.shape, device=o.device)
    cell = ((points + 2) * (cells / 4)).floor().long()
    return _occupied(start, end, ray, cell, occupancy, origins)


def _occupied(
    start: Tensor, end: Tensor, ray: Tensor, cell: Tensor, occupancy: Tensor, origins: Tensor
) -> Samples:
    """Return the samples in occupied cells, in the dtype of the rays."""
    x, y, z = (cell[:, k].clamp(0, occupancy.shape[k] - 1) for k in range(3))
    start, end = start.to(origins.dtype), end.to(origins.dtype)
    keep = (end > start) & occupancy[x, y, z]
    return Samples.packed(start[keep], end[keep], ray[keep], origins.shape[0])
