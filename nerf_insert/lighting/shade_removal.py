"""Taking back what a removed thing did to the light around it.

Geometry and light say where the thing's shadow may lie; the photographs say where it does, and how dark it
is. Where they do not show it, nothing is changed.

World coordinates and units, linear light. N is a number of samples of the surface.
"""

from __future__ import annotations

from collections.abc import Callable

from jaxtyping import Float
from torch import Tensor

from nerf_insert.fields.shade_layer import ShadeLayer
from nerf_insert.lighting.flat_depth import Moved
from nerf_insert.lighting.light import Light, Occluder
from nerf_insert.lighting.light_fit import Samples, darkening
from nerf_insert.lighting.light_parts import light_parts
from nerf_insert.lighting.sample_pairs import evenness
from nerf_insert.lighting.shade_bake import (
    FINE,
    fill_shell,
    median_of_neighbors,
    samples_around,
    shell_thickness,
    with_moved,
)
from nerf_insert.lighting.shadow_fit import FittedShadow, fit_shadow, share_at
from nerf_insert.lighting.surface import SceneSurface

MIN_DARKENING = 0.08  # log ratio from which on a place counts as shaded
MIN_SHADED = 15  # samples that have to be
MAX_BRIGHTENING = 1.6  # log ratio, the most that is taken back: a low sun and its sky make 1.4
INDEPENDENT = 15.0  # places of different texture that the shaded samples are worth
MIN_SHARE = 0.15  # of the predicted darkening that photographs have to show
MIN_EXPLAINED = 0.12  # of the differences between neighbors, where the shadow makes any
MIN_CHANGE = 0.01  # of the ratio, that is kept
RUBBLE, EVEN = 0.5, 0.85  # mean cosines to the normals around, at which nothing and all is taken back
MIN_SIGNIFICANCE = 2.0  # standard errors by which the shade has to be darker than the rest

Radiance = Callable[[Float[Tensor, "N 3"], Float[Tensor, "N 3"]], Float[Tensor, "N 3"]]


def take_back_shade(
    surface: SceneSurface,
    light: Light,
    thing: Occluder,
    bounds: Float[Tensor, "2 3"],
    radiance: Radiance,
    error: float = 0.0,
    strength: float = 1.0,
    moved: Moved | None = None,
) -> ShadeLayer | None:
    """Compute the ratio that takes a thing's shadow from the surface around it.

    Args:
        surface: The scene without the thing.
        light: The scene's light, roughly.
        thing: What was removed.
        bounds: Lowest and highest corner of the box around it.
        radiance: Returns what photographs with the thing show at points with these normals; NaN: unknown.
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
    samples = Samples.of(points, normals, radiance(points, normals))
    fit = fit_shadow(surface, light, thing, bounds, samples)
    if fit is None or not is_seen(fit):
        return None
    parts = light_parts(surface, fit.light, thing, bounds, points, normals, "cast")
    share = share_at(fit.places, fit.shares, points)[:, None]
    dark = fit.profile.apply(share * darkening(parts, fit.light.keys, fit.soft))
    # Bumps of the scene's own rough depth lie in a shadow that what is seen there does not.
    even = ((evenness(points, normals) - RUBBLE) / (EVEN - RUBBLE)).clamp(0, 1)
    dark = even[:, None] * median_of_neighbors(points, dark)
    change = dark.clamp(0, MAX_BRIGHTENING).exp() - 1
    if not bool((change > MIN_CHANGE).any()):
        return None
    points, change = with_moved(points, change, moved, FINE * size)
    changed = (change.abs() > MIN_CHANGE).any(-1)
    cell = max(FINE * size, 0.4 * surface.cell)
    grid = fill_shell(points, change, changed, cell, shell_thickness(surface, error))
    return ShadeLayer(grid, strength)


def is_seen(fit: FittedShadow) -> bool:
    """Tell whether photographs show a shadow where one was expected, rather than texture."""
    shaded = fit.darkening > MIN_DARKENING
    if int(shaded.sum()) < MIN_SHADED:
        return False
    found, expected = fit.darkening, fit.expected
    if float(fit.expected_sharp.sum()) > 0.5 * float(expected.sum()):
        found, expected = fit.sharp, fit.expected_sharp
    share = float(found.clamp_min(0).sum() / expected.clamp_min(0).sum().clamp_min(1e-6))
    significance = float(fit.darkening[shaded].median()) / max(1e-3, fit.texture / INDEPENDENT**0.5)
    return share >= MIN_SHARE and significance >= MIN_SIGNIFICANCE and fit.explained >= MIN_EXPLAINED
