"""Fitting the light to the shadow of a thing, and of what stands around it, as photographs show them.

The light of a scene is found from all of it, roughly; how a certain thing's shadow lies, and how dark it is,
the photographs show better. Where colors are divided by the right light, neighboring places differ by their
texture alone; the sum of the absolute differences of their logarithms is least then, whatever the texture is,
as long as its edges are not those of shadows. The direction, the width and the strength of each key light are
moved to where that sum is least.

World coordinates and units, linear light. M samples of the surface, P pairs of them, L key lights.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from nerf_insert.lighting.estimation import ring
from nerf_insert.lighting.light import DiskLight, Light, Occluder, relative_irradiances
from nerf_insert.lighting.light_samples import LUMINANCE
from nerf_insert.lighting.sample_pairs import FEWEST, Pairs
from nerf_insert.lighting.shade_bake import (
    CLEARANCE,
    KEY_REACH,
    LightParts,
    hidden_by_thing,
    irradiances,
    light_parts,
    near_box,
)
from nerf_insert.lighting.shadow_profile import Profile, fit_profile
from nerf_insert.lighting.surface import SceneSurface

LOOKED_AT, SAMPLES = 8000, 3500  # samples that are offered; of which so many are compared
# How far from the predicted shadow one half of the samples lies, and the other; in diagonals of the thing.
BESIDE, AROUND = 0.06, 0.25
ALIKE = 0.01  # difference of darkening between samples that the shadow does not tell apart
KEY_SAMPLES = 10  # points on a key light
ANGLES = (0.5, 1.5, 3.0, 5.0, 8.0, 12.0, 18.0, 26.0, 38.0)  # degrees, half of what a key light is seen under
WIDTHS = (1.5, 6.0, 15.0, 32.0)  # degrees, with which all directions are tried
SEARCHED = (8.0, 20.0)  # degrees from the first direction at which a light is tried
TURNS = (8.0, 4.0), (4.0, 2.0), (2.0, 1.0)  # degrees by which lights are turned, in sweeps over all of them
DISTANCES = (0.6, 0.8, 1.25, 1.6)  # factors
MAX_TURN = 32.0  # degrees, in all
TRIED = (0.5, 1.0, 2.0)  # factors on the strength of a light that is moved
FACTORS = (1.0, 0.0, 0.3, 0.5, 0.7, 0.85, 0.93, 1.07, 1.2, 1.4, 1.8, 2.5, 4.0)  # on a strength
SOFT = (1.0, 0.0, 0.2, 0.4, 0.6, 0.8, 1.2, 1.5)
MAX_SHARE = 1.1  # of the thing's shadow
PLACES, SHARE_REACH = 250, 0.12  # where it is told apart; how far around, in diagonals of the thing
PRIOR = 0.005  # of the weight of all pairs, that speaks for the same share everywhere
MAX_TOLD = 6000  # pairs that tell it
WEIGHINGS = 3
EVIDENCE = 0.05  # of the differences, that key lights have to explain for them to be fitted
MIN_GAIN = 1e-3  # of the sum, for which a light is moved
DARKEST = 0.02  # ratio of light
BLACK = 1e-4  # radiance


class Samples(NamedTuple):
    """Places of a surface, and what photographs show there.

    Attributes:
        points: World coordinates.
        normals: Unit normals of the surface.
        seen: The log radiance; NaN: unknown.
    """

    points: Float[Tensor, "N 3"]
    normals: Float[Tensor, "N 3"]
    seen: Float[Tensor, "N 3"]

    @staticmethod
    def of(points: Tensor, normals: Tensor, radiance: Tensor, brightest: float = math.inf) -> Samples:
        """Return samples of a radiance; black pixels, and those above `brightest`, tell nothing."""
        tells = ((radiance > BLACK) & (radiance < brightest)).all(-1, keepdim=True)  # false for NaN
        return Samples(points, normals, torch.where(tells, radiance.log(), math.nan))

    def take(self, index: Tensor) -> Samples:
        """Return some of the samples, by their numbers or a mask."""
        return Samples(*(column[index] for column in self))

    @property
    def known(self) -> Bool[Tensor, " N"]:
        """Where photographs show something."""
        return self.seen.isfinite().all(-1)


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


@dataclass(frozen=True, eq=False)
class _Model:
    """A light, and what it gives at the samples."""

    keys: tuple[DiskLight, ...]
    parts: LightParts
    soft: float = 1.0

    def darkening(self) -> Float[Tensor, "M 3"]:
        return darkening(self.parts, self.keys, self.soft)

    def log_light(self) -> Float[Tensor, "M 3"]:
        return self.parts.light(irradiances(self.keys), self.soft).clamp_min(DARKEST).log()

    def with_key(
        self, k: int, key: DiskLight, lit: Float[Tensor, " M"], hidden: Float[Tensor, " M"]
    ) -> _Model:
        rows = self.parts.lit.clone(), self.parts.hidden.clone()
        rows[0][k], rows[1][k] = lit, hidden
        keys = (*self.keys[:k], key, *self.keys[k + 1 :])
        return replace(self, keys=keys, parts=replace(self.parts, lit=rows[0], hidden=rows[1]))


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
    start = _Model(light.keys, parts)
    fit = _Fit(surface, thing, samples, size)
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
    fit = _Fit(surface, None, samples, size)
    best = fit.improved(_Model(light.keys, parts))
    dark = replace(best, keys=tuple(replace(key, irradiance=torch.zeros(3)) for key in best.keys))
    if fit.cost(best) > (1 - EVIDENCE) * fit.cost(dark):
        return light
    return replace(light, keys=best.keys)


def darkening(parts: LightParts, keys: Sequence[DiskLight], soft: float) -> Float[Tensor, "M 3"]:
    """Return the logarithm of the light without the thing over that with it."""
    return -parts.ratio(irradiances(keys), soft).clamp_min(DARKEST).log()


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


def weighted_median(values: Float[Tensor, "K P"], weights: Float[Tensor, "K P"]) -> Float[Tensor, " K"]:
    """Return the weighted median of each row; 0 of rows without weight."""
    order = values.argsort(1)
    cumulative = weights.gather(1, order).cumsum(1)
    if not values.shape[1]:
        return values.new_zeros(len(values))
    middle = (cumulative >= cumulative[:, -1:] / 2).float().argmax(1, keepdim=True)
    found = values.gather(1, order.gather(1, middle))[:, 0]
    return torch.where(cumulative[:, -1] > 0, found, 0.0)


class _Fit:
    """Moves lights to where pairs of samples differ least."""

    def __init__(self, surface: SceneSurface, thing: Occluder | None, samples: Samples, size: float) -> None:
        self.thing, self.scene = thing, surface.as_occluder()
        self.points, self.normals, self.seen = samples
        self.clearance = CLEARANCE * surface.cell
        self.pairs = Pairs.among(self.points, self.normals, size)

    def cost(self, model: _Model) -> float:
        """Return the mean difference of neighbors once the light is taken from their colors."""
        return self._difference(self.seen - model.log_light())

    def _difference(self, clear: Float[Tensor, "M C"]) -> float:
        off = (clear[self.pairs.one] - clear[self.pairs.other]).abs().mean(-1)
        return float(off @ self.pairs.weight)

    def shares(self, model: _Model, places: Float[Tensor, "K 3"], reach: float) -> Float[Tensor, " K"]:
        """Return how much of the thing's own shadow explains the colors best, in the light of the model.

        Args:
            model: The light.
            places: Around which this is told.
            reach: World units.

        Returns:
            The shares around the places, at most that of all pairs, which counts a little everywhere.
        """
        one, other, weight = self.pairs
        dark = model.darkening() @ LUMINANCE
        without = (self.seen - model.log_light()) @ LUMINANCE - dark
        change, left = dark[one] - dark[other], without[one] - without[other]
        index = (change.abs() > ALIKE).nonzero()[:, 0]
        index = index[torch.linspace(0, len(index) - 1, min(len(index), MAX_TOLD)).long()]
        wanted, weight = -left[index] / change[index], weight[index] * change[index].abs()
        middle = (self.points[one[index]] + self.points[other[index]]) / 2
        overall = weighted_median(wanted[None], weight[None]).clamp(0, MAX_SHARE)
        near = torch.exp(-0.5 * (torch.cdist(places, middle) / reach) ** 2)
        prior = (PRIOR * weight.sum()).expand(len(places), 1)
        wanted = torch.cat([wanted.expand(len(places), -1), overall.expand(len(places), 1)], 1)
        shares = weighted_median(wanted, torch.cat([near * weight, prior], 1))
        return shares.clamp(min=0).minimum(overall)

    def profile(self, model: _Model, share: Float[Tensor, " M"]) -> Profile:
        """Return how dark the shadow's edge is where photographs differ least once it is taken back."""
        full = model.darkening() @ LUMINANCE
        without = (self.seen - model.log_light()) @ LUMINANCE - full
        return fit_profile(share * full, lambda dark: self._difference((without + dark)[:, None]))

    def explained(self, model: _Model, share: Float[Tensor, " M"]) -> float:
        """Return the part of the differences that shares of the thing's shadow explain, where it differs."""
        one, other, weight = self.pairs
        dark = model.darkening() @ LUMINANCE
        without = (self.seen - model.log_light()) @ LUMINANCE - dark
        change, before, after = (
            values[one] - values[other] for values in (dark, without, without + share * dark)
        )
        weight = weight * change.abs()
        return 1 - float(weight @ after.abs()) / max(1e-9, float(weight @ before.abs()))

    def texture(self, darkening: Float[Tensor, " M"]) -> float:
        """Return the usual difference in log luminance of neighbors that the shadow does not tell apart."""
        one, other, weight = self.pairs
        alike = ((darkening[one] - darkening[other]).abs() < ALIKE) & (weight > 0)
        luminance = self.seen @ LUMINANCE
        off = (luminance[one] - luminance[other])[alike].abs()
        return 1.48 * float(off.median()) if len(off) else float("inf")

    def improved(self, model: _Model) -> _Model:
        """Return the model with all of its lights moved to where they explain the colors best."""
        first = model.keys
        for k in range(len(first)):
            model = self._searched(model, k, first[k])
        for turns in TURNS:
            model = self._weighed(model)
            for k in range(len(first)):
                for degrees in turns:
                    model = self._turned(model, k, degrees, first[k].direction)
                model = self._moved(self._widened(model, k), k)
        return self._needed(self._weighed(model))

    def _needed(self, model: _Model) -> _Model:
        """Return the model with lights off that explain nothing: they would light what is rough alone."""
        for k, key in enumerate(model.keys):
            parts = model.parts
            off = replace(key, irradiance=torch.zeros(3))
            without = model.with_key(k, off, parts.lit[k], parts.hidden[k])
            if self.cost(without) < self.cost(model) * (1 + MIN_GAIN):
                model = without
        return model

    def _searched(self, model: _Model, k: int, first: DiskLight) -> _Model:
        """Try a light with all directions around it, sharp and wide."""
        around = [first.direction, *(d for degrees in SEARCHED for d in ring(first.direction, degrees))]
        keys = [replace(model.keys[k], direction=d, angle=math.radians(a)) for d in around for a in WIDTHS]
        return self._best(model, k, keys)

    def _best(self, model: _Model, k: int, keys: Sequence[DiskLight]) -> _Model:
        """Return the model with that one of some keys in place of its own that explains the colors best."""
        best, least = model, self.cost(model) * (1 - MIN_GAIN)
        at, scene = (self.points, self.normals), self.scene
        every = relative_irradiances(keys, *at, [scene], KEY_SAMPLES, self.clearance)
        for key, lit in zip(keys, every, strict=True):
            hidden = torch.zeros_like(lit)
            if self.thing is not None:
                hidden = hidden_by_thing(key, *at, self.thing, scene, self.clearance, KEY_SAMPLES)
            for factor in TRIED:  # a shadow in the wrong place is best if it is faint
                tried = model.with_key(k, replace(key, irradiance=factor * key.irradiance), lit, hidden)
                cost = self.cost(tried)
                if cost < least:
                    best, least = tried, cost
        return best

    def _turned(self, model: _Model, k: int, degrees: float, first: Float[Tensor, "3"]) -> _Model:
        for _ in range(4):
            key = model.keys[k]
            around = [d for d in ring(key.direction, degrees) if _angle(d, first) <= MAX_TURN]
            turned = self._best(model, k, [replace(key, direction=d) for d in around])
            if turned is model:
                break
            model = turned
        return model

    def _moved(self, model: _Model, k: int) -> _Model:
        """Move a light nearer or farther."""
        key = model.keys[k]
        return self._best(model, k, [replace(key, distance=factor * key.distance) for factor in DISTANCES])

    def _widened(self, model: _Model, k: int) -> _Model:
        key = model.keys[k]
        return self._best(model, k, [replace(key, angle=math.radians(degrees)) for degrees in ANGLES])

    def _weighed(self, model: _Model) -> _Model:
        """Return the model with the strengths that explain the colors best: all together, then each."""
        one_by_one = [(k, channel) for k in range(len(model.keys)) for channel in range(3)]
        for _ in range(WEIGHINGS):
            model = self._scaled(model, one_by_one)
            for each in one_by_one:
                model = self._scaled(model, [each])
            model = min((replace(model, soft=soft) for soft in SOFT), key=self.cost)
        return model

    def _scaled(self, model: _Model, which: Sequence[tuple[int, int]]) -> _Model:
        """Return the model with some strengths (light, channel) times the factor that is best for them."""
        tried = []
        for factor in FACTORS:
            strengths = irradiances(model.keys)
            for k, channel in which:
                strengths[k, channel] *= factor
            keys = [replace(key, irradiance=row) for key, row in zip(model.keys, strengths, strict=True)]
            tried.append(replace(model, keys=tuple(keys)))
        return min(tried, key=self.cost)


def _angle(one: Float[Tensor, "3"], other: Float[Tensor, "3"]) -> float:
    """The angle between two unit vectors, degrees."""
    return math.degrees(math.acos(max(-1.0, min(1.0, float(one @ other)))))


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
