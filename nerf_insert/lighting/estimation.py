"""Estimating a scene's light from the colors of its surfaces.

Shadows, and differently oriented faces of one object, reveal the key light; the light from near surfaces is
known from their own colors. How bright the light is cannot be told from how bright albedos are. Two
assumptions of photography decide: albedos are ALBEDO in the mean, and the light is nearly white.

Light is linear (see light.py). P samples (light_samples.py), K directions, C candidates.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from nerf_insert.geometry.frames import orthonormal_frame
from nerf_insert.lighting.light import DiskLight, Light, Occluders, fibonacci_sphere
from nerf_insert.lighting.light_samples import (
    ALBEDO,
    LUMINANCE,
    MIN_IRRADIANCE,
    LightSamples,
    membership,
    neg_log_likelihood,
    usual_level,
)

MIN_SAMPLES = 100  # without which no key light is looked for
MIN_KEY_GAIN = 8.0  # log likelihood by which a key light has to beat soft light from above
MIN_TURN_GAIN = 0.05  # log likelihood by which a new direction of the key light has to be better
SKY_SPREAD = 0.15  # of the log radiance of unseen sky, about the mean of the sky that is seen
TINT_SPREAD = 0.25  # of the log ratio of key light to sky in one channel, about that of their luminances
SEARCH_SAMPLES = 8  # rays to the key light for each surface sample
MIN_LIT_FRACTION = 0.05  # of the samples, for a direction to be tried
MIN_CANDIDATE_ANGLE = 20  # degrees between candidate directions

LevelRule = Callable[[LightSamples, Tensor, Tensor], Tensor]  # as `usual_level`


@dataclass(frozen=True, eq=False)
class LightHypothesis:
    """A key light and how well it explains the samples; strengths are luminances."""

    key: DiskLight
    cost: float = float("inf")
    sky: float = 1.0  # radiance of the far directions that no photograph shows
    strength: float = 1.0  # irradiance of the key light


def estimate_light(
    samples: LightSamples,
    occluders: Occluders,
    center: Float[Tensor, "3"],
    size: float,
    up: Float[Tensor, "3"],
    far: Float[Tensor, "K 3"],
) -> Light:
    """Find the light that explains the samples best; soft and from above where they tell nothing.

    Args:
        samples: See `gather_samples`.
        occluders: What hides the key light, the scene's surface among them.
        center: What the key light shines on, world coordinates.
        size: Scale of the surroundings, world units.
        up: Unit vector, world axes.
        far: Radiance from each direction of `fibonacci_sphere(K)`; NaN where no photograph shows it.
    """
    above = DiskLight(center, up, 100 * size, math.radians(50), torch.ones(3))
    if len(samples.points) < MIN_SAMPLES:
        level = float((samples.color @ LUMINANCE).mean()) / ALBEDO if len(samples.points) else 1.0
        environment = torch.where(far.isfinite(), far, level / 3)
        return Light(environment, (replace(above, irradiance=torch.full((3,), level)),))
    best = evaluate_hypothesis(LightHypothesis(above), samples, occluders)
    found = []
    for direction in candidate_directions(samples):
        key = replace(above, direction=direction, distance=8 * size, angle=math.radians(8))
        start = evaluate_hypothesis(LightHypothesis(key), samples, occluders)
        found.append(refine_direction(start, samples, occluders, 6, 3))
    if found:
        refined = refine(min(found, key=_cost), samples, occluders, size)
        best = refined if refined.cost < best.cost - MIN_KEY_GAIN else best
    return estimate_color(best, samples, occluders, size, far)


def _cost(hypothesis: LightHypothesis) -> float:
    return hypothesis.cost


def candidate_directions(samples: LightSamples, count: int = 3) -> list[Tensor]:
    """Return the directions that explain the samples best without shadows, well apart from one another."""
    directions = fibonacci_sphere(samples.far.shape[1])
    cosine = (samples.normals @ directions.T).clamp_min(0) * (samples.far > 0)
    known, color = samples.known @ LUMINANCE, samples.color @ LUMINANCE
    fractions = torch.tensor([0.3, 0.5, 0.65, 0.8, 0.9])[:, None]  # of the light that the key gives
    costs = torch.full((len(directions),), float("inf"))
    for k in range(len(directions)):
        if float((cosine[:, k] > 0).float().mean()) > MIN_LIT_FRACTION:
            added = (1 - fractions) * samples.unseen + fractions * cosine[:, k]
            light = known + usual_level(samples, known, added)[:, None] * added
            costs[k] = neg_log_likelihood(samples, light.clamp_min(MIN_IRRADIANCE), color).min()
    chosen: list[Tensor] = []
    near = math.cos(math.radians(MIN_CANDIDATE_ANGLE))
    for k in costs.argsort().tolist():
        apart = all(float(directions[k] @ other) < near for other in chosen)
        if apart and costs[k] < float("inf") and len(chosen) < count:
            chosen.append(directions[k])
    return chosen


def evaluate_hypothesis(
    hypothesis: LightHypothesis, samples: LightSamples, occluders: Occluders
) -> LightHypothesis:
    """Return the hypothesis with the strengths that suit its key light best, and their cost."""
    key = hypothesis.key
    lit = key.relative_irradiance(samples.points, samples.normals, occluders, SEARCH_SAMPLES)
    return LightHypothesis(key, *fit_balance(samples, LUMINANCE, lit, usual_level))


def fit_balance(
    samples: LightSamples,
    channel: Float[Tensor, "3"],
    lit: Float[Tensor, " P"],
    level_of: LevelRule,
    expected: float | None = None,
) -> tuple[float, float, float]:
    """Find the best proportion of sky and key light in one channel.

    Args:
        samples: See `gather_samples`.
        channel: Weights of red, green and blue.
        lit: The key light's relative irradiance of each sample.
        level_of: Sets the level of both together.
        expected: Log ratio of key light to sky about which TINT_SPREAD lets it vary; None: anything goes.

    Returns:
        The cost, the sky's radiance and the key light's irradiance.
    """
    known, color = samples.known @ channel, samples.color @ channel
    middle, step = expected or 0.0, 1.5
    for _ in range(6):
        odds = middle + torch.linspace(-2, 2, 5) * step
        key = odds.sigmoid()[:, None]
        added = (1 - key) * samples.unseen + key * lit
        level = level_of(samples, known, added)
        light = (known + level[:, None] * added).clamp_min(MIN_IRRADIANCE)
        cost = neg_log_likelihood(samples, light, color)
        sky = level * (1 - key[:, 0])
        if samples.sky is not None:
            seen_sky = (samples.sky @ channel).clamp_min(MIN_IRRADIANCE)
            cost = cost + ((sky / seen_sky).log() / SKY_SPREAD) ** 2 / 2
        if expected is not None:
            cost = cost + ((odds - expected) / TINT_SPREAD) ** 2 / 2
        best = int(cost.argmin())
        middle, step = float(odds[best]), step / 2
    return float(cost[best]), float(sky[best]), float(level[best] * key[best])


def refine(
    hypothesis: LightHypothesis, samples: LightSamples, occluders: Occluders, size: float
) -> LightHypothesis:
    """Try other distances of the key light with new directions, other angles, and finer directions."""
    best = hypothesis
    for distance in (3, 5, 100):
        moved = LightHypothesis(replace(best.key, distance=distance * size))
        moved = evaluate_hypothesis(moved, samples, occluders)
        best = min(best, refine_direction(moved, samples, occluders, 3, 3), key=_cost)
    for angle in (3, 14, 22, 35):
        wider = LightHypothesis(replace(best.key, angle=math.radians(angle)))
        best = min(best, evaluate_hypothesis(wider, samples, occluders), key=_cost)
    return refine_direction(best, samples, occluders, 1.5, 1.5)


def refine_direction(
    hypothesis: LightHypothesis,
    samples: LightSamples,
    occluders: Occluders,
    degrees: float,
    finest: float,
) -> LightHypothesis:
    """Search directions near the hypothesis's: rings around the best so far, of smaller and smaller radius.

    Args:
        hypothesis: The start, evaluated.
        samples: See `gather_samples`.
        occluders: What hides the key light.
        degrees: Radius of the first ring.
        finest: Radius of the last ring, degrees.
    """
    while degrees >= finest:
        axes = orthonormal_frame(hypothesis.key.direction)
        around = torch.arange(6) * math.pi / 3
        ring = hypothesis.key.direction + math.tan(math.radians(degrees)) * (
            around.cos()[:, None] * axes[0] + around.sin()[:, None] * axes[1]
        )
        keys = [replace(hypothesis.key, direction=torch.nn.functional.normalize(d, dim=0)) for d in ring]
        tried = [evaluate_hypothesis(LightHypothesis(key), samples, occluders) for key in keys]
        best = min(tried, key=_cost)
        if best.cost < hypothesis.cost - MIN_TURN_GAIN:
            hypothesis = best
        else:
            degrees /= 2
    return hypothesis


def estimate_color(
    hypothesis: LightHypothesis,
    samples: LightSamples,
    occluders: Occluders,
    size: float,
    far: Float[Tensor, "K 3"],
) -> Light:
    """Find the strengths for each channel.

    Key light and sky may differ in color; together they are white, as a camera's white balance makes them.
    The samples are grouped anew by albedo, because shade and light differ in hue.
    """
    lit = hypothesis.key.relative_irradiance(samples.points, samples.normals, occluders)
    expected = math.log(hypothesis.strength / hypothesis.sky)
    white = (hypothesis.sky * samples.unseen + hypothesis.strength * lit) @ samples.weight

    def white_level(samples: LightSamples, known: Tensor, added: Tensor) -> Tensor:
        return white / (added @ samples.weight)

    sky = strength = torch.ones(3)
    for _ in range(2):
        fits = [fit_balance(samples, channel, lit, white_level, expected) for channel in torch.eye(3)]
        sky, strength = torch.tensor([fit[1] for fit in fits]), torch.tensor([fit[2] for fit in fits])
        light = samples.known + samples.unseen[:, None] * sky + lit[:, None] * strength
        albedo = samples.color / light.clamp_min(MIN_IRRADIANCE)
        samples = replace(samples, member=membership(samples.points / size, albedo))
    environment = torch.where(far.isfinite().all(-1, keepdim=True), far.nan_to_num(), sky)
    return Light(environment, (replace(hypothesis.key, irradiance=strength),))
