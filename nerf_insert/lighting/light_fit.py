"""Moving lights to where they explain the colors of a surface best, as photographs show them.

Where colors are divided by the right light, neighboring places differ by their texture alone; the sum of the
absolute differences of their logarithms is least then, whatever the texture is, as long as its edges are not
those of shadows. The direction, the width and the strength of each key light are moved to where that sum is
least.

World coordinates and units, linear light. M samples of the surface, P pairs of them, L key lights.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from nerf_insert.lighting.estimation import ring
from nerf_insert.lighting.light import DiskLight, Occluder, relative_irradiances
from nerf_insert.lighting.light_parts import CLEARANCE, LightParts, hidden_by_thing, irradiances
from nerf_insert.lighting.light_samples import LUMINANCE
from nerf_insert.lighting.sample_pairs import Pairs
from nerf_insert.lighting.shadow_profile import Profile, fit_profile
from nerf_insert.lighting.surface import SceneSurface

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
PRIOR = 0.005  # of the weight of all pairs, that speaks for the same share everywhere
MAX_TOLD = 6000  # pairs that tell it
WEIGHINGS = 3
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


@dataclass(frozen=True, eq=False)
class LightModel:
    """A light, and what it gives at the samples."""

    keys: tuple[DiskLight, ...]
    parts: LightParts
    soft: float = 1.0

    def darkening(self) -> Float[Tensor, "M 3"]:
        """Return the logarithm of the light without the thing over that with it."""
        return darkening(self.parts, self.keys, self.soft)

    def log_light(self) -> Float[Tensor, "M 3"]:
        """Return the logarithm of the light with the thing."""
        return self.parts.light(irradiances(self.keys), self.soft).clamp_min(DARKEST).log()

    def with_key(
        self, k: int, key: DiskLight, lit: Float[Tensor, " M"], hidden: Float[Tensor, " M"]
    ) -> LightModel:
        """Return the model with another light in the place of the k-th, and what it gives at the samples."""
        rows = self.parts.lit.clone(), self.parts.hidden.clone()
        rows[0][k], rows[1][k] = lit, hidden
        keys = (*self.keys[:k], key, *self.keys[k + 1 :])
        return replace(self, keys=keys, parts=replace(self.parts, lit=rows[0], hidden=rows[1]))


class LightFit:
    """Moves lights to where pairs of samples differ least."""

    def __init__(self, surface: SceneSurface, thing: Occluder | None, samples: Samples, size: float) -> None:
        self.thing, self.scene = thing, surface.as_occluder()
        self.points, self.normals, self.seen = samples
        self.clearance = CLEARANCE * surface.cell
        self.pairs = Pairs.among(self.points, self.normals, size)

    def cost(self, model: LightModel) -> float:
        """Return the mean difference of neighbors once the light is taken from their colors."""
        return self._difference(self.seen - model.log_light())

    def _difference(self, clear: Float[Tensor, "M C"]) -> float:
        off = (clear[self.pairs.one] - clear[self.pairs.other]).abs().mean(-1)
        return float(off @ self.pairs.weight)

    def shares(self, model: LightModel, places: Float[Tensor, "K 3"], reach: float) -> Float[Tensor, " K"]:
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

    def profile(self, model: LightModel, share: Float[Tensor, " M"]) -> Profile:
        """Return how dark the shadow's edge is where photographs differ least once it is taken back."""
        full = model.darkening() @ LUMINANCE
        without = (self.seen - model.log_light()) @ LUMINANCE - full
        return fit_profile(share * full, lambda dark: self._difference((without + dark)[:, None]))

    def explained(self, model: LightModel, share: Float[Tensor, " M"]) -> float:
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

    def improved(self, model: LightModel) -> LightModel:
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

    def _needed(self, model: LightModel) -> LightModel:
        """Return the model with lights off that explain nothing: they would light what is rough alone."""
        for k, key in enumerate(model.keys):
            parts = model.parts
            off = replace(key, irradiance=torch.zeros(3))
            without = model.with_key(k, off, parts.lit[k], parts.hidden[k])
            if self.cost(without) < self.cost(model) * (1 + MIN_GAIN):
                model = without
        return model

    def _searched(self, model: LightModel, k: int, first: DiskLight) -> LightModel:
        """Try a light with all directions around it, sharp and wide."""
        around = [first.direction, *(d for degrees in SEARCHED for d in ring(first.direction, degrees))]
        keys = [replace(model.keys[k], direction=d, angle=math.radians(a)) for d in around for a in WIDTHS]
        return self._best(model, k, keys)

    def _best(self, model: LightModel, k: int, keys: Sequence[DiskLight]) -> LightModel:
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

    def _turned(self, model: LightModel, k: int, degrees: float, first: Float[Tensor, "3"]) -> LightModel:
        for _ in range(4):
            key = model.keys[k]
            around = [d for d in ring(key.direction, degrees) if _angle(d, first) <= MAX_TURN]
            turned = self._best(model, k, [replace(key, direction=d) for d in around])
            if turned is model:
                break
            model = turned
        return model

    def _moved(self, model: LightModel, k: int) -> LightModel:
        """Move a light nearer or farther."""
        key = model.keys[k]
        return self._best(model, k, [replace(key, distance=factor * key.distance) for factor in DISTANCES])

    def _widened(self, model: LightModel, k: int) -> LightModel:
        key = model.keys[k]
        return self._best(model, k, [replace(key, angle=math.radians(degrees)) for degrees in ANGLES])

    def _weighed(self, model: LightModel) -> LightModel:
        """Return the model with the strengths that explain the colors best: all together, then each."""
        one_by_one = [(k, channel) for k in range(len(model.keys)) for channel in range(3)]
        for _ in range(WEIGHINGS):
            model = self._scaled(model, one_by_one)
            for each in one_by_one:
                model = self._scaled(model, [each])
            model = min((replace(model, soft=soft) for soft in SOFT), key=self.cost)
        return model

    def _scaled(self, model: LightModel, which: Sequence[tuple[int, int]]) -> LightModel:
        """Return the model with some strengths (light, channel) times the factor that is best for them."""
        tried = []
        for factor in FACTORS:
            strengths = irradiances(model.keys)
            for k, channel in which:
                strengths[k, channel] *= factor
            keys = [replace(key, irradiance=row) for key, row in zip(model.keys, strengths, strict=True)]
            tried.append(replace(model, keys=tuple(keys)))
        return min(tried, key=self.cost)


def darkening(parts: LightParts, keys: Sequence[DiskLight], soft: float) -> Float[Tensor, "M 3"]:
    """Return the logarithm of the light without the thing over that with it."""
    return -parts.ratio(irradiances(keys), soft).clamp_min(DARKEST).log()


def weighted_median(values: Float[Tensor, "K P"], weights: Float[Tensor, "K P"]) -> Float[Tensor, " K"]:
    """Return the weighted median of each row; 0 of rows without weight."""
    order = values.argsort(1)
    cumulative = weights.gather(1, order).cumsum(1)
    if not values.shape[1]:
        return values.new_zeros(len(values))
    middle = (cumulative >= cumulative[:, -1:] / 2).float().argmax(1, keepdim=True)
    found = values.gather(1, order.gather(1, middle))[:, 0]
    return torch.where(cumulative[:, -1] > 0, found, 0.0)


def _angle(one: Float[Tensor, "3"], other: Float[Tensor, "3"]) -> float:
    """The angle between two unit vectors, degrees."""
    return math.degrees(math.acos(max(-1.0, min(1.0, float(one @ other)))))
