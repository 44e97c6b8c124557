"""Taking back what a removed thing did to the light around it.

Geometry and light say where the thing's shadow may lie; the photographs say whether it does, and how dark it
is: there, a surface has to become as bright as its own unshaded part beside it, and no brighter. Where the
photographs do not show the predicted shadow, nothing is changed.

World coordinates and units, linear light. N is a number of samples of the surface.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from nerf_insert.fields.shade_layer import ShadeLayer
from nerf_insert.lighting.flat_depth import Moved
from nerf_insert.lighting.light import Light, Occluder
from nerf_insert.lighting.light_samples import LUMINANCE
from nerf_insert.lighting.shade_bake import (
    FINE,
    fill_shell,
    irradiance_ratios,
    nearest_samples,
    samples_around,
    shell_thickness,
    with_moved,
)
from nerf_insert.lighting.surface import SceneSurface

MIN_DARKENING = 0.08  # log ratio from which on a place counts as shaded; as unshaded up to half of it
MAX_BRIGHTENING = 2.5  # log ratio, the most that is taken back
SMOOTHED = 12  # samples over which the texture of a surface is averaged
COMPARED = 48  # unshaded samples that a shaded one is compared with
COMPARE_REACH = 1.0  # how far they may be, in diagonals of the thing
INDEPENDENT = 15.0  # places of different texture that the shaded samples are worth
MIN_SHARE = 0.25  # of the predicted darkening that photographs have to show
MAX_SHARE = 1.3  # of it that is taken back at most
MIN_CHANGE = 0.01  # of the ratio, that is kept
MIN_SIGNIFICANCE = 2.0  # standard errors by which the shade has to be darker than the rest


class Darkening(NamedTuple):
    """What the photographs show of a predicted shadow.

    Attributes:
        share: Of the predicted log darkening, by channel.
        significance: Standard errors by which it differs from none.
    """

    share: Float[Tensor, "3"]
    significance: float


def take_back_shade(
    surface: SceneSurface,
    light: Light,
    thing: Occluder,
    bounds: Float[Tensor, "2 3"],
    error: float = 0.0,
    strength: float = 1.0,
    moved: Moved | None = None,
) -> ShadeLayer | None:
    """Compute the ratio that takes a thing's shadow from the surface around it.

    Args:
        surface: The scene without the thing, with the radiance that photographs with the thing show.
        light: The scene's light.
        thing: What was removed.
        bounds: Lowest and highest corner of the box around it.
        error: How far the surface may be from what the scene shows, world units.
        strength: Of the shade layer.
        moved: Where the scene shows parts of the surface elsewhere.

    Returns:
        The shade layer, or None if the photographs do not show the shadow that the light predicts.
    """
    size = float((bounds[1] - bounds[0]).norm())
    placed = samples_around(surface, bounds, "cast")
    if placed is None:
        return None
    points, normals = placed
    ratio = irradiance_ratios(surface, light, thing, bounds, points, normals, "cast")
    predicted = -ratio.clamp_min(0.02).log()
    seen = _observed(surface, points, normals)
    lack = _lack_of_light(points, normals, predicted @ LUMINANCE, seen, size)
    found = observe_darkening(predicted, lack)
    if found is None or found.significance < MIN_SIGNIFICANCE:
        return None
    if float(found.share @ LUMINANCE) < MIN_SHARE:
        return None
    back = (found.share * predicted.clamp_min(0)).clamp_max(MAX_BRIGHTENING)
    # No brighter than what lies beside it in the light.
    luminance = (back @ LUMINANCE).clamp_min(1e-6)
    allowed = _smoothed(points, lack.mean(-1, keepdim=True).nan_to_num())[:, 0].clamp_min(0)
    back = back * (allowed / luminance).clamp_max(1)[:, None]
    change = back.exp() - 1
    if not bool((change.abs() > MIN_CHANGE).any()):
        return None
    points, change = with_moved(points, change, moved, FINE * size)
    changed = (change.abs() > MIN_CHANGE).any(-1)
    cell = max(FINE * size, 0.4 * surface.cell)
    grid = fill_shell(points, change, changed, cell, shell_thickness(surface, error))
    return ShadeLayer(grid, strength)


def observe_darkening(predicted: Float[Tensor, "N 3"], lack: Float[Tensor, "N 3"]) -> Darkening | None:
    """Measure which share of a predicted darkening is seen; None where nothing can be compared.

    Args:
        predicted: Log of light without the thing over light with it.
        lack: Log of the radiance of unshaded surface nearby over that of each sample; NaN: not known.
    """
    luminance = predicted @ LUMINANCE
    shaded = (luminance > MIN_DARKENING) & lack.isfinite().all(-1)
    rest = (luminance.abs() < MIN_DARKENING / 2) & lack.isfinite().all(-1)
    if int(shaded.sum()) < 20 or int(rest.sum()) < 20:
        return None
    share = torch.stack(
        [
            _weighted_median(lack[shaded, c] / predicted[shaded, c].clamp_min(0.02), predicted[shaded, c])
            for c in range(3)
        ]
    ).clamp(0, MAX_SHARE)
    texture = float(1.48 * (lack[rest] @ LUMINANCE).abs().median())
    mean = float((lack[shaded] @ LUMINANCE).median())
    return Darkening(share, mean / max(1e-3, texture / INDEPENDENT**0.5))


def _weighted_median(values: Tensor, weights: Tensor) -> Tensor:
    order = values.argsort()
    total = weights.clamp_min(0)[order].cumsum(0)
    return values[order[int((total < total[-1] / 2).sum().clamp_max(len(order) - 1))]]


def _observed(
    surface: SceneSurface, points: Float[Tensor, "N 3"], normals: Float[Tensor, "N 3"]
) -> Float[Tensor, "N 3"]:
    """The log radiance that photographs show at points of the surface; NaN where none does."""
    known = (surface.radiance > 1e-4).all(-1)  # false for NaN
    if int(known.sum()) < 4:
        return torch.full_like(points, float("nan"))
    vertices = surface.mesh.vertices[known]
    index, weight = nearest_samples(vertices, surface.normals[known], points, normals, surface.cell)
    radiance = (weight[..., None] * surface.radiance[known][index]).sum(1)
    far = (vertices[index[:, 0]] - points).norm(dim=-1) > 3 * surface.cell
    return torch.where(far[:, None], float("nan"), radiance.clamp_min(1e-4).log())


def _lack_of_light(
    points: Float[Tensor, "N 3"],
    normals: Float[Tensor, "N 3"],
    darkening: Float[Tensor, " N"],
    seen: Float[Tensor, "N 3"],
    size: float,
) -> Float[Tensor, "N 3"]:
    """By how much each sample is darker than the unshaded samples beside it that face the same side."""
    from scipy.spatial import KDTree

    lit: Bool[Tensor, " N"] = (darkening.abs() < MIN_DARKENING / 2) & seen.isfinite().all(-1)
    lack = torch.full_like(points, float("nan"))
    count = min(COMPARED, int(lit.sum()))
    if count < 8:
        return lack
    # Sides are kept apart by a distance that no neighbor within reach bridges.
    place = torch.cat([points, 2 * COMPARE_REACH * size * normals], -1)
    distance, index = KDTree(place[lit].numpy()).query(place.numpy(), count)
    near = torch.from_numpy(np.asarray(distance, np.float32)) < COMPARE_REACH * size
    index = torch.from_numpy(np.asarray(index, np.int64))
    beside = seen[lit][index]
    beside[~near] = float("nan")
    enough = (near.sum(1) >= 8) & seen.isfinite().all(-1)
    lack[enough] = beside[enough].nanmedian(1).values - seen[enough]
    return lack


def _smoothed(points: Float[Tensor, "N 3"], values: Float[Tensor, "N C"]) -> Float[Tensor, "N C"]:
    """Average over the nearest samples."""
    from scipy.spatial import KDTree

    count = min(SMOOTHED, len(points))
    index = np.asarray(KDTree(points.numpy()).query(points.numpy(), count)[1], np.int64)
    return values[torch.from_numpy(index.reshape(len(points), count))].mean(1)
