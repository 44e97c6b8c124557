"""Rasterization of splats in plain PyTorch: the meaning of `kernels.splatting` for all backends.

Every pixel looks at every splat, so this is for tests and small scenes only.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from nerf_insert.kernels import splatting
from nerf_insert.kernels.splat_cells import REACH, SplatCells
from nerf_insert.kernels.splatting import ImagePlane, Projected, Raster, RasterPlan, SplatHits

PIXELS_AT_ONCE = 256


def project(
    means: Float[Tensor, "N 3"],
    scales: Float[Tensor, "N 3"],
    quaternions: Float[Tensor, "N 4"],
    opacities: Float[Tensor, " N"],
    plane: ImagePlane,
    antialiased: bool = False,
) -> Projected:
    """Project splats; see `kernels.splatting.project`."""
    turn = plane.rotation.to(means)
    x, y, z = ((means - plane.center.to(means)) @ turn.T).unbind(1)
    shown = z > splatting.NEAR
    z = torch.where(shown, z, torch.ones_like(z))
    half = turn @ rotation_matrices(quaternions) * scales[:, None]  # a square root of the covariance
    covariance = half @ half.transpose(1, 2)
    tx, ty = clamped_tangents(x / z, y / z, plane)
    zero = torch.zeros_like(z)
    rows = [[plane.fx / z, zero, -plane.fx * tx / z], [zero, plane.fy / z, -plane.fy * ty / z]]
    derivative = torch.stack([torch.stack(row, -1) for row in rows], 1)
    flat = derivative @ covariance @ derivative.transpose(1, 2)
    a, b, c = flat[:, 0, 0], flat[:, 0, 1], flat[:, 1, 1]
    sharp = a * c - b * b
    a, c = a + splatting.BLUR, c + splatting.BLUR
    determinant = (a * c - b * b).clamp_min(1e-10)
    if antialiased:
        opacities = opacities * (sharp / determinant).clamp_min(0).add(1e-24).sqrt()
    conics = torch.stack([c / determinant, -b / determinant, a / determinant], 1)
    across = (derivative @ covariance[:, :, 2:])[:, :, 0]  # covariance of pixel and z
    slopes = torch.stack(
        [conics[:, 0] * across[:, 0] + conics[:, 1] * across[:, 1],
         conics[:, 1] * across[:, 0] + conics[:, 2] * across[:, 1]], 1
    )  # fmt: skip
    at = torch.stack([plane.fx * x / z + plane.cx, plane.fy * y / z + plane.cy], 1)
    with torch.no_grad():
        reach = 2 * (opacities / splatting.MIN_ALPHA).clamp_min(1e-30).log()
        extents = (reach.clamp_min(0)[:, None] * torch.stack([a, c], 1)).sqrt()
        size = at.new_tensor([plane.width, plane.height])
        shown = shown & (reach > 0) & ((at + extents > 0) & (at - extents < size)).all(1)
        extents = torch.where(shown[:, None], extents, 0)
    return Projected(at, conics, z, opacities, slopes, extents)


def clamped_tangents(x: Tensor, y: Tensor, plane: ImagePlane) -> tuple[Tensor, Tensor]:
    """Keep x / z and y / z within the image and a margin around it."""
    margin = splatting.MARGIN
    left, right = plane.cx + margin * plane.width, plane.width - plane.cx + margin * plane.width
    above, below = plane.cy + margin * plane.height, plane.height - plane.cy + margin * plane.height
    return x.clamp(-left / plane.fx, right / plane.fx), y.clamp(-above / plane.fy, below / plane.fy)


def rotation_matrices(quaternions: Float[Tensor, "N 4"]) -> Float[Tensor, "N 3 3"]:
    """Return the rotations of quaternions w, x, y, z of any length."""
    w, x, y, z = torch.nn.functional.normalize(quaternions, dim=1).unbind(1)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return torch.stack([torch.stack(row, -1) for row in rows], 1)


def spherical_harmonics(
    directions: Float[Tensor, "N 3"], coefficients: Float[Tensor, "N K 3"]
) -> Float[Tensor, "N 3"]:
    """Return colors; see `kernels.splatting.spherical_harmonics`."""
    x, y, z = torch.nn.functional.normalize(directions, dim=1).unbind(1)
    xx, yy, zz = x * x, y * y, z * z
    basis = [torch.full_like(x, math.sqrt(1 / (4 * math.pi)))]
    if coefficients.shape[1] > 1:
        k = math.sqrt(3 / (4 * math.pi))
        basis += [-k * y, k * z, -k * x]
    if coefficients.shape[1] > 4:
        k = math.sqrt(15 / (4 * math.pi))
        polar = math.sqrt(5 / (16 * math.pi)) * (3 * zz - 1)
        basis += [k * x * y, -k * y * z, polar, -k * x * z, k / 2 * (xx - yy)]
    if coefficients.shape[1] > 9:
        k, m, n = (math.sqrt(v / math.pi) for v in (35 / 32, 105 / 4, 21 / 32))
        polar = math.sqrt(7 / (16 * math.pi)) * z * (5 * zz - 3)
        basis += [-k * y * (3 * xx - yy), m * x * y * z, -n * y * (5 * zz - 1), polar]
        basis += [-n * x * (5 * zz - 1), m / 2 * z * (xx - yy), -k * x * (xx - 3 * yy)]
    return ((torch.stack(basis, 1)[..., None] * coefficients).sum(1) + 0.5).clamp_min(0)


def plan_raster(projected: Projected, width: int, height: int) -> RasterPlan:
    """Sort splats by depth, with one tile for all; see `kernels.splatting.plan_raster`."""
    visible = (projected.extents[:, 0] > 0).nonzero()[:, 0]
    order = visible[projected.depths[visible].argsort(stable=True)]
    return RasterPlan(order, order.new_tensor([0, len(order)]), order.int(), 1, 1, max(width, height))


def _alphas(projected: Projected, pixels: Tensor, order: Tensor) -> tuple[Tensor, Tensor]:
    """Return alpha and the offset from the center for each pixel and splat, [P, V] and [P, V, 2]."""
    delta = pixels[:, None] - projected.means[order]
    x, y = delta.unbind(-1)
    a, b, c = projected.conics[order].unbind(1)
    alpha = projected.opacities[order] * torch.exp(-0.5 * (a * x * x + c * y * y) - b * x * y)
    alpha = alpha.clamp_max(splatting.MAX_ALPHA)
    return torch.where(alpha >= splatting.MIN_ALPHA, alpha, 0), delta


def rasterize(
    projected: Projected, rgb: Float[Tensor, "N 3"], pixels: Float[Tensor, "P 2"], plan: RasterPlan
) -> Raster:
    """Composite splats; see `kernels.splatting.rasterize`."""
    order = plan.order
    parts = []
    for some in pixels.split(PIXELS_AT_ONCE):
        alpha, delta = _alphas(projected, some, order)
        behind = torch.cumprod(1 - alpha, 1)
        with torch.no_grad():
            alive = behind > splatting.MIN_TRANSMITTANCE  # falls once and stays
            depth = projected.depths[order] + (delta * projected.slopes[order]).sum(-1)
            crossed = alive & (behind <= 0.5)
            at = crossed.int().argmax(1, keepdim=True) if len(order) else None
            # where a pixel stops, its half may lie in the splat that it leaves out: then there is no depth
            depth = depth.gather(1, at)[:, 0] if at is not None else some.new_zeros(len(some))
            depth = torch.where(crossed.any(1), depth, math.inf)
        front = torch.cat([torch.ones_like(behind[:, :1]), behind[:, :-1]], 1)
        weight = torch.where(alive, front * alpha, 0)
        parts.append((weight @ rgb[order], weight.sum(1), depth))
    if not parts:
        return Raster(pixels.new_zeros(0, 3), pixels.new_zeros(0), pixels.new_zeros(0))
    return Raster(*(torch.cat(column) for column in zip(*parts, strict=True)))


def ray_hits(
    means: Float[Tensor, "N 3"],
    whitening: Float[Tensor, "N 3 3"],
    opacities: Float[Tensor, " N"],
    origins: Float[Tensor, "R 3"],
    directions: Float[Tensor, "R 3"],
) -> SplatHits:
    """List the splats that rays meet; see `kernels.splatting.ray_hits`."""
    columns, counts = [], [torch.zeros(1, dtype=torch.int64, device=means.device)]
    for origin, direction in zip(origins, directions, strict=True):
        offset = (whitening @ (means - origin)[..., None])[..., 0]
        along = whitening @ direction
        scale = (along * along).sum(1).clamp_min(1e-30)
        distance = (offset * along).sum(1) / scale
        square = (offset - distance[:, None] * along).square().sum(1)
        alpha = (opacities * torch.exp(-square / 2)).clamp_max(splatting.MAX_ALPHA)
        met = ((alpha >= splatting.MIN_ALPHA) & (distance > splatting.NEAR)).nonzero()[:, 0]
        met = met[distance[met].argsort(stable=True)]
        columns.append((met, alpha[met], distance[met]))
        counts.append(counts[0] + len(met))
    if not columns:
        return SplatHits(counts[0][:0], means[:0, 0], means[:0, 0], counts[0])
    splat, alpha, depth = (torch.cat(column) for column in zip(*columns, strict=True))
    return SplatHits(splat, alpha, depth, torch.cat(counts).cumsum(0))


def splat_density(
    points: Float[Tensor, "M 3"],
    directions: Float[Tensor, "M 3"],
    means: Float[Tensor, "N 3"],
    whitening: Float[Tensor, "N 3 3"],
    optical_depth: Float[Tensor, " N"],
    sh: Float[Tensor, "N K 3"],
    cells: SplatCells,
) -> tuple[Float[Tensor, " M"], Float[Tensor, "M 3"]]:
    """Return density and color at points, from all splats; see `kernels.splat_cells.splat_density`."""
    parts = []
    for point, direction in zip(points, directions, strict=True):
        square = (whitening @ (point - means)[..., None])[..., 0].square().sum(1)
        per_length = (whitening @ direction).norm(dim=1) / math.sqrt(2 * math.pi)
        share = torch.where(square < REACH**2, optical_depth * per_length * torch.exp(-square / 2), 0)
        colors = spherical_harmonics(direction.expand(len(means), 3), sh)
        density = share.sum()
        parts.append((density, (share @ colors / density.clamp_min(1e-20)).clamp(0, 1)))
    if not parts:
        return points[:, 0], points
    density, rgb = (torch.stack(column) for column in zip(*parts, strict=True))
    return density, rgb


def splat_hits(
    projected: Projected, pixels: Float[Tensor, "P 2"], plan: RasterPlan, certain: Float[Tensor, " P"]
) -> SplatHits:
    """List the splats that pixels meet; see `kernels.splatting.splat_hits`."""
    order, columns, counts = plan.order, [], [torch.zeros(1, dtype=torch.int64, device=pixels.device)]
    for some, limit in zip(pixels.split(PIXELS_AT_ONCE), certain.split(PIXELS_AT_ONCE), strict=True):
        alpha, delta = _alphas(projected, some, order)
        depth = projected.depths[order] + (delta * projected.slopes[order]).sum(-1)
        hiding = torch.where(depth < limit[:, None], alpha, 0)
        behind = torch.cumprod(1 - hiding, 1)
        met = (alpha > 0) & (behind > splatting.MIN_TRANSMITTANCE)
        columns.append((order.expand(met.shape)[met], alpha[met], depth[met]))
        counts.append(met.sum(1))
    splat, alpha, depth = (torch.cat(c) for c in zip(*columns, strict=True)) if columns else (
        order[:0], pixels[:0, 0], pixels[:0, 0]
    )  # fmt: skip
    return SplatHits(splat, alpha, depth, torch.cat(counts).cumsum(0))
