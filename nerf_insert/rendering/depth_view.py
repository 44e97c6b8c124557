"""Depth maps of the scene with the colors of the photographs that they belong to.

World coordinates and units; depth is the distance along the ray, infinity where nothing is hit. h and w are
the size of the depth map, H and W that of the colors, N a number of points or pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from nerf_insert.capture.view import View
from nerf_insert.geometry.cameras import Camera, Rays
from nerf_insert.geometry.color import srgb_to_linear
from nerf_insert.geometry.sampling import sample_bilinear
from nerf_insert.io.images import resize
from nerf_insert.rendering.shaded_samples import Rendered

TOTAL_RAYS = 60_000  # of all depth maps together
MAX_VIEWS = 30
SHARP_PIXELS = 1_000_000  # at most, of a photograph's colors
COLOR_SCALE = 2  # pixels of the colors along each side of a pixel of the depth map
EDGE_RATIO = 1.1  # of the farthest to the nearest of four pixels, above which an edge lies between them


@runtime_checkable
class Renderer(Protocol):
    """What depth views are rendered from: a `LayerStack`, or a formula in a test."""

    def render(self, rays: Rays) -> Rendered:
        """Render N rays, world coordinates."""
        ...

    def render_image(self, camera: Camera) -> Rendered:
        """Render all pixels of a camera: [H, W, 3], [H, W], [H, W]."""
        ...


@dataclass(frozen=True, eq=False, kw_only=True)
class DepthView:
    """A camera, the depth of the scene at its pixels and, where given, the photograph's colors."""

    camera: Camera
    depth: Float[Tensor, "h w"]
    color: Float[Tensor, "H W 3"] | None = None  # linear light, in a size of its own
    valid: Bool[Tensor, "h w"] | None = None  # pixels whose depth is known; None: all

    def points(self) -> Float[Tensor, "P 3"]:
        """Return the surface points that the pixels show, world coordinates."""
        seen = self.depth.isfinite() if self.valid is None else self.valid & self.depth.isfinite()
        return self.camera.rays()[seen.reshape(-1)].at(self.depth[seen])

    def depth_at(self, pixels: Float[Tensor, "N 2"], interpolate: bool = True) -> Float[Tensor, " N"]:
        """Return the depth at pixel coordinates (x, y) of `camera`.

        Args:
            pixels: Coordinates; those outside the image are moved to its border.
            interpolate: Interpolate on surfaces; at their edges, or without it, take the nearest pixel.
        """
        return sample_depth(self.depth, pixels) if interpolate else nearest_pixel(self.depth, pixels)

    def color_at(self, pixels: Float[Tensor, "N 2"]) -> Float[Tensor, "N 3"]:
        """Return the color (linear light) at pixel coordinates (x, y) of `camera`, interpolated."""
        assert self.color is not None, "a depth view without colors"
        height, width = self.color.shape[:2]
        scale = pixels.new_tensor([width / self.camera.width, height / self.camera.height])
        return sample_bilinear(self.color, pixels * scale)

    def visibility(
        self, points: Float[Tensor, "N 3"], tolerance: float
    ) -> tuple[Bool[Tensor, " N"], Bool[Tensor, " N"]]:
        """Return which points lie in the image, and which of these the scene does not hide.

        Args:
            points: World coordinates.
            tolerance: How far the scene may lie in front of a point without hiding it, world units.
        """
        projection = self.camera.project(points)
        unoccluded = self.depth_at(projection.pixels) > projection.distance - tolerance
        return projection.inside, projection.inside & unoccluded


def render_depth_views(
    scene: Renderer, views: Sequence[View], total_rays: int = TOTAL_RAYS, max_views: int = MAX_VIEWS
) -> list[DepthView]:
    """Render small depth maps of some views, evenly spread over all of them.

    Args:
        scene: What is rendered.
        views: The photographs; at most `max_views` of them are used.
        total_rays: Rays of all depth maps together, about.
        max_views: Most depth maps.

    Raises:
        InputError: If a photograph cannot be read.
    """
    chosen = _spread(views, max_views)
    depth_views = []
    for view in chosen:
        pixels = view.camera.width * view.camera.height
        camera = view.camera.scaled(min(1.0, (total_rays / len(chosen) / pixels) ** 0.5))
        size = (COLOR_SCALE * camera.width, COLOR_SCALE * camera.height)
        color = srgb_to_linear(view.photograph())
        if size[0] <= view.size[0] and size[1] <= view.size[1]:
            color = resize(color, size)
        depth_views.append(DepthView(camera=camera, depth=scene.render_image(camera).depth, color=color))
    return depth_views


def with_photographs(depth_views: Sequence[DepthView], views: Sequence[View]) -> list[DepthView]:
    """Return depth views with the colors of whole photographs, for what is finer than their depth.

    Args:
        depth_views: As `render_depth_views` returns them for these views.
        views: The photographs.

    Raises:
        InputError: If a photograph cannot be read.
    """
    chosen = _spread(views, len(depth_views))
    colors = (srgb_to_linear(view.photograph(_shrunk(view.size))) for view in chosen)
    return [replace(view, color=color) for view, color in zip(depth_views, colors, strict=True)]


def _spread(views: Sequence[View], most: int) -> list[View]:
    """Choose at most so many views, evenly spread."""
    count = min(most, len(views))
    return [views[k * len(views) // count] for k in range(count)]


def _shrunk(size: tuple[int, int]) -> tuple[int, int]:
    factor = min(1.0, (SHARP_PIXELS / (size[0] * size[1])) ** 0.5)
    return max(1, round(size[0] * factor)), max(1, round(size[1] * factor))


def sample_depth(depth: Float[Tensor, "h w"], pixels: Float[Tensor, "N 2"]) -> Float[Tensor, " N"]:
    """Sample a depth map at pixel coordinates: interpolated on surfaces, the nearest pixel at their edges.

    Inverse depth is interpolated, which is linear on a plane.
    """
    height, width = depth.shape
    x, y = pixels[:, 0] - 0.5, pixels[:, 1] - 0.5
    left, top = x.floor().clamp(0, max(width - 2, 0)), y.floor().clamp(0, max(height - 2, 0))
    fx, fy = (x - left).clamp(0, 1), (y - top).clamp(0, 1)
    x0, y0 = left.long(), top.long()
    x1, y1 = (x0 + 1).clamp_max(width - 1), (y0 + 1).clamp_max(height - 1)
    corners = torch.stack([depth[y0, x0], depth[y0, x1], depth[y1, x0], depth[y1, x1]], -1)
    weight = torch.stack([(1 - fx) * (1 - fy), fx * (1 - fy), (1 - fx) * fy, fx * fy], -1)
    smooth = 1 / (weight / corners.clamp_min(1e-9)).sum(-1)
    nearest = corners.gather(-1, weight.argmax(-1, keepdim=True))[:, 0]
    return torch.where(corners.amax(-1) < EDGE_RATIO * corners.amin(-1), smooth, nearest)


def nearest_pixel(values: Float[Tensor, "h w"], pixels: Float[Tensor, "N 2"]) -> Float[Tensor, " N"]:
    """Return the values of the pixels that coordinates (x, y) lie in."""
    x, y = pixels.long().unbind(-1)
    return values[y.clamp(0, values.shape[0] - 1), x.clamp(0, values.shape[1] - 1)]
