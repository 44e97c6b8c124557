"""Estimating a scene's light from the colors of its surfaces.

Shadows, the fall-off of a lamp, and differently oriented faces of one object reveal the key lights; the light
from near surfaces is known from their own colors. Every place that a key light may have, far and near, is
tried with the shadows that it would cast, the best are refined, and a second light is looked for in what the
first does not explain. Where nothing is explained well, light stays soft and from above; where a direction is
not sure, its light is as wide as the doubt.

Light is linear (see light.py). P samples (light_samples.py), L key lights, C candidates, K directions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from nerf_insert.geometry.frames import orthonormal_frame
from nerf_insert.lighting.light import DiskLight, Light, Occluders, fibonacci_sphere, relative_irradiances
from nerf_insert.lighting.light_color import color_lights
from nerf_insert.lighting.light_samples import (
    ALBEDO,
    ALBEDO_SPREAD,
    LUMINANCE,
    MIN_IRRADIANCE,
    LightSamples,
    membership,
    neg_log_likelihood,
    usual_level,
)

MIN_SAMPLES = 100  # without which no key light is looked for
MAX_KEYS = 3
MIN_SHARE = 0.1  # of all light that a key light has to give
MIN_KEY_GAIN = 10.0  # log likelihood by which each further key light has to explain the samples better
FURTHER_GAIN = 0.2  # of what the others explain, that a further key light has to: errors leave as much
MAX_LEVEL_CHANGE = 0.25  # of the log level that seen sky can make: cameras darken what is dark
# A light whose shadows explain the samples by this log likelihood better than the same light without shadows
# is made wider by this angle, degrees; one whose shadows explain less by more, for they may not be there.
SURE_GAIN, UNSURE_ANGLE = 15.0, 8.0
WIDEST = 50.0  # degrees
SEARCHED = 700  # samples in the search of all places
SEARCH_DIRECTIONS = 256
DIRECTIONS_AT_ONCE = 16
SEARCH_DISTANCES = (0.7, 1.1, 1.8, 3.0, 100.0)  # of the scene's size
REFINED = 4  # places that are refined
SEARCH_SAMPLES = 8  # rays to a key light for each sample
MIN_LIT_FRACTION = 0.05  # of the samples, for a place to be tried
MIN_APART = math.radians(20)  # between key lights
LOWEST = -0.1  # sine of the elevation of the lowest key lights; below, light is thrown back by floors
MIN_CANDIDATE_ANGLE = 20  # degrees between refined places
ANGLES = (1.0, 3.0, 6.0, 10.0, 16.0, 25.0, 38.0, 55.0)  # degrees, half of what a key light is seen under
SHARPNESS_PRIOR = 0.7  # log likelihood by which the next wider light has to be better
RINGS = (3.0, 6.0, 12.0, 24.0)  # degrees around a direction at which its doubt is measured
RING = 6  # directions on each of them
SHARES = (0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9)  # of the light that a tried key light gives


@dataclass(frozen=True, eq=False)
class Hypothesis:
    """Key lights and how well they explain the samples; strengths are luminances."""

    keys: tuple[DiskLight, ...]
    cost: float = float("inf")
    sky: float = 1.0  # radiance of the far directions that no photograph shows
    strengths: tuple[float, ...] = ()  # irradiance of each key light


@dataclass(frozen=True)
class Confidence:
    """How sure an estimate is, before it is fitted to whole photographs (light_fit.py).

    Attributes:
        gain: Log likelihood by which the key lights explain the surfaces better than soft light from above.
        doubt: Of each key light's direction, degrees: half of the light is likely to be within.
    """

    gain: float
    doubt: tuple[float, ...] = ()


def estimate_light(
    samples: LightSamples,
    occluders: Occluders,
    center: Float[Tensor, "3"],
    size: float,
    up: Float[Tensor, "3"],
    far: Float[Tensor, "K 3"],
) -> tuple[Light, Confidence]:
    """Find the light that explains the samples best; soft and from above where they tell nothing.

    Args:
        samples: See `gather_samples`.
        occluders: What hides the key lights, the scene's surface among them.
        center: What the key lights shine on, world coordinates.
        size: Scale of the surroundings, world units.
        up: Unit vector, world axes.
        far: Radiance from each direction of `fibonacci_sphere(K)`; NaN where no photograph shows it.
    """
    above = DiskLight(center, up, 100 * size, math.radians(55), torch.ones(3))
    if len(samples.points) < MIN_SAMPLES:
        level = float((samples.color @ LUMINANCE).mean()) / ALBEDO if len(samples.points) else 1.0
        environment = torch.where(far.isfinite(), far, level / 3)
        return Light(environment, (replace(above, irradiance=torch.full((3,), level)),)), Confidence(0.0)
    search = _Search(samples, occluders, center, size, up)
    soft = best = search.evaluate((above,))
    keys: tuple[DiskLight, ...] = ()
    while len(keys) < MAX_KEYS:
        found = search.another(keys)
        enough = max(MIN_KEY_GAIN, FURTHER_GAIN * (soft.cost - best.cost))
        if found is None or found.cost > best.cost - enough or search.share(found) < MIN_SHARE:
            break
        if any(float(found.keys[-1].direction @ key.direction) > math.cos(MIN_APART) for key in keys):
            break  # the same light once more
        keys = found.keys
        search = search.regrouped(found)
        best = search.evaluate(keys)
        soft = search.evaluate((above,))
    doubts = []
    if keys:
        widened = []
        for k in range(len(best.keys)):
            doubt = search.doubt(best, k)
            doubts.append(math.degrees(doubt))
            key = best.keys[k]
            evidence = search.shadow_evidence(best, k)
            unsure = math.radians(min(WIDEST, UNSURE_ANGLE * SURE_GAIN / max(1e-3, evidence)))
            angle = math.hypot(key.angle, doubt, unsure)
            widened.append(replace(key, angle=min(math.radians(WIDEST), angle)))
        best = search.evaluate(tuple(widened))
    light = color_lights(best.keys, best.strengths, best.sky, search.samples, occluders, far)
    return light, Confidence(max(0.0, soft.cost - best.cost), tuple(doubts))


class _Search:
    """Looks for key lights that explain samples."""

    def __init__(
        self,
        samples: LightSamples,
        occluders: Occluders,
        center: Float[Tensor, "3"],
        size: float,
        up: Float[Tensor, "3"],
    ) -> None:
        self.samples, self.occluders, self.center, self.size, self.up = samples, occluders, center, size, up
        self._known: dict[DiskLight, Tensor] = {}  # relative irradiances

    def regrouped(self, found: Hypothesis) -> _Search:
        """Return a search with samples grouped by their albedo under the light that was found."""
        samples = self.samples
        lit = self._lit(found.keys)
        light = samples.known @ LUMINANCE + found.sky * samples.unseen + torch.tensor(found.strengths) @ lit
        share = (torch.tensor(found.strengths) @ lit / light.clamp_min(MIN_IRRADIANCE)).clamp(0, 1)
        # What the shade differs in hue from the light is not known yet: it is what the colors say of it.
        hue = (samples.color / (samples.color @ LUMINANCE)[:, None]).log()
        x = torch.stack([torch.ones_like(share), share], -1) * samples.weight.sqrt()[:, None]
        slope = torch.linalg.lstsq(x, hue * samples.weight.sqrt()[:, None]).solution[1]
        hue = hue - share[:, None] * slope
        return _Search(
            replace(samples, member=membership(samples.points / self.size, hue.exp())),
            self.occluders,
            self.center,
            self.size,
            self.up,
        )

    def share(self, found: Hypothesis) -> float:
        """Return the part of all light that the last key light gives."""
        lit = self._lit(found.keys)
        parts = torch.tensor(found.strengths) * (lit @ self.samples.weight)
        around = (self.samples.known @ LUMINANCE + found.sky * self.samples.unseen) @ self.samples.weight
        return float(parts[-1] / (parts.sum() + around))

    def another(self, keys: tuple[DiskLight, ...]) -> Hypothesis | None:
        """Return the keys and the best further one, refined; None if there is none.

        Lights that graze a few places only explain them as well as the sun does, and are none.
        """
        few = self._thinned(SEARCHED)
        turned = [few._turned(few.evaluate((*keys, key)), 4.0) for key in few._candidates(keys)]
        if not turned:
            return None
        found = self.evaluate_all([one.keys for one in turned])
        bright = [one for one in found if self.share(one) >= MIN_SHARE]
        return self.refine(min(bright or found, key=_cost).keys)

    def _thinned(self, count: int) -> _Search:
        """Return a search with about so many of the samples."""
        step = max(1, len(self.samples.points) // count)
        few = self.samples.take(torch.arange(0, len(self.samples.points), step))
        return _Search(few, self.occluders, self.center, self.size, self.up)

    def evaluate(self, keys: tuple[DiskLight, ...]) -> Hypothesis:
        """Return the keys with the strengths that explain the samples best."""
        return self.evaluate_all([keys])[0]

    def evaluate_all(self, tried: Sequence[tuple[DiskLight, ...]]) -> list[Hypothesis]:
        """Evaluate several hypotheses of as many keys each; at once that is much quicker."""
        lit = self._lit([key for keys in tried for key in keys]).view(len(tried), len(tried[0]), -1)
        fit = fit_strengths(self.samples, LUMINANCE, lit)
        rows = zip(tried, fit.cost.tolist(), fit.sky.tolist(), fit.strengths.tolist(), strict=True)
        return [Hypothesis(keys, cost, sky, tuple(each)) for keys, cost, sky, each in rows]

    def _lit(self, keys: Sequence[DiskLight]) -> Float[Tensor, "L P"]:
        samples = self.samples
        new = [key for key in dict.fromkeys(keys) if key not in self._known]
        rows = relative_irradiances(new, samples.points, samples.normals, self.occluders, SEARCH_SAMPLES)
        self._known.update(zip(new, rows, strict=True))
        return torch.stack([self._known[key] for key in keys])

    def _candidates(self, keys: tuple[DiskLight, ...]) -> list[DiskLight]:
        """Return the places that explain the samples best as sources of sharp light, well apart."""
        few = self.samples
        start = self.evaluate(keys) if keys else None
        given = few.known @ LUMINANCE
        base = few.unseen if start is None else start.sky * few.unseen
        if start is not None:
            base = base + torch.tensor(start.strengths) @ self._lit(keys)
        places, costs = [], []
        shares = torch.tensor(SHARES)[:, None]
        directions = fibonacci_sphere(SEARCH_DIRECTIONS)
        faced = (few.normals @ directions.T > 0).float().mean(0) >= MIN_LIT_FRACTION
        for some in directions[faced & (directions @ self.up >= LOWEST)].split(DIRECTIONS_AT_ONCE):
            tried = [
                DiskLight(self.center, direction, distance * self.size, 0.01, torch.ones(3))
                for direction in some
                for distance in SEARCH_DISTANCES
            ]
            lit = relative_irradiances(tried, few.points, few.normals, self.occluders, 1)
            reached = ((lit > 0).float().mean(-1) >= MIN_LIT_FRACTION).nonzero()[:, 0]
            lit = lit[reached]
            scale = float(base @ few.weight) / (lit @ few.weight).clamp_min(1e-6)
            added = (1 - shares) * base + shares * (scale[:, None] * lit)[:, None]
            places += [tried[k] for k in reached.tolist()]
            cost = _costs(few, LUMINANCE, given, added.flatten(0, 1))
            costs += cost.view(len(lit), len(SHARES)).amin(-1).tolist()
        chosen: list[DiskLight] = []
        near = math.cos(math.radians(MIN_CANDIDATE_ANGLE))
        for k in torch.tensor(costs).argsort().tolist():
            others = [*chosen, *keys]
            apart = all(float(places[k].direction @ other.direction) < near for other in others)
            if apart and len(chosen) < REFINED:
                chosen.append(replace(places[k], angle=math.radians(6)))
        return chosen

    def refine(self, keys: tuple[DiskLight, ...]) -> Hypothesis:
        """Improve the last key light: its direction, distance and angle in turn."""
        half = self._thinned(len(self.samples.points) // 2)
        best = half.evaluate(keys)
        for degrees in (4.0, 2.0):
            best = half._moved(half._turned(best, degrees))
        best = self._widened(best)
        return self._turned(best, 1.5)

    def _with_last(self, best: Hypothesis, key: DiskLight) -> Hypothesis:
        return self.evaluate((*best.keys[:-1], key))

    def _turned(self, best: Hypothesis, degrees: float) -> Hypothesis:
        """Move the last key light's direction in steps as long as that helps."""
        for _ in range(6):
            around = ring(best.keys[-1].direction, degrees)
            tried = [(*best.keys[:-1], replace(best.keys[-1], direction=d)) for d in around]
            better = min(self.evaluate_all(tried), key=_cost)
            if better.cost >= best.cost:
                break
            best = better
        return best

    def _moved(self, best: Hypothesis) -> Hypothesis:
        """Move the last key light nearer or farther as long as that helps."""
        distance = best.keys[-1].distance
        for factor in (1.3, 1 / 1.3):
            while 0.3 * self.size < distance * factor < 130 * self.size:
                moved = self._with_last(best, replace(best.keys[-1], distance=distance * factor))
                if moved.cost >= best.cost:
                    break
                best, distance = moved, distance * factor
        return best

    def _widened(self, best: Hypothesis) -> Hypothesis:
        """Choose the last key light's angle; a sharper light unless a wider one explains more."""
        chosen: Hypothesis | None = None
        keys = [replace(best.keys[-1], angle=math.radians(degrees)) for degrees in ANGLES]
        for tried in self.evaluate_all([(*best.keys[:-1], key) for key in keys]):
            if chosen is None or tried.cost < chosen.cost - SHARPNESS_PRIOR:
                chosen = tried
        assert chosen is not None
        return chosen

    def shadow_evidence(self, best: Hypothesis, index: int) -> float:
        """Return the log likelihood by which a key light's shadows explain the samples better than none."""
        lit = self._lit(best.keys).clone()
        samples = self.samples
        lit[index] = best.keys[index].relative_irradiance(samples.points, samples.normals, (), SEARCH_SAMPLES)
        return float(fit_strengths(samples, LUMINANCE, lit[None]).cost[0]) - best.cost

    def doubt(self, best: Hypothesis, index: int) -> float:
        """Return how far a key light may be from its direction, radians: the spread of the likelihood."""
        key = best.keys[index]
        areas, angles, tried = [], [], []
        inner = 0.0
        for degrees in RINGS:
            for direction in ring(key.direction, degrees):
                moved = replace(key, direction=direction)
                tried.append((*best.keys[:index], moved, *best.keys[index + 1 :]))
                areas.append((degrees**2 - inner**2) / RINGS[0] ** 2 / RING)
                angles.append(math.radians(degrees))
            inner = degrees
        total, spread = 1.0, 0.0
        for found, area, angle in zip(self.evaluate_all(tried), areas, angles, strict=True):
            weight = area * math.exp(min(0.0, best.cost - found.cost))
            total, spread = total + weight, spread + weight * angle**2
        return math.sqrt(spread / total)


def _cost(hypothesis: Hypothesis) -> float:
    return hypothesis.cost


def ring(direction: Float[Tensor, "3"], degrees: float) -> list[Float[Tensor, "3"]]:
    """Return directions around another, at one angle from it."""
    axes = orthonormal_frame(direction)
    around = torch.arange(RING) * (2 * math.pi / RING)
    out = direction + math.tan(math.radians(degrees)) * (
        around.cos()[:, None] * axes[0] + around.sin()[:, None] * axes[1]
    )
    return [*torch.nn.functional.normalize(out, dim=-1)]


def _costs(
    samples: LightSamples,
    channel: Float[Tensor, "3"],
    known: Float[Tensor, " P"],
    added: Float[Tensor, "C P"],
) -> Float[Tensor, " C"]:
    """Return how badly candidates explain one channel, at the level at which albedos are usual."""
    level = usual_level(samples, known, added)
    light = (known + level[:, None] * added).clamp_min(MIN_IRRADIANCE)
    return neg_log_likelihood(samples, light, samples.color @ channel)


class Strengths(NamedTuple):
    """How strong B hypotheses' lights are, and how badly they explain the samples then."""

    cost: Float[Tensor, " B"]
    sky: Float[Tensor, " B"]  # radiance of far directions that no photograph shows
    strengths: Float[Tensor, "B L"]  # irradiance of each key light


def fit_strengths(
    samples: LightSamples, channel: Float[Tensor, "3"], lit: Float[Tensor, "B L P"]
) -> Strengths:
    """Find the best proportion of sky and key lights in one channel, at the usual level of albedos.

    Args:
        samples: See `gather_samples`.
        channel: Weights of red, green and blue.
        lit: For each of B hypotheses, each key light's relative irradiance of each sample.
    """
    known, count = samples.known @ channel, len(lit)
    parts = torch.cat([samples.unseen.expand(count, 1, -1), lit], 1)
    log_share = torch.zeros(parts.shape[:2])
    best, level = torch.full((count,), float("inf")), torch.ones(count)
    step, all_of_them = 1.5, torch.arange(count)
    for _ in range(6):
        for k in range(1, parts.shape[1]):
            tried = log_share[:, None].repeat(1, 5, 1)
            tried[..., k] += torch.linspace(-2, 2, 5) * step
            share = tried.softmax(-1)
            added = (share @ parts).flatten(0, 1)
            levels = usual_level(samples, known, added)
            light = (known + levels[:, None] * added).clamp_min(MIN_IRRADIANCE)
            cost = neg_log_likelihood(samples, light, samples.color @ channel)
            if samples.sky is not None:  # of its level and of usual albedos, each tells as much as it is sure
                sky = (samples.sky @ channel).clamp_min(MIN_IRRADIANCE)
                off = (levels * share[..., 0].flatten() / sky).log()
                variance = ALBEDO_SPREAD**2 + samples.sky_spread**2
                cost = cost + off**2 / variance / 2
                change = -off * ALBEDO_SPREAD**2 / variance
                levels = levels * change.clamp(-MAX_LEVEL_CHANGE, MAX_LEVEL_CHANGE).exp()
            cost = cost.view(count, 5)
            index = cost.argmin(1)
            best, log_share = cost[all_of_them, index], tried[all_of_them, index]
            level = levels.view(count, 5)[all_of_them, index]
        step = step / 2
    strengths = level[:, None] * log_share.softmax(-1)
    return Strengths(best, strengths[:, 0], strengths[:, 1:])
