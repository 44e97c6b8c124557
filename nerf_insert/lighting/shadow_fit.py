"""Fitting the light to the shadow of a thing, and of what stands around it, as photographs show them.

The light of a scene is found from all of it, roughly; how a certain thing's shadow lies, and how dark it is,
the photographs show better (light_fit.py).

World coordinates and units, linear light. M samples of the surface.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from nerf_insert.lighting.light import Light, Occluder, relative_irradiances
from nerf_insert.lighting.light_fit import KEY_SAMPLES, LightFit, LightModel, Samples
from nerf_insert.lighting.light_parts import (
    CLEARANCE,
    KEY_REACH,
    LightParts,
    hidden_by_thing,
    light_parts,
    near_box,
)
from nerf_insert.lighting.light_samples import LUMINANCE
from nerf_insert.lighting.sample_pairs import FEWEST
from nerf_insert.lighting.shadow_profile import Profile
from nerf_insert.lighting.surface import SceneSurface

LOOKED_AT, SAMPLES = 8000, 3500  # samples that are offered; of which so many are compared
# How far from the predicted shadow one half of the samples lies, and the other; in diagonals of the thing.
BESIDE, AROUND = 0.06, 0.25
PLACES, SHARE_REACH = 250, 0.12  # where the share is told; how far around, in diagonals of the thing
EVIDENCE = 0.05  # of the differences, that key lights have to explain for them to be fitted


class FittedShadow(NamedTuple):
    """A light that predicts the shadow as photographs show it.

    Attributes:
        light: The light.
        soft: How much of the change of all but the key lights the photographs show.
        profile: How dark photographs show the shadow's edge.
        places: Of some of the samples.
        shares: How much of the thing's shadow in that light photographs show around each of these, of its
            logarithm.
        darkening: Log of the light without the thing over that with it, at the samples, in luminance.
        sharp: The same as far as key lights cause it.
        expected, expected_sharp: Both as the first light predicted them.
        explained: Part of the differences between neighbors that the thing's shadow explains.
        texture: The median difference of neighboring samples' log luminance beside the shadow.
    """

    light: Light
    soft: float
    profile: Profile
    places: Float[Tensor, "K 3"]
    shares: Float[Tensor, " K"]
    darkening: Float[Tensor, " M"]
    sharp: Float[Tensor, " M"]
    expected: Float[Tensor, " M"]
    expected_sharp: Float[Tensor, " M"]
    explained: float
    texture: float


def fit_shadow(
    surface: SceneSurface,
    light: Light,
    thing: Occluder,
    bounds: Float[Tensor, "2 3"],
    samples: Samples,
    seed: int = 0,
) -> FittedShadow | None:
    """Find the light whose shadow of a thing is the one that photographs show.

    Args:
        surface: The scene without the thing.
        light: The scene's light, roughly.
        thing: What casts the shadow.
        bounds: Lowest and highest corner of the box around it.
        samples: Of the surface.
        seed: Random seed of the choice of samples.

    Returns:
        The light; None if too little of the surface around is known.
    """
    size = float((bounds[1] - bounds[0]).norm())
    samples = _around_shadow(surface, light, thing, bounds, samples, seed)
    points, normals, _ = samples
    if len(points) < FEWEST:
        return None
    parts = light_parts(surface, light, thing, bounds, points, normals, "cast", everywhere=True)
    start = LightModel(light.keys, parts)
    fit = LightFit(surface, thing, samples, size)
    best = fit.improved(start)
    found, places = best.darkening() @ LUMINANCE, points[:: max(1, len(points) // PLACES)]
    shares = fit.shares(best, places, SHARE_REACH * size)
    share = share_at(places, shares, points)
    profile = fit.profile(best, share)
    return FittedShadow(
        light=replace(light, keys=best.keys),
        soft=best.soft,
        profile=profile,
        places=places,
        shares=shares,
        darkening=profile.of(share * found),
        sharp=share * (replace(best, soft=0.0).darkening() @ LUMINANCE),
        expected=start.darkening() @ LUMINANCE,
        expected_sharp=replace(start, soft=0.0).darkening() @ LUMINANCE,
        explained=fit.explained(best, share),
        texture=fit.texture(found),
    )


def fit_light(surface: SceneSurface, light: Light, samples: Samples, size: float) -> Light:
    """Improve a light by all shadows and shading around a place.

    Args:
        surface: The scene.
        light: The scene's light, roughly.
        samples: Of the surface.
        size: Of the surroundings, world units.

    Returns:
        The light; as it was if shadows and shading explain too little for it to be told better.
    """
    samples = samples.take(samples.known)
    points, normals, _ = samples
    if len(points) < FEWEST or not light.keys:
        return light
    scene, clearance = [surface.as_occluder()], CLEARANCE * surface.cell
    around = Light(light.environment).irradiance(points + clearance * normals, normals, scene)
    lit = relative_irradiances(light.keys, points, normals, scene, clearance=clearance)
    parts = LightParts(around, around, lit, torch.zeros_like(lit))
    fit = LightFit(surface, None, samples, size)
    best = fit.improved(LightModel(light.keys, parts))
    dark = replace(best, keys=tuple(replace(key, irradiance=torch.zeros(3)) for key in best.keys))
    if fit.cost(best) > (1 - EVIDENCE) * fit.cost(dark):
        return light
    return replace(light, keys=best.keys)


def share_at(
    places: Float[Tensor, "K 3"], shares: Float[Tensor, " K"], points: Float[Tensor, "N 3"]
) -> Float[Tensor, " N"]:
    """Interpolate shares that are known at some places."""
    from scipy.spatial import KDTree

    away, index = KDTree(places.numpy()).query(points.numpy(), min(4, len(places)))
    away = torch.from_numpy(np.asarray(away, np.float32).reshape(len(points), -1))
    index = torch.from_numpy(np.asarray(index, np.int64).reshape(len(points), -1))
    weight = 1 / (away + 1e-3 * float(away.mean()) + 1e-9)
    return (weight * shares[index]).sum(1) / weight.sum(1)


def _around_shadow(
    surface: SceneSurface,
    light: Light,
    thing: Occluder,
    bounds: Float[Tensor, "2 3"],
    samples: Samples,
    seed: int,
) -> Samples:
    """Choose samples in and beside the shadow that a light predicts."""
    from scipy.spatial import KDTree

    size = float((bounds[1] - bounds[0]).norm())
    generator = torch.Generator().manual_seed(seed)
    points, normals, _ = samples
    known = samples.known.nonzero()[:, 0]
    some = known[torch.randperm(len(known), generator=generator)[:LOOKED_AT]]
    x, n = points[some], normals[some]
    scene, shaded = surface.as_occluder(), near_box(x, bounds, BESIDE * size)
    for key in light.keys:
        shaded |= hidden_by_thing(key, x, n, thing, scene, CLEARANCE * surface.cell, KEY_SAMPLES) > 0
    known = known[near_box(points[known], bounds, KEY_REACH * size)]
    if not bool(shaded.any()) or not len(known):
        return samples.take(known[:0])
    away = np.asarray(KDTree(x[shaded].numpy()).query(points[known].numpy())[0], np.float32)
    chosen = []
    for low, high in ((-1.0, BESIDE * size), (BESIDE * size, AROUND * size)):
        near = known[torch.from_numpy((away > low) & (away <= high))]
        chosen.append(near[torch.randperm(len(near), generator=generator)[: SAMPLES // 2]])
    return samples.take(torch.cat(chosen).sort().values)
