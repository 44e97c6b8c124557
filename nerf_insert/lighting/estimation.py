"""Estimating a scene's light from the surfaces that it falls on.

A surface's color is its albedo times the light that arrives there. Albedos are unknown, so only
*differences* tell: within a group of samples alike in hue and place, what the light explains of the
differences in brightness. Shadows, and faces of one thing that look different ways, give the key light
away; the light from surfaces nearby is known from their own colors. How bright all of it is cannot be
told from how bright albedos are; there two assumptions of photography decide: albedos are near ALBEDO,
and the light is nearly white.

Light is linear (see light.py). P samples, K directions, C candidates, G groups.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from nerf_insert.geometry.frames import orthonormal_frame
from nerf_insert.lighting.depth_fusion import Surface
from nerf_insert.lighting.light import Key, Light, Occluders, sphere, transport

SAMPLES = 2000
GROUPS = 16
HUE, PLACE = 0.5, 2.0
SPREAD = 0.25  # of the logarithm of albedo within a group; differences far beyond it count little
ALBEDO = 0.3  # the geometric mean of albedos
TRUSTED = 0.1  # spread of colors between views from which a sample counts half
BETWEEN = 0.35  # of the logarithm of the groups' mean albedos
EFFECTIVE = 150.0  # independent observations that the samples are worth; texture is alike nearby
DOUBT = 8.0  # by how much (a log likelihood) a key must do better than soft light from above
LUMINANCE = torch.tensor([0.2126, 0.7152, 0.0722])
FEWEST = 100  # samples that a light is looked for with
FEW_SKIES = 3  # directions above the horizon that have to be shown
SKY_SPREAD = 0.15  # of the logarithm of what is unseen there, about the mean of what is shown
TINT = 0.25  # of the logarithm of key to sky in one channel, about that of their luminances
DARK = 1e-4  # the least light that there is anywhere
PLACES = 8  # rays to the key for each sample


@dataclass(frozen=True, eq=False)
class Evidence:
    """Samples of the scene's surfaces with what is known of the light there."""

    points: Float[Tensor, "P 3"]
    normals: Float[Tensor, "P 3"]
    color: Float[Tensor, "P 3"]
    known: Float[Tensor, "P 3"]  # irradiance from what the photographs show
    far: Float[Tensor, "P K"]  # weight of each far direction
    unseen: Float[Tensor, " P"]  # the sum of those that no photograph shows
    sky: Float[Tensor, "3"] | None  # what photographs show above the horizon, far off
    member: Float[Tensor, "P G"]  # 1 where a sample is in a group
    weight: Float[Tensor, " P"]  # sums to 1


def gather(
    surface: Surface,
    things: Occluders,
    far: Float[Tensor, "K 3"],
    center: Float[Tensor, "3"],
    size: float,
    up: Float[Tensor, "3"],
    seed: int = 0,
) -> Evidence:
    """Samples by area, most of them within `size` (world units) of `center`.

    `far`: radiance from each direction of `sphere(K)` where photographs show it, NaN elsewhere.
    """
    mesh = surface.mesh
    a, b, c = mesh.vertices[mesh.faces].unbind(1)
    area = torch.linalg.cross(b - a, c - a).norm(dim=-1)
    chance = torch.zeros(len(mesh.vertices))
    for corner in mesh.faces.unbind(1):
        chance.index_add_(0, corner, area)
    away = (mesh.vertices - center).norm(dim=-1) / size
    chance = chance / (1 + away**2) ** 2
    good = ((surface.radiance < 0.9) & (surface.radiance > 0.002)).all(-1)  # false for NaN; clipped is no use
    index = (good & (chance > 0)).nonzero()[:, 0]
    if len(index) > SAMPLES:
        generator = torch.Generator().manual_seed(seed)
        index = index[torch.multinomial(chance[index], SAMPLES, generator=generator).sort().values]
    normals, color = surface.normals[index], surface.radiance[index]
    points = mesh.vertices[index] + 0.5 * surface.cell * normals  # clear of the surface's own roughness
    near, weights = transport(points, normals, sphere(len(far)), things)
    shown = far.isfinite().all(-1)
    side = (normals @ sphere(14).T).argmax(1)
    # the many that look one way (floor) must not outvote the few that look another (walls)
    rarity = torch.bincount(side, minlength=14)[side].float() ** -0.5
    above = shown & (sphere(len(far)) @ up > 0)
    weight = rarity / (1 + (surface.spread[index] / TRUSTED) ** 2)
    return Evidence(
        points,
        normals,
        color,
        known=near + weights @ far.nan_to_num(),
        far=weights,
        unseen=weights[:, ~shown].sum(-1),
        sky=far[above].mean(0) if int(above.sum()) >= FEW_SKIES else None,
        member=torch.nn.functional.one_hot(groups(points / size, color), GROUPS).float(),
        weight=weight / weight.sum(),
    )


def groups(
    place: Float[Tensor, "P 3"], color: Float[Tensor, "P 3"], count: int = GROUPS
) -> Int64[Tensor, " P"]:
    """Samples alike in hue and near one another: k-means, started from points far apart."""
    hue = torch.log(color / (color @ LUMINANCE)[:, None])[:, [0, 2]]
    feature = torch.cat([hue / HUE, place / PLACE], -1)
    if not len(feature):
        return torch.zeros(0, dtype=torch.int64)
    centers = feature[:1]
    for _ in range(min(count, len(feature)) - 1):
        centers = torch.cat([centers, feature[torch.cdist(feature, centers).amin(1).argmax()][None]])
    for _ in range(10):
        label = torch.cdist(feature, centers).argmin(1)
        total = torch.zeros_like(centers).index_add_(0, label, feature)
        size = torch.bincount(label, minlength=len(centers))[:, None]
        centers = torch.where(size > 0, total / size.clamp_min(1), centers)
    return label


def misfit(
    evidence: Evidence, light: Float[Tensor, "C P"], color: Float[Tensor, " P"]
) -> Float[Tensor, " C"]:
    """How badly irradiances explain one channel of the colors: a negative log likelihood."""
    log = color.log() - light.log()
    member = evidence.member * evidence.weight[:, None]
    albedo = log @ member / member.sum(0).clamp_min(1e-9)
    rest = (log - albedo @ evidence.member.T) / SPREAD
    share = member.sum(0)
    between = (albedo - (albedo @ share)[:, None]) / BETWEEN
    return EFFECTIVE * (torch.log1p(rest**2) @ evidence.weight) + GROUPS * (torch.log1p(between**2) @ share)


def usual_level(
    evidence: Evidence, known: Float[Tensor, " P"], added: Float[Tensor, "C P"]
) -> Float[Tensor, " C"]:
    """The factor on added light that makes albedos what they usually are, in the geometric mean."""
    mean = float((evidence.color @ LUMINANCE).log() @ evidence.weight) - math.log(ALBEDO)
    log = torch.zeros(len(added))
    for _ in range(8):  # Newton's method; the left side is convex
        light = (known + log.exp()[:, None] * added).clamp_min(DARK)
        slope = (log.exp()[:, None] * added / light) @ evidence.weight
        log = log - ((light.log() @ evidence.weight - mean) / slope.clamp_min(1e-3)).clamp(-3, 3)
    return log.clamp(-12, 12).exp()


def balance(
    evidence: Evidence,
    channel: Float[Tensor, "3"],
    share: Float[Tensor, " P"],
    level_of: Callable,
    expected: float | None = None,
) -> tuple[float, float, float]:
    """(cost, sky, key) of the best proportion of sky and key in one channel, which is given as weights of
    red, green and blue. `share` is the samples' of the key; `level_of` sets the level as `usual_level`
    does; `expected` is the logarithm of key to sky about which TINT lets it vary."""
    known, color = evidence.known @ channel, evidence.color @ channel
    middle, step = expected or 0.0, 1.5
    for _ in range(6):
        odds = middle + torch.linspace(-2, 2, 5) * step
        key = odds.sigmoid()[:, None]
        added = (1 - key) * evidence.unseen + key * share
        level = level_of(evidence, known, added)
        cost = misfit(evidence, (known + level[:, None] * added).clamp_min(DARK), color)
        sky = level * (1 - key[:, 0])
        if evidence.sky is not None:
            cost = cost + ((sky / (evidence.sky @ channel).clamp_min(DARK)).log() / SKY_SPREAD) ** 2 / 2
        if expected is not None:
            cost = cost + ((odds - expected) / TINT) ** 2 / 2
        best = int(cost.argmin())
        middle, step = float(odds[best]), step / 2
    return float(cost[best]), float(sky[best]), float(level[best] * key[best])


@dataclass(frozen=True, eq=False)
class Guess:
    """A key and how it explains the evidence; strengths are luminances."""

    key: Key
    cost: float = float("inf")
    sky: float = 1.0  # radiance of the far directions that no photograph shows
    strength: float = 1.0  # irradiance of the key


def estimate(
    evidence: Evidence, things: Occluders, center: Tensor, size: float, up: Tensor, far: Tensor
) -> Light:
    """The light that explains the evidence best; soft and from above where it tells nothing.

    `center`, `size` and `far` as for `gather`; `up`: unit vector.
    """
    above = Key(center, up, 100 * size, math.radians(50), torch.ones(3))
    if len(evidence.points) < FEWEST:
        level = float((evidence.color @ LUMINANCE).mean()) / ALBEDO if len(evidence.points) else 1.0
        return Light(
            torch.where(far.isfinite(), far, level / 3), replace(above, irradiance=torch.full((3,), level))
        )
    best = judge(Guess(above), evidence, things)
    starts = [
        replace(above, direction=d, distance=8 * size, angle=math.radians(8)) for d in promising(evidence)
    ]
    turned = [turn(judge(Guess(key), evidence, things), evidence, things, 6, 3) for key in starts]
    if turned:
        found = improve(min(turned, key=lambda guess: guess.cost), evidence, things, size)
        best = found if found.cost < best.cost - DOUBT else best
    return colored(best, evidence, things, size, far)


def promising(evidence: Evidence, count: int = 3) -> list[Tensor]:
    """Directions that explain the evidence best, 20 degrees or more apart."""
    directions = sphere(evidence.far.shape[1])
    cosine = (evidence.normals @ directions.T).clamp_min(0) * (evidence.far > 0)
    known, color = evidence.known @ LUMINANCE, evidence.color @ LUMINANCE
    parts = torch.tensor([0.3, 0.5, 0.65, 0.8, 0.9])[:, None]
    costs = torch.full((len(directions),), float("inf"))
    for k in range(len(directions)):
        if float((cosine[:, k] > 0).float().mean()) > 0.05:
            added = (1 - parts) * evidence.unseen + parts * cosine[:, k]
            light = known + usual_level(evidence, known, added)[:, None] * added
            costs[k] = misfit(evidence, light.clamp_min(DARK), color).min()
    chosen: list[Tensor] = []
    for k in costs.argsort().tolist():
        apart = all(float(directions[k] @ other) < math.cos(math.radians(20)) for other in chosen)
        if apart and costs[k] < float("inf") and len(chosen) < count:
            chosen.append(directions[k])
    return chosen


def judge(guess: Guess, evidence: Evidence, things: Occluders) -> Guess:
    """The guess with the strengths and the cost that go with its key."""
    share = guess.key.share(evidence.points, evidence.normals, things, PLACES)
    return Guess(guess.key, *balance(evidence, LUMINANCE, share, usual_level))


def improve(guess: Guess, evidence: Evidence, things: Occluders, size: float) -> Guess:
    """The best distance of the key with its direction, the best angle, and the direction once more."""
    for distance in (3, 5, 100):
        moved = Guess(replace(guess.key, distance=distance * size))
        guess = min(guess, turn(judge(moved, evidence, things), evidence, things, 3, 3), key=lambda g: g.cost)
    for angle in (3, 14, 22, 35):
        wider = Guess(replace(guess.key, angle=math.radians(angle)))
        guess = min(guess, judge(wider, evidence, things), key=lambda g: g.cost)
    return turn(guess, evidence, things, 1.5, 1.5)


def turn(guess: Guess, evidence: Evidence, things: Occluders, degrees: float, finest: float) -> Guess:
    """The best direction near the guess's: rings of tries around the best so far, narrower and narrower."""
    while degrees >= finest:
        axes = orthonormal_frame(guess.key.direction)
        around = torch.arange(6) * math.pi / 3
        ring = guess.key.direction + math.tan(math.radians(degrees)) * (
            around.cos()[:, None] * axes[0] + around.sin()[:, None] * axes[1]
        )
        tries = [Guess(replace(guess.key, direction=torch.nn.functional.normalize(d, dim=0))) for d in ring]
        best = min((judge(g, evidence, things) for g in tries), key=lambda g: g.cost)
        if best.cost < guess.cost - 0.05:
            guess = best
        else:
            degrees /= 2
    return guess


def colored(guess: Guess, evidence: Evidence, things: Occluders, size: float, far: Tensor) -> Light:
    """Strengths for each channel: key and sky may differ in color, together they are white, as a camera's
    white balance makes them. The samples are grouped anew by albedo, for shade and light differ in hue."""
    share = guess.key.share(evidence.points, evidence.normals, things)
    expected = math.log(guess.strength / guess.sky)
    white = (guess.sky * evidence.unseen + guess.strength * share) @ evidence.weight

    def white_level(evidence: Evidence, known: Tensor, added: Tensor) -> Tensor:
        return white / (added @ evidence.weight)

    for _ in range(2):
        fits = [balance(evidence, channel, share, white_level, expected) for channel in torch.eye(3)]
        sky, strength = torch.tensor([fit[1] for fit in fits]), torch.tensor([fit[2] for fit in fits])
        light = evidence.known + evidence.unseen[:, None] * sky + share[:, None] * strength
        label = groups(evidence.points / size, evidence.color / light.clamp_min(DARK))
        evidence = replace(evidence, member=torch.nn.functional.one_hot(label, GROUPS).float())
    environment = torch.where(far.isfinite().all(-1, keepdim=True), far.nan_to_num(), sky)
    return Light(environment, replace(guess.key, irradiance=strength))
