"""Depth of the scene around a region, as it is and with the region empty.

World coordinates and units; depth is the distance along the ray. h and w are the size of a depth map.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from nerf_insert.capture.view import View
from nerf_insert.geometry.cameras import Camera
from nerf_insert.geometry.planes import Plane
from nerf_insert.regions.region import Region
from nerf_insert.rendering.depth_view import DepthView
from nerf_insert.rendering.stack import LayerStack
from nerf_insert.runtime.progress import Task

TOTAL_RAYS = 120_000  # of all depth maps together
PROBE_RAYS = 20_000  # of all views together, to find out where in a region something is
MIN_PROBE_POINTS = 50  # that have to be found there
OUTLIER_FRACTION = 0.01  # of those points that may lie beyond either end of the content's box
PROBE_SIDE = 64  # pixels, of the images in which the rays that come near a point are counted
FAR_DISTANCE = 1e6  # stands for "nothing is hit" where a finite number is needed


@dataclass(frozen=True, eq=False, kw_only=True)
class RegionDepthView(DepthView):
    """What one view shows within a ball around the region."""

    valid: Bool[Tensor, "h w"] = field()  # the pixels whose rays meet the ball
    view: View  # whose photograph is finer than the depth map
    empty_depth: Float[Tensor, "h w"]  # if the region were empty; 0 where the ray misses the region

    def heights(self, plane: Plane, depth: Float[Tensor, "h w"]) -> Float[Tensor, "h w"]:
        """Return the heights over a plane of the points at a depth along each pixel's ray."""
        points = self.camera.rays().at(depth.reshape(-1).clamp_max(FAR_DISTANCE))
        return plane.height(points).view_as(depth)

    def locate(self, points: Float[Tensor, "N 3"]) -> tuple[Tensor, Tensor, Tensor]:
        """Return which points fall on valid pixels, and on which of their columns and rows."""
        projected = self.camera.project(points)
        index = projected.inside.nonzero()[:, 0]
        x, y = projected.pixels[index].long().unbind(-1)
        valid = self.valid[y, x]
        return index[valid], x[valid], y[valid]


def content_box(
    scene: LayerStack, region: Region, views: Sequence[View]
) -> tuple[Float[Tensor, " 3"], float]:
    """Find what the views see in the region.

    A region may reach far before or behind what was marked, as a hull of masks from one side does.

    Args:
        scene: The scene.
        region: The region.
        views: The photographs.

    Returns:
        Center and diagonal of the content's box; the region's own where nothing is seen in it.
    """
    center, radius = region.bounds.mean(0), region.diagonal / 2
    points = []
    for camera in _scaled(views, center, radius, PROBE_RAYS):
        rays = camera.rays()
        rays = rays[region.entry(rays).isfinite()]
        met = rays.at(scene.render(rays).depth.clamp_max(FAR_DISTANCE))
        points.append(met[region.contains(met)])
    found = torch.cat(points)
    if len(found) < MIN_PROBE_POINTS:
        return center, region.diagonal
    ends = torch.stack([found.quantile(OUTLIER_FRACTION, 0), found.quantile(1 - OUTLIER_FRACTION, 0)])
    return ends.mean(0), float((ends[1] - ends[0]).norm())


def render_region_views(
    scene: LayerStack,
    region: Region,
    views: Sequence[View],
    center: Float[Tensor, " 3"],
    radius: float,
    task: Task,
    total_rays: int = TOTAL_RAYS,
) -> list[RegionDepthView]:
    """Render what all views show within a ball, with the region's content and without it.

    Args:
        scene: The scene.
        region: The region.
        views: The photographs.
        center: Of the ball, world coordinates.
        radius: Of the ball, world units.
        task: Advanced by one for each view.
        total_rays: Rays of all depth maps together, about.
    """
    depth_views = []
    for view, camera in zip(views, _scaled(views, center, radius, total_rays), strict=True):
        valid = _meets(camera, center, radius)
        rays = camera.rays()[valid.reshape(-1)]
        depth, empty_depth = torch.full(valid.shape, float("inf")), torch.zeros(valid.shape)
        depth[valid] = scene.render(rays).depth
        crossing = region.entry(rays).isfinite()
        behind = torch.zeros(rays.count)
        behind[crossing] = scene.render(rays[crossing], exclude=region).depth
        empty_depth[valid] = behind
        depth_views.append(
            RegionDepthView(camera=camera, depth=depth, valid=valid, view=view, empty_depth=empty_depth)
        )
        task.advance(1)
    return depth_views


def _scaled(views: Sequence[View], center: Float[Tensor, " 3"], radius: float, rays: int) -> list[Camera]:
    """Scale the views' cameras so that about so many rays come within `radius` of `center`."""
    tiny = [view.camera.scaled(min(1, PROBE_SIDE / max(view.size))) for view in views]
    fractions = [float(_meets(camera, center, radius).float().mean()) for camera in tiny]
    pixels = sum(
        fraction * view.size[0] * view.size[1] for fraction, view in zip(fractions, views, strict=True)
    )
    scale = min(1.0, (rays / max(pixels, 1)) ** 0.5)
    return [view.camera.scaled(scale) for view in views]


def _meets(camera: Camera, center: Float[Tensor, " 3"], radius: float) -> Bool[Tensor, "h w"]:
    """The pixels whose rays come within `radius` of a point."""
    rays = camera.rays()
    along = ((center - rays.origins) * rays.directions).sum(-1).clamp_min(0)
    gap = (rays.at(along) - center).norm(dim=-1)
    return (gap < radius).view(camera.height, camera.width)
