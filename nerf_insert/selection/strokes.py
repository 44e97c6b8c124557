"""What drawn masks mean, by the scene's depth. World coordinates and units; N points."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from nerf_insert.capture.view import View
from nerf_insert.errors import InputError
from nerf_insert.geometry.cameras import Camera
from nerf_insert.geometry.masks import inner_distance
from nerf_insert.geometry.sampling import sample_bilinear
from nerf_insert.regions.distance_grid import Lattice
from nerf_insert.regions.grid_region import GridRegion
from nerf_insert.regions.visual_hull import VisualHull
from nerf_insert.rendering.depth_view import Renderer

RAYS = 4000  # through a mask
MIN_SOLID = 0.5  # fraction of a mask that has to show something
MIN_ONE_DEPTH = 0.7  # fraction of that which has to be at about one distance
DEEP = 1.5  # widths of a mask within which distances are about one
MAX_STROKE = 0.04  # of a photograph: what is larger is no stroke
POINTS = 200_000  # of the grid around a stroke
THINNEST = 1.5  # pixels to each side of a surface that a stroke's region has at least
CARELESS = 0.2  # of a mask's width: how far from the thing's outline a careless stroke ends


def within_strokes(hull: VisualHull, points: Float[Tensor, "N 3"]) -> Bool[Tensor, " N"]:
    """Return which points project into all masks of a hull, or so near to them that they may be meant."""
    meant = torch.ones(len(points), dtype=torch.bool)
    for cone in hull.cones:
        away = torch.from_numpy(distance_transform_edt(~cone.mask.numpy())).float()  # type: ignore[arg-type]
        projection = cone.camera.project(points)
        found = sample_bilinear(away[..., None], projection.pixels)[:, 0]
        meant &= projection.inside & (found <= CARELESS * float(cone.mask.sum()) ** 0.5)
    return meant


def depth_box(scene: Renderer, view: View, mask: Bool[Tensor, "H W"]) -> Float[Tensor, "2 3"]:
    """Return a box that holds the thing that one mask shows, as deep as the thing is wide.

    Args:
        scene: The trained scene.
        view: The photograph that the mask was drawn on.
        mask: In the photograph's size or the view's.

    Raises:
        InputError: The mask shows nothing solid, or things at very different distances.
    """
    camera, depth = _depth_in(scene, view, mask, RAYS)
    known = depth[depth.isfinite()]
    if len(known) < MIN_SOLID * len(depth):
        raise InputError(
            f"the mask for {view.name} shows nothing solid (the sky, or a part of the scene that was not "
            "reconstructed): draw a second mask on a photograph from another side"
        )
    middle = known.median()
    width = float(middle) * float(mask.sum()) ** 0.5 / (camera.fx * mask.shape[1] / camera.width)
    near = (depth - middle).abs() < DEEP * width
    if int(near.sum()) < MIN_ONE_DEPTH * len(known):
        raise InputError(
            f"the mask for {view.name} shows things at very different distances, so that it does not say "
            "which one is meant: draw it around one thing, or draw a second one on a photograph from another "
            "side"
        )
    pixels = _some_pixels(mask, RAYS) * torch.tensor(
        [camera.width / mask.shape[1], camera.height / mask.shape[0]]
    )
    points = camera.rays_through(pixels[near]).at(depth[near])
    return torch.stack([points.amin(0) - width, points.amax(0) + width])


def under_stroke(scene: Renderer, view: View, mask: Bool[Tensor, "H W"]) -> GridRegion:
    """Return the surface that a stroke covers, half as thick to each side as the stroke is wide.

    Args:
        scene: The trained scene.
        view: The photograph that was painted on.
        mask: The stroke, in the photograph's size or the view's.

    Raises:
        InputError: There is no stroke, it is large, or it shows nothing.
    """
    share = float(mask.float().mean())
    if share == 0:
        raise InputError(f"the stroke for {view.name} is empty: paint over what is to be healed")
    if share > MAX_STROKE:
        raise InputError(
            f"the stroke for {view.name} covers {100 * share:.0f} % of the photograph; healing is for "
            "scratches and scraps of a few pixels: mark a thing with --point or --mask"
        )
    camera, depth = _depth_in(scene, view, mask, RAYS)
    seen = depth.isfinite()
    if float(seen.float().mean()) < MIN_SOLID:
        raise InputError(
            f"the stroke for {view.name} shows nothing solid (the sky, or a part of the scene that was not "
            "reconstructed): paint on what is to be healed"
        )
    scale = torch.tensor([camera.width / mask.shape[1], camera.height / mask.shape[0]])
    pixels = (_some_pixels(mask, RAYS) * scale)[seen]
    distance = depth[seen]
    points = camera.rays_through(pixels).at(distance)
    radius = float(inner_distance(np.pad(mask.numpy(), 1)).max()) * float(scale[0])
    thick = max(radius, THINNEST) * distance / camera.fx  # of each point, world units
    lattice = Lattice.over(torch.stack([points.amin(0), points.amax(0)]), 2 * float(thick.max()), POINTS)
    cells = _near_points(lattice, points, thick)
    return GridRegion.of_cells(lattice, cells)


def _near_points(
    lattice: Lattice, points: Float[Tensor, "N 3"], reach: Float[Tensor, " N"]
) -> Bool[Tensor, "X Y Z"]:
    """The lattice's points within reach of a point."""
    from scipy.spatial import KDTree

    away, nearest = KDTree(points.numpy()).query(lattice.points().numpy())
    limit = reach.clamp_min(lattice.spacing)[torch.from_numpy(np.asarray(nearest))]
    return (torch.from_numpy(np.asarray(away)).float() <= limit).view(lattice.shape)


def _some_pixels(mask: Bool[Tensor, "H W"], count: int) -> Float[Tensor, "N 2"]:
    """The middles (x, y) of a mask's pixels, or of evenly spread ones of them."""
    y, x = mask.nonzero().unbind(-1)
    chosen = torch.linspace(0, len(x) - 1, min(count, len(x))).long()
    return torch.stack([x[chosen], y[chosen]], -1) + 0.5


def _depth_in(
    scene: Renderer, view: View, mask: Bool[Tensor, "H W"], count: int
) -> tuple[Camera, Float[Tensor, " N"]]:
    """The view's camera and the distances of what the pixels of `_some_pixels` show; infinity: nothing."""
    camera = view.camera
    scale = torch.tensor([camera.width / mask.shape[1], camera.height / mask.shape[0]])
    return camera, scene.render(camera.rays_through(_some_pixels(mask, count) * scale)).depth
