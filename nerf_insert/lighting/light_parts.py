"""The light at places of the scene's surface with a thing and without it, by where it comes from.

Light from all around and light thrown back change slowly from place to place: they are computed at few of
the places. A sharp shadow of a key light is computed at all of them, but only rays that the thing stops
matter there.

World coordinates and units, linear light. N, Q are numbers of points on the surface, L of key lights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from nerf_insert.geometry.cameras import Rays
from nerf_insert.lighting.light import POINTS_AT_ONCE, DiskLight, Light, Occluder, relative_irradiances, risen
from nerf_insert.lighting.surface import SceneSurface

Kind = Literal["cast", "contact"]

COARSE = 1 / 24  # spacing of places for light from all around, as a fraction of the thing's diagonal
SOFT_REACH = 1.0  # how far light from all around is followed, in diagonals of the thing
KEY_REACH = 3.0  # the same for shadows of key lights
CONTACT_REACH = 0.4  # the same for a contact shadow
NEIGHBORS = 4  # samples that a value is interpolated from
MAX_RATIO = 4.0
KEY_SAMPLES = 48  # points on a key light
CLEARANCE = 0.25  # cells of the surface, that its own bumps may be high
MIN_IRRADIANCE = 1e-4


@dataclass(frozen=True, eq=False)
class LightParts:
    """The light at N points of a surface, by where it comes from.

    Attributes:
        before: The irradiance from all but the key lights without the thing.
        after: The same with it.
        lit: The relative irradiance by each of L key lights without the thing.
        hidden: What the thing takes away of that.
    """

    before: Float[Tensor, "N 3"]
    after: Float[Tensor, "N 3"]
    lit: Float[Tensor, "L N"]
    hidden: Float[Tensor, "L N"]

    def light(self, keys: Float[Tensor, "L 3"], soft: float = 1.0) -> Float[Tensor, "N 3"]:
        """Return the light with the thing.

        Args:
            keys: The irradiance of each key light.
            soft: How much of the change of the other light counts.
        """
        after = self.before + soft * (self.after - self.before)
        return after + (self.lit - self.hidden).T @ keys

    def ratio(self, keys: Float[Tensor, "L 3"], soft: float = 1.0) -> Float[Tensor, "N 3"]:
        """Return the light with the thing over that without it; arguments as those of `light`."""
        total = (self.before + self.lit.T @ keys).clamp_min(MIN_IRRADIANCE)
        return (self.light(keys, soft) / total).clamp(0, MAX_RATIO)


def irradiance_ratios(
    surface: SceneSurface,
    light: Light,
    thing: Occluder,
    bounds: Float[Tensor, "2 3"],
    points: Float[Tensor, "N 3"],
    normals: Float[Tensor, "N 3"],
    kind: Kind,
) -> Float[Tensor, "N 3"]:
    """Return the light at points of the surface with a thing, over that without it.

    Args:
        surface: The scene without the thing.
        light: The scene's light.
        thing: What stands there.
        bounds: Lowest and highest corner of the box around it.
        points: World coordinates.
        normals: Unit normals there.
        kind: As in `bake_shade`.
    """
    parts = light_parts(surface, light, thing, bounds, points, normals, kind)
    return parts.ratio(irradiances(light.keys))


def irradiances(keys: Sequence[DiskLight]) -> Float[Tensor, "L 3"]:
    """Return the irradiance of key lights."""
    return torch.stack([torch.zeros(3), *(key.irradiance for key in keys)])[1:]


def light_parts(
    surface: SceneSurface,
    light: Light,
    thing: Occluder,
    bounds: Float[Tensor, "2 3"],
    points: Float[Tensor, "N 3"],
    normals: Float[Tensor, "N 3"],
    kind: Kind,
    everywhere: bool = False,
) -> LightParts:
    """Return the light at points of the surface; arguments as above.

    Unless it is wanted `everywhere`, points at which the thing changes nothing are said to be lit by 1.
    """
    size = float((bounds[1] - bounds[0]).norm())
    clearance = CLEARANCE * surface.cell
    lifted = points + clearance * normals
    scene = surface.as_occluder()
    hidden = torch.zeros(len(light.keys), len(points))
    if kind == "cast":
        for k, key in enumerate(light.keys):
            hidden[k] = hidden_by_thing(key, points, normals, thing, scene, clearance, KEY_SAMPLES)
    soft_reach = size * (CONTACT_REACH if kind == "contact" else SOFT_REACH)
    wanted = (hidden > 0).any(0) | near_box(points, bounds, soft_reach) | everywhere
    before, lit = torch.ones(len(points), 3), torch.zeros_like(hidden)
    after = before.clone()
    index = wanted.nonzero()[:, 0]
    if len(index):
        if kind == "cast":
            lit[:, index] = relative_irradiances(
                light.keys, points[index], normals[index], [scene], clearance=clearance
            )
        soft = _soft_light(light, thing, scene, lifted[index], normals[index], COARSE * size)
        before[index], after[index] = soft
    return LightParts(before, after, lit, hidden)


def hidden_by_thing(
    key: DiskLight,
    points: Float[Tensor, "N 3"],
    normals: Float[Tensor, "N 3"],
    thing: Occluder,
    scene: Occluder,
    clearance: float,
    count: int,
) -> Float[Tensor, " N"]:
    """Return the part of a key light's relative irradiance that a thing takes away, and nothing else does.

    Args:
        key: The light.
        points: On the surface, world coordinates.
        normals: Unit normals of the surface there.
        thing: What stands there.
        scene: What else hides the light.
        clearance: Height above the surface up to which that does not count, world units.
        count: Points on the light.
    """
    parts = []
    for x, n in zip(points.split(POINTS_AT_ONCE), normals.split(POINTS_AT_ONCE), strict=True):
        toward = key.samples(count) - x[:, None]
        distance = toward.norm(dim=-1)
        toward = toward / distance[..., None]
        cosine = (toward * n[:, None]).sum(-1).clamp_min(0)
        weight = cosine * (key.distance / distance) ** 2
        point, sample = weight.nonzero().unbind(-1)
        rays, far = Rays(x[point], toward[point, sample]), distance[point, sample]
        met = (thing.cast(rays).distance < far).nonzero()[:, 0]
        skipped = risen(cosine[point[met], sample[met]], clearance)
        above = Rays(rays.origins[met] + skipped[:, None] * rays.directions[met], rays.directions[met])
        free = scene.cast(above).distance >= far[met] - skipped
        met = met[free]
        taken = torch.zeros(len(x)).index_add_(0, point[met], weight[point[met], sample[met]])
        parts.append(taken / count)
    return torch.cat(parts)


def _soft_light(
    light: Light,
    thing: Occluder,
    scene: Occluder,
    points: Float[Tensor, "N 3"],
    normals: Float[Tensor, "N 3"],
    spacing: float,
) -> tuple[Float[Tensor, "N 3"], Float[Tensor, "N 3"]]:
    """Irradiance from all but the key lights, without and with the thing, computed at few of the points."""
    few = _thinned(points, normals, spacing)
    x, n = points[few], normals[few]
    before = light.irradiance_parts(x, n, [scene])[0]
    after = light.irradiance_parts(x, n, [thing, scene])[0]
    index, weight = nearest_samples(x, n, points, normals, spacing)
    return tuple((weight[..., None] * part[index]).sum(1) for part in (before, after))  # type: ignore[return-value]


def _thinned(
    points: Float[Tensor, "N 3"], normals: Float[Tensor, "N 3"], spacing: float
) -> Int64[Tensor, " Q"]:
    """Keep one of the points in each cell of space, apart by the side that they face."""
    side = torch.cat([normals, -normals], -1).argmax(-1, keepdim=True)
    cell = torch.cat([((points - points.amin(0)) / spacing).long(), side], -1)
    _, number = cell.unique(dim=0, return_inverse=True)
    first = torch.full((int(number.max()) + 1,), len(points))
    first.scatter_reduce_(0, number, torch.arange(len(points)), "amin")
    return first


def nearest_samples(
    samples: Float[Tensor, "Q 3"],
    sample_normals: Float[Tensor, "Q 3"] | None,
    points: Float[Tensor, "N 3"],
    normals: Float[Tensor, "N 3"] | None,
    spacing: float,
) -> tuple[Int64[Tensor, "N K"], Float[Tensor, "N K"]]:
    """Return the nearest samples of points and the weights to interpolate with, which sum to 1.

    Args:
        samples: World coordinates.
        sample_normals: Unit normals there.
        points: World coordinates.
        normals: Unit normals; samples that face another way count little. None: all count.
        spacing: Distance of neighboring samples, world units.
    """
    from scipy.spatial import KDTree

    count = min(NEIGHBORS, len(samples))
    distance, index = KDTree(samples.numpy()).query(points.numpy(), count)
    distance = torch.from_numpy(np.asarray(distance, np.float32).reshape(len(points), count))
    index = torch.from_numpy(np.asarray(index, np.int64).reshape(len(points), count))
    weight = 1 / (distance + 0.1 * spacing) ** 2
    if normals is not None and sample_normals is not None:
        agree = (sample_normals[index] * normals[:, None]).sum(-1)
        weight = weight * (agree.clamp_min(0) ** 2 + 1e-3)
    return index, weight / weight.sum(-1, keepdim=True)


def near_box(
    points: Float[Tensor, "N 3"], bounds: Float[Tensor, "2 3"], distance: float
) -> Bool[Tensor, " N"]:
    """Tell which points are nearer to a box than a distance."""
    return distance_to_box(points, bounds) < distance


def distance_to_box(points: Float[Tensor, "N 3"], bounds: Float[Tensor, "2 3"]) -> Float[Tensor, " N"]:
    """Return how far points are from a box; 0 in it."""
    beyond = torch.maximum(bounds[0] - points, points - bounds[1]).clamp_min(0)
    return beyond.norm(dim=-1)
