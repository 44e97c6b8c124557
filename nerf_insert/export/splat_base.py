"""What an edit leaves of a base's own splats: those outside its regions, cut at the border, with shadows.

S splats, C of them cut. World coordinates.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from nerf_insert.kernels.reference_splatting import rotation_matrices
from nerf_insert.kernels.splat_cells import REACH
from nerf_insert.regions.region import Region
from nerf_insert.rendering.protocols import ShadeField
from nerf_insert.splats.splats import SH_C0, Splats

POINTS = 256  # of a splat, by which its parts inside and outside of a region are measured
MOST_INSIDE, LEAST_OUTSIDE = 0.02, 0.1  # shares, up to which a splat is kept whole or dropped
INVISIBLE = -50.0  # logit of splats that hold numbers which make no sense
AT_ONCE = 4096  # splats
SMALLEST = 0.02  # variance of a part along any axis, in that of the splat
CHANGE = 1e-3  # of a color, over which the slope of the shade is taken


class Division(NamedTuple):
    """What regions leave of S splats.

    Attributes:
        kept: Which splats stay as they are.
        cut: The numbers of the splats of which a part stays.
        parts: These parts.
    """

    kept: Bool[Tensor, " S"]
    cut: Int64[Tensor, " C"]
    parts: Splats


def divide(splats: Splats, regions: Sequence[Region]) -> Division:
    """Divide splats into those outside of regions, those that straddle a border, and those inside.

    The part of a straddler that lies outside becomes a splat: the Gaussian with that part's mean and
    covariance, with the opacity that keeps its share of the splat's optical depth.
    """
    kept = torch.ones(splats.count, dtype=torch.bool)
    visible = splats.opacity_logits > INVISIBLE
    reach = REACH * splats.scales.amax(1)
    near = torch.zeros_like(kept)
    for region in regions:
        close = ((splats.means + reach[:, None] > region.bounds[0]) & (
            splats.means - reach[:, None] < region.bounds[1]
        )).all(1)  # fmt: skip
        near |= close & visible
    numbers, means, scales, quaternions, logits = [], [], [], [], []
    points = _gaussian_points()
    for index in near.nonzero()[:, 0].split(AT_ONCE):
        some = splats[index]
        axes = rotation_matrices(some.quaternions) * some.scales[:, None]
        at = some.means[:, None] + (axes[:, None] * points[None, :, None]).sum(-1)
        inside = torch.zeros(at.shape[:2], dtype=torch.bool)
        for region in regions:
            inside |= region.contains(at.reshape(-1, 3)).view(inside.shape)
        share = inside.float().mean(1)
        kept[index] = share <= MOST_INSIDE
        split = (share > MOST_INSIDE) & (share < 1 - LEAST_OUTSIDE)
        numbers.append(index[split])
        mean, covariance = _moments(points, ~inside[split])
        variance, turn = torch.linalg.eigh(covariance)
        variance = variance.clamp_min(SMALLEST)
        mixed = axes[split] @ turn * variance.sqrt()[:, None]  # a square root of the part's covariance
        u, s, _ = torch.linalg.svd(mixed)
        opacity = some.opacities[split] * (1 - share[split]) / variance.prod(1).sqrt()
        means.append(some.means[split] + (axes[split] * mean[:, None]).sum(-1))
        scales.append(s.clamp_min(1e-12).log())
        quaternions.append(quaternions_of(u))
        logits.append(opacity.clamp(1e-4, 0.999).logit())
    cut = torch.cat(numbers) if numbers else torch.zeros(0, dtype=torch.int64)
    if not len(cut):
        return Division(kept, cut, splats[cut])
    geometry = torch.cat(means), torch.cat(scales), torch.cat(quaternions), torch.cat(logits)
    parts = Splats(*geometry, splats.sh[cut])
    return Division(kept, cut, parts)


def quaternions_of(rotations: Float[Tensor, "N 3 3"]) -> Float[Tensor, "N 4"]:
    """Return the quaternions w, x, y, z of rotations; of reflections, after turning their last axis round."""
    from scipy.spatial.transform import Rotation

    flip = torch.where(torch.linalg.det(rotations) < 0, -1.0, 1.0)
    proper = torch.cat([rotations[:, :, :2], rotations[:, :, 2:] * flip[:, None, None]], 2)
    return torch.from_numpy(Rotation.from_matrix(proper.double().numpy()).as_quat()).float()[:, [3, 0, 1, 2]]


def _gaussian_points() -> Float[Tensor, "K 3"]:
    """Return points spread like a standard normal distribution, with its mean and covariance."""
    uniform = torch.quasirandom.SobolEngine(3, scramble=True, seed=0).draw(POINTS // 2)
    normal = (2 * uniform.clamp(1e-4, 1 - 1e-4) - 1).erfinv() * 2**0.5
    both = torch.cat([normal, -normal])
    root = torch.linalg.cholesky(both.T @ both / len(both))
    return torch.linalg.solve_triangular(root, both.T, upper=False).T.contiguous()


def _moments(
    points: Float[Tensor, "K 3"], chosen: Bool[Tensor, "C K"]
) -> tuple[Float[Tensor, "C 3"], Float[Tensor, "C 3 3"]]:
    """Return mean and covariance of the chosen points."""
    weight = chosen.float() / chosen.sum(1, keepdim=True).clamp_min(1)
    mean = weight @ points
    square = torch.einsum("ck,ki,kj->cij", weight, points, points)
    return mean, square - mean[:, :, None] * mean[:, None]


def shaded_colors(
    splats: Splats, shades: Sequence[ShadeField]
) -> tuple[Bool[Tensor, " S"], Float[Tensor, "S K 3"]]:
    """Bake shade layers into colors: which splats they change, and all coefficients.

    The color without the directional part changes as the shade says; the directional part by the shade's
    slope there.
    """
    color = (0.5 + SH_C0 * splats.sh[:, 0]).clamp(CHANGE, 1 - CHANGE)
    low, middle, high = color - CHANGE, color, color + CHANGE
    for shade in shades:
        low, middle, high = (shade.shade(splats.means, values) for values in (low, middle, high))
    changed = (middle != color).any(1) & (splats.opacity_logits > INVISIBLE)
    slope = ((high - low) / (2 * CHANGE))[:, None]
    # what lies beyond 0..1 stays as far beyond
    constant = splats.sh[:, :1] + ((middle - color) / SH_C0)[:, None]
    sh = torch.cat([constant, splats.sh[:, 1:] * slope], 1)
    return changed, torch.where(changed[:, None, None], sh, splats.sh)
