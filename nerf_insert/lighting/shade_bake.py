"""Baking a shade layer: the light on the scene's surface with a thing over the light without it.

The ratio is computed at samples of the scene's surface. Light from all around and light thrown back change
slowly from place to place: they are computed at few samples. A sharp shadow of a key light is computed at
many, but only rays that the thing stops matter there. The ratio of the nearest samples then fills a thin
shell of grid points around the surface, in which a radiance field has its density.

World coordinates and units, linear light. N, Q are numbers of points on the surface, M of grid points.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from nerf_insert.fields.shade_layer import ShadeLayer
from nerf_insert.fields.sparse_grid import SparseGrid
from nerf_insert.geometry.cameras import Rays
from nerf_insert.lighting.flat_depth import Moved
from nerf_insert.lighting.light import POINTS_AT_ONCE, DiskLight, Light, Occluder, relative_irradiances, risen
from nerf_insert.lighting.mesh_colors import place_samples
from nerf_insert.lighting.surface import SceneSurface

Kind = Literal["cast", "contact"]

COARSE = 1 / 24  # spacing of samples for light from all around, as a fraction of the thing's diagonal
FINE = 1 / 80  # the same for shadows of key lights, and of the grid
SOFT_REACH = 1.0  # how far light from all around is followed, in diagonals of the thing
KEY_REACH = 3.0  # the same for shadows of key lights
CONTACT_REACH = 0.4  # the same for a contact shadow
FADE = 0.2  # of the reach in which the change fades out
MIN_CHANGE = 0.004  # of the ratio, that is kept: less than a step of 8 bits at full brightness
MAX_FINE = 120_000  # samples
SHELL_CELLS = 2.0  # half thickness of the shell, in cells of the surface, besides its error
# Spacings by which the scene may show a surface elsewhere; farther off, many places are shown by one.
MOST_SPACINGS = 20.0
MOVED_SPACINGS = 3.0  # distance of a likely point of the surface from a sample that counts for it
AROUND = 13  # points around one, itself among them, whose median is taken
NEIGHBORS = 4  # samples that a grid point's ratio is interpolated from
MAX_RATIO = 4.0
KEY_SAMPLES = 48  # points on a key light
CLEARANCE = 0.25  # cells of the surface, that its own bumps may be high
MIN_IRRADIANCE = 1e-4
MAX_GRID = 1 << 26  # grid points of the box while it is filled


def bake_shade(
    surface: SceneSurface,
    light: Light,
    thing: Occluder,
    bounds: Float[Tensor, "2 3"],
    kind: Kind = "cast",
    error: float = 0.0,
    strength: float = 1.0,
    moved: Moved | None = None,
) -> ShadeLayer | None:
    """Compute how a thing changes the light on the surface around it.

    Args:
        surface: The scene without the thing.
        light: The scene's light.
        thing: What stands there.
        bounds: Lowest and highest corner of the box around it.
        kind: "cast": all of the light. "contact": only near the thing, and as if all light were soft.
        error: How far the surface may be from what the scene shows, world units.
        strength: Of the shade layer.
        moved: Where the scene shows parts of the surface elsewhere.

    Returns:
        The shade layer, or None if nothing around the thing changes.
    """
    size = float((bounds[1] - bounds[0]).norm())
    samples = samples_around(surface, bounds, kind)
    if samples is None:
        return None
    points, normals = samples
    ratio = irradiance_ratios(surface, light, thing, bounds, points, normals, kind)
    away = _distance_to_box(points, bounds)
    reach = size * (CONTACT_REACH if kind == "contact" else KEY_REACH)
    fade = ((reach - away) / (FADE * reach)).clamp(0, 1)[:, None]
    change = fade * (ratio - 1)
    if not bool((change.abs() > MIN_CHANGE).any()):
        return None
    points, change = with_moved(points, change, moved, FINE * size)
    changed = (change.abs() > MIN_CHANGE).any(-1)
    cell = max(FINE * size, 0.4 * surface.cell)
    grid = fill_shell(points, change, changed, cell, shell_thickness(surface, error))
    return ShadeLayer(grid, strength)


def with_moved(
    points: Float[Tensor, "N 3"], change: Float[Tensor, "N 3"], moved: Moved | None, spacing: float
) -> tuple[Float[Tensor, "Q 3"], Float[Tensor, "Q 3"]]:
    """Add the places where the scene shows the surface elsewhere, with what is known where it is likely.

    Args:
        points: Samples of the surface.
        change: A quantity there.
        moved: Where the scene shows parts of the surface elsewhere.
        spacing: Distance of neighboring samples, world units.
    """
    if moved is None or not len(moved.likely) or not len(points):
        return points, change
    low, high = points.amin(0), points.amax(0)
    near = ((moved.likely >= low) & (moved.likely <= high)).all(-1)
    away = (moved.likely - moved.shown).norm(dim=-1)
    near &= (away > spacing) & (away < MOST_SPACINGS * spacing)
    likely, shown = moved.likely[near], moved.shown[near]
    index, weight = nearest_samples(points, None, likely, None, spacing)
    close = (points[index[:, 0]] - likely).norm(dim=-1) < MOVED_SPACINGS * spacing
    there = (weight[..., None] * change[index]).sum(1)
    return torch.cat([points, shown[close]]), torch.cat([change, there[close]])


def shell_thickness(surface: SceneSurface, error: float) -> float:
    """Return how far from a surface its shade is filled in, if it may be wrong by `error`; world units."""
    return SHELL_CELLS * surface.cell + 2 * error


def samples_around(
    surface: SceneSurface, bounds: Float[Tensor, "2 3"], kind: Kind
) -> tuple[Float[Tensor, "N 3"], Float[Tensor, "N 3"]] | None:
    """Place samples on the surface as far as a thing in a box may change its light: points and normals."""
    size = float((bounds[1] - bounds[0]).norm())
    reach = size * (CONTACT_REACH if kind == "contact" else KEY_REACH)
    vertices, faces = surface.mesh.vertices, surface.mesh.faces
    near = _distance_to_box(vertices, bounds) < reach
    chosen = near[faces].any(-1)
    if not bool(chosen.any()):
        return None
    corners, normals = vertices[faces[chosen]], surface.normals[faces[chosen]]
    placed = place_samples(corners, normals, FINE * size, MAX_FINE)
    return placed.points, placed.normals


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
            hidden[k] = hidden_by_thing(key, points, normals, thing, scene, clearance)
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
    count: int = KEY_SAMPLES,
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


def median_of_neighbors(points: Float[Tensor, "N 3"], values: Float[Tensor, "N C"]) -> Float[Tensor, "N C"]:
    """Return the medians of values over each point's neighbors, without those of bumps in a rough surface."""
    from scipy.spatial import KDTree

    if len(points) < AROUND:
        return values
    index = np.asarray(KDTree(points.numpy()).query(points.numpy(), AROUND)[1], np.int64)
    parts = torch.from_numpy(index).split(POINTS_AT_ONCE)
    return torch.cat([values[part].median(1).values for part in parts])


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


def fill_shell(
    points: Float[Tensor, "N 3"],
    change: Float[Tensor, "N 3"],
    changed: Bool[Tensor, " N"],
    cell: float,
    thickness: float,
) -> SparseGrid:
    """Fill the grid points near a surface with a quantity that is known at samples of the surface.

    Args:
        points: The samples, world coordinates.
        change: The quantity; 0 where there is nothing to keep.
        changed: The samples around which grid points are filled.
        cell: Distance of neighboring grid points, world units.
        thickness: How far from the surface they are filled, world units.
    """
    kept = points[changed]
    margin = thickness + 2 * cell
    low, high = kept.amin(0) - margin, kept.amax(0) + margin
    shape = [int(n) for n in ((high - low) / cell).ceil() + 1]
    while np.prod(shape) > MAX_GRID:  # only a grid of one huge, thin box
        cell *= 1.25
        shape = [int(n) for n in ((high - low) / cell).ceil() + 1]
    # At the grid points next to samples the quantity is interpolated; others take the nearest one's.
    at = ((kept - low) / cell).round().long()
    surface = np.unique(np.ravel_multi_index(tuple(at.T.numpy()), shape))
    nearest_on_surface = np.full(int(np.prod(shape)), -1, np.int32)
    for offset in _ball(thickness / cell):
        beside = int(offset @ np.array([shape[1] * shape[2], shape[2], 1]))
        nearest_on_surface[surface + beside] = np.arange(len(surface))
    filled = np.nonzero(nearest_on_surface >= 0)[0]
    number = nearest_on_surface[filled]
    index = torch.from_numpy(np.stack(np.unravel_index(filled, shape), -1))
    places = low + cell * torch.from_numpy(np.stack(np.unravel_index(surface, shape), -1))
    nearest, weight = nearest_samples(points, None, places, None, cell)
    values = (weight[..., None] * change[nearest]).sum(1)[torch.from_numpy(number).long()]
    values = torch.where(values.abs() < MIN_CHANGE, 0.0, values)
    used = (values != 0).any(-1)
    return SparseGrid.from_points(low, cell, shape, index[used], values[used])


def _ball(radius: float) -> Int64[np.ndarray, "K 3"]:
    """Return the steps from a grid point to those within a radius, in cells: the farthest first."""
    steps = np.arange(-int(radius), int(radius) + 1)
    offsets = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), -1).reshape(-1, 3)
    squared = (offsets**2).sum(-1)
    order = np.argsort(-squared, kind="stable")
    return offsets[order][squared[order] <= radius**2]


def near_box(
    points: Float[Tensor, "N 3"], bounds: Float[Tensor, "2 3"], distance: float
) -> Bool[Tensor, " N"]:
    """Tell which points are nearer to a box than a distance."""
    return _distance_to_box(points, bounds) < distance


def _distance_to_box(points: Float[Tensor, "N 3"], bounds: Float[Tensor, "2 3"]) -> Float[Tensor, " N"]:
    beyond = torch.maximum(bounds[0] - points, points - bounds[1]).clamp_min(0)
    return beyond.norm(dim=-1)
