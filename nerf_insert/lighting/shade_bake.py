"""Baking a shade layer: the light on the scene's surface with a thing over the light without it.

The ratio is computed at samples of the scene's surface (light_parts.py). That of the nearest samples then
fills a thin shell of grid points around the surface, in which a radiance field has its density.

World coordinates and units, linear light. N, Q are numbers of points on the surface, M of grid points.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from nerf_insert.fields.shade_layer import ShadeLayer
from nerf_insert.fields.sparse_grid import SparseGrid
from nerf_insert.lighting.flat_depth import Moved
from nerf_insert.lighting.light import POINTS_AT_ONCE, Light, Occluder
from nerf_insert.lighting.light_parts import (
    CONTACT_REACH,
    KEY_REACH,
    Kind,
    distance_to_box,
    irradiance_ratios,
    nearest_samples,
)
from nerf_insert.lighting.mesh_colors import place_samples
from nerf_insert.lighting.surface import SceneSurface

FINE = 1 / 80  # spacing of samples and of the grid, as a fraction of the thing's diagonal
FADE = 0.2  # of the reach in which the change fades out
MIN_CHANGE = 0.004  # of the ratio, that is kept: less than a step of 8 bits at full brightness
MAX_FINE = 120_000  # samples
SHELL_CELLS = 2.0  # half thickness of the shell, in cells of the surface, besides its error
# Spacings by which the scene may show a surface elsewhere; farther off, many places are shown by one.
MOST_SPACINGS = 20.0
MOVED_SPACINGS = 3.0  # distance of a likely point of the surface from a sample that counts for it
AROUND = 13  # points around one, itself among them, whose median is taken
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
    away = distance_to_box(points, bounds)
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
    near = distance_to_box(vertices, bounds) < reach
    chosen = near[faces].any(-1)
    if not bool(chosen.any()):
        return None
    corners, normals = vertices[faces[chosen]], surface.normals[faces[chosen]]
    placed = place_samples(corners, normals, FINE * size, MAX_FINE)
    return placed.points, placed.normals


def median_of_neighbors(points: Float[Tensor, "N 3"], values: Float[Tensor, "N C"]) -> Float[Tensor, "N C"]:
    """Return the medians of values over each point's neighbors, without those of bumps in a rough surface."""
    from scipy.spatial import KDTree

    if len(points) < AROUND:
        return values
    index = np.asarray(KDTree(points.numpy()).query(points.numpy(), AROUND)[1], np.int64)
    parts = torch.from_numpy(index).split(POINTS_AT_ONCE)
    return torch.cat([values[part].median(1).values for part in parts])


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
