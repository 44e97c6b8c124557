"""The shadow of a thing that is removed: gathered is what `take_back_shade` needs to take it back.

World coordinates and units. N is a number of rays.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from nerf_insert.capture.placement import up_of
from nerf_insert.capture.view import View
from nerf_insert.fields.shade_layer import ShadeLayer
from nerf_insert.geometry.cameras import Rays
from nerf_insert.lighting.depth_fusion import fuse_tsdf
from nerf_insert.lighting.flat_depth import flattened, moved_points
from nerf_insert.lighting.light import Occluder
from nerf_insert.lighting.new_surface import new_surface
from nerf_insert.lighting.scene_light import find_light, light_reach
from nerf_insert.lighting.shade_removal import take_back_shade
from nerf_insert.lighting.surface import surface_radiance
from nerf_insert.regions.region import Region
from nerf_insert.rendering.depth_view import DepthView, render_depth_views, with_photographs
from nerf_insert.rendering.stack import LayerStack, hits
from nerf_insert.runtime.progress import Progress

REACH = 2.5  # half side of the box in which the surface around is looked for, in diagonals of the region
CELLS = 128  # along its sides


def removed_shadow(
    scene: LayerStack,
    depth_behind: Callable[[Rays], Float[Tensor, " N"]],
    region: Region,
    views: Sequence[View],
    progress: Progress,
    *,
    seed: int = 0,
    strength: float = 1.0,
) -> ShadeLayer | None:
    """Compute what takes back the shadow of a thing that is removed.

    Args:
        scene: With the thing.
        depth_behind: Returns the distance along rays that meet the region to what they see without it.
        region: Where it is.
        views: The photographs, with it.
        progress: Where the work is reported.
        seed: Random seed of the estimate of the light.
        strength: Of the shade layer.

    Returns:
        The shade layer; None if there is no thing, or the photographs do not tell what its shadow is.

    Raises:
        InputError: A photograph cannot be read.
    """
    from scipy.spatial import KDTree

    center, half = region.bounds.mean(0), REACH * region.diagonal
    box = torch.stack([center - half, center + half])
    with progress.task("Taking the shadow back", total=4) as task:
        shown = render_depth_views(scene, views)
        after = [_without(view, depth_behind, region) for view in shown]
        reach = light_reach(views, center, region.diagonal)
        before, flat = flattened(shown, center, reach), flattened(after, center, reach)
        task.advance(1)
        surface = fuse_tsdf(flat, box, CELLS)
        thing = new_surface(scene, views, region, fuse_tsdf(after, box, CELLS))
        task.advance(1)
        if thing is None or not len(surface.mesh.faces):
            return None
        light = find_light(scene, views, center, region.diagonal, up_of(views), seed, before).light
        task.advance(1)
        sharp = with_photographs(before, views)
        thing_points = KDTree(thing.mesh.vertices[thing.mesh.faces.unique()].numpy())

        def radiance(points: Tensor, normals: Tensor) -> Tensor:
            seen = surface_radiance(sharp, points, normals, 2 * surface.cell)[0]
            away = torch.from_numpy(thing_points.query(points.numpy())[0])
            at_foot = away < surface.cell  # photographs show the thing there
            return torch.where(at_foot[:, None], math.nan, seen)

        occluder = Occluder(thing.mesh.cast, thing.as_occluder().radiance)
        moved = moved_points(after, flat)
        shade = take_back_shade(
            surface, light, occluder, thing.mesh.bounds, radiance, strength=strength, moved=moved
        )
        task.advance(1)
    return shade


def _without(
    view: DepthView, depth_behind: Callable[[Rays], Float[Tensor, " N"]], region: Region
) -> DepthView:
    """The same view if the thing were not there."""
    rays, depth = view.camera.rays(), view.depth.flatten().clone()
    index = hits(region, rays).nonzero()[:, 0]
    depth[index] = depth_behind(rays[index])
    return replace(view, depth=depth.view_as(view.depth))
