"""Samples of a scene's surface, and how well a light explains their colors.

A surface's color is its albedo times its irradiance. Albedos are unknown, so only *differences* tell: within
a group of samples of similar hue and place, the differences in brightness that the light explains.
Light is linear (see light.py). P samples, K directions, C candidate lights, G groups.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from nerf_insert.geometry.mesh import Hits
from nerf_insert.lighting.light import Occluders, fibonacci_sphere, transport
from nerf_insert.lighting.surface import SceneSurface

OFFERED = 6000  # points of the surface that are looked at
OFFERED_DIRECTIONS = 64  # in which they look for the sky
SAMPLES = 2000
FAR_INTEREST = 0.08  # of points that nothing is near to
GROUPS = 6
# Of features that are grouped: green against magenta, warm against cool, world units over `size`. Shade is
# cooler or warmer than light, rarely greener.
GREEN_SCALE, WARM_SCALE, PLACE_SCALE = 0.25, 1.5, 2.0
KMEANS_ITERATIONS = 10
SIDES = 14  # directions by which samples are counted, so that floors do not outvote walls
RARITY = 0.25  # power of their numbers by which they are weighed
RADIANCE_RANGE = 0.002, 0.9  # of samples; darker and clipped colors tell nothing
ALBEDO = 0.3  # the geometric mean of albedos
ALBEDO_SPREAD = 0.35  # of its logarithm from scene to scene
MIN_SPREAD = 0.12  # of log albedo within a group: what is not modeled of the light makes as much
GROUP_SPREAD = 0.5  # of the groups' median log albedo
BETWEEN = 10.0  # independent groups
NEIGHBORS, NEAR_CELLS = 24, 3.0  # vertices around a sample whose normals are compared with its own
ROUGH, SMOOTH = 0.75, 0.97  # mean cosines at which a sample counts nothing, and fully
MIN_SMOOTHNESS = 0.01
VIEW_SPREAD = 0.1  # spread of colors between views at which a sample counts half
INDEPENDENT_SAMPLES = 250.0  # that the samples are worth; texture is alike nearby
SKY_SPREAD = 0.1  # of the log radiance of a sky that looks alike everywhere
MIN_SKY_DIRECTIONS = 3  # above the horizon that photographs have to show
MAX_NEWTON_STEPS, SETTLED = 8, 1e-3  # of the search for a level; log levels that do not matter
MIN_IRRADIANCE = 1e-4
LUMINANCE = torch.tensor([0.2126, 0.7152, 0.0722])


@dataclass(frozen=True, eq=False)
class LightSamples:
    """Points of the scene's surface, with what is known of the light there."""

    points: Float[Tensor, "P 3"]
    normals: Float[Tensor, "P 3"]
    color: Float[Tensor, "P 3"]
    known: Float[Tensor, "P 3"]  # irradiance from all that photographs show
    far: Float[Tensor, "P K"]  # weight of each far direction
    unseen: Float[Tensor, " P"]  # the sum of those weights that no photograph shows
    sky: Float[Tensor, "3"] | None  # mean radiance above the horizon, far away, where photographs show it
    sky_spread: float  # of the log radiance of unseen sky about that
    member: Float[Tensor, "P G"]  # 1 where a sample is in a group
    weight: Float[Tensor, " P"]  # sums to 1

    def take(self, index: Int64[Tensor, " Q"]) -> LightSamples:
        """Return some of the samples."""
        weight = self.weight[index]
        return LightSamples(
            self.points[index],
            self.normals[index],
            self.color[index],
            self.known[index],
            self.far[index],
            self.unseen[index],
            self.sky,
            self.sky_spread,
            self.member[index],
            weight / weight.sum(),
        )


def gather_samples(
    surface: SceneSurface,
    occluders: Occluders,
    far: Float[Tensor, "K 3"],
    center: Float[Tensor, "3"],
    size: float,
    up: Float[Tensor, "3"],
    seed: int = 0,
) -> LightSamples:
    """Sample the surface by area, most densely within `size` of `center` and where something is near.

    What lies open to the whole sky is lit alike by all lights from above; places that see some of the sky
    and not the rest tell the lights apart.

    Args:
        surface: The scene's surface with its radiance.
        occluders: What hides light, the surface itself among them.
        far: Radiance from each direction of `fibonacci_sphere(K)`; NaN where no photograph shows it.
        center: World coordinates.
        size: World units.
        up: Unit vector, world axes.
        seed: Random seed of the choice.
    """
    mesh = surface.mesh
    probability = _vertex_areas(surface)
    distance = (mesh.vertices - center).norm(dim=-1) / size
    probability = probability / (1 + distance**2) ** 2
    darkest, brightest = RADIANCE_RANGE
    good = ((surface.radiance < brightest) & (surface.radiance > darkest)).all(-1)  # false for NaN
    index = (good & (probability > 0)).nonzero()[:, 0]
    generator = torch.Generator().manual_seed(seed)
    if len(index) > OFFERED:
        index = index[torch.multinomial(probability[index], OFFERED, generator=generator).sort().values]
    directions = fibonacci_sphere(len(far))
    if len(index) > SAMPLES:
        offered = mesh.vertices[index] + 0.5 * surface.cell * surface.normals[index]
        black = [replace(occluder, radiance=_black) for occluder in occluders]
        seen = transport(offered, surface.normals[index], fibonacci_sphere(OFFERED_DIRECTIONS), black)[1]
        above = (surface.normals[index] @ up).clamp(-1, 1)
        near = (1 - seen.sum(-1) / ((1 + above) / 2).clamp_min(0.1)).clamp(0, 1)
        interest = FAR_INTEREST + (near * 3).clamp_max(1)
        index = index[torch.multinomial(interest, SAMPLES, generator=generator).sort().values]
    normals, color = surface.normals[index], surface.radiance[index]
    points = mesh.vertices[index] + 0.5 * surface.cell * normals  # clear of the surface's own roughness
    near, weights = transport(points, normals, directions, occluders)
    shown = far.isfinite().all(-1)
    side = (normals @ fibonacci_sphere(SIDES).T).argmax(1)
    rarity = torch.bincount(side, minlength=SIDES)[side].float() ** -RARITY
    above = shown & (directions @ up > 0)
    weight = rarity / (1 + (surface.spread[index] / VIEW_SPREAD) ** 2) * _smoothness(surface, index)
    return LightSamples(
        points,
        normals,
        color,
        known=near + weights @ far.nan_to_num(),
        far=weights,
        unseen=weights[:, ~shown].sum(-1),
        sky=far[above].mean(0) if int(above.sum()) >= MIN_SKY_DIRECTIONS else None,
        sky_spread=_sky_spread(far[above]),
        member=membership(points / size, color),
        weight=weight / weight.sum(),
    )


def _smoothness(surface: SceneSurface, index: Int64[Tensor, " P"]) -> Float[Tensor, " P"]:
    """1 where the surface around a vertex faces one way, less at edges and on rubble."""
    from scipy.spatial import KDTree

    vertices = surface.mesh.vertices
    if not len(index):
        return torch.ones(0)
    tree, reach = KDTree(vertices.numpy()), NEAR_CELLS * surface.cell
    near = np.asarray(tree.query(vertices[index].numpy(), NEIGHBORS, distance_upper_bound=reach)[1], np.int64)
    near, own = torch.from_numpy(near), surface.normals[index][:, None]
    there = near < len(vertices)
    cosine = (surface.normals[near.clamp_max(len(vertices) - 1)] * own).sum(-1) * there
    alike = cosine.sum(1) / there.sum(1)
    return ((alike - ROUGH) / (SMOOTH - ROUGH)).clamp(MIN_SMOOTHNESS, 1)


def _sky_spread(seen: Float[Tensor, "K 3"]) -> float:
    """The less alike the far directions are that photographs show, the less they tell of the others."""
    luminance = (seen @ LUMINANCE).clamp_min(MIN_IRRADIANCE).log()
    return math.hypot(SKY_SPREAD, float(luminance.std())) if len(luminance) > 1 else 1.0


def _black(hits: Hits, directions: Tensor) -> Tensor:
    return torch.zeros(len(hits.face), 3)


def _vertex_areas(surface: SceneSurface) -> Float[Tensor, " V"]:
    """Twice the area of the faces around each vertex."""
    mesh = surface.mesh
    a, b, c = mesh.vertices[mesh.faces].unbind(1)
    area = torch.linalg.cross(b - a, c - a).norm(dim=-1)
    total = torch.zeros(len(mesh.vertices))
    for corner in mesh.faces.unbind(1):
        total.index_add_(0, corner, area)
    return total


def membership(position: Float[Tensor, "P 3"], color: Float[Tensor, "P 3"]) -> Float[Tensor, "P G"]:
    """Return 1 where a sample is in a group of `group_samples`, else 0."""
    return torch.nn.functional.one_hot(group_samples(position, color), GROUPS).float()


def group_samples(
    position: Float[Tensor, "P 3"], color: Float[Tensor, "P 3"], count: int = GROUPS
) -> Int64[Tensor, " P"]:
    """Group samples of similar hue that are near one another: k-means, started from points far apart.

    Args:
        position: In units of the scale within which samples are near.
        color: Linear light, above 0.
        count: Most groups.
    """
    from scipy.cluster.vq import kmeans2

    red, green, blue = color.log().unbind(-1)
    hue = torch.stack([(green - (red + blue) / 2) / GREEN_SCALE, (red - blue) / WARM_SCALE], -1)
    feature = torch.cat([hue, position / PLACE_SCALE], -1)
    if not len(feature):
        return torch.zeros(0, dtype=torch.int64)
    centers = feature[:1]
    for _ in range(min(count, len(feature)) - 1):
        centers = torch.cat([centers, feature[torch.cdist(feature, centers).amin(1).argmax()][None]])
    with warnings.catch_warnings():  # that a group is empty
        warnings.simplefilter("ignore", UserWarning)
        _, label = kmeans2(feature.numpy(), centers.numpy(), KMEANS_ITERATIONS, minit="matrix")
    return torch.from_numpy(label.astype(np.int64))


def neg_log_likelihood(
    samples: LightSamples, irradiance: Float[Tensor, "C P"], color: Float[Tensor, " P"]
) -> Float[Tensor, " C"]:
    """Return how badly candidate irradiances explain one channel of the colors.

    Log albedos have a Laplace distribution within each group, whose width is that group's own: of a group of
    one material every small difference counts, of a patterned one only large differences.
    """
    log_albedo = color.log() - irradiance.log()
    member = samples.member * samples.weight[:, None]
    group_weight = member.sum(0)
    center = log_albedo @ member / group_weight.clamp_min(1e-9)
    for _ in range(2):  # towards the median
        off = (log_albedo - center @ samples.member.T).abs() + MIN_SPREAD
        weight = 1 / off
        center = (weight * log_albedo) @ member / (weight @ member).clamp_min(1e-9)
    off = ((log_albedo - center @ samples.member.T) ** 2 + MIN_SPREAD**2).sqrt()
    spread = off @ member / group_weight.clamp_min(1e-9)
    within = spread.clamp_min(MIN_SPREAD).log() @ group_weight
    between = (center - (center @ group_weight)[:, None]) / GROUP_SPREAD
    between_cost = torch.log1p(between**2) @ group_weight
    return INDEPENDENT_SAMPLES * within + BETWEEN * between_cost


def usual_level(
    samples: LightSamples, known: Float[Tensor, " P"], added: Float[Tensor, "C P"]
) -> Float[Tensor, " C"]:
    """Return the factor on added irradiance that makes the geometric mean of the albedos ALBEDO."""
    mean = float((samples.color @ LUMINANCE).log() @ samples.weight) - math.log(ALBEDO)
    log_level = torch.zeros(len(added))
    for _ in range(MAX_NEWTON_STEPS):  # the left side is convex
        irradiance = (known + log_level.exp()[:, None] * added).clamp_min(MIN_IRRADIANCE)
        slope = (log_level.exp()[:, None] * added / irradiance) @ samples.weight
        error = irradiance.log() @ samples.weight - mean
        change = (error / slope.clamp_min(1e-3)).clamp(-3, 3)
        log_level = log_level - change
        if float(change.abs().amax()) < SETTLED:
            break
    return log_level.clamp(-12, 12).exp()
