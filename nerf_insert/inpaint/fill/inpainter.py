"""The inpainter `fill`: removing the content of a region, without learned weights.

Behind the region there is the scene itself, rendered with the region empty. What nobody ever saw is where
the object stood on something or hid a wall: the flat surfaces around the region are found, the photographs
are projected onto them as textures, and what no photograph shows clear of the object is completed from its
surroundings. Every view is painted from the same textures and the same scene, so all views agree.

The object's shadow outside the region is taken back by a shade layer (lighting/shade_removal.py); reflections
stay. World coordinates and units; N rays.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, no_type_check

import torch
from jaxtyping import Float
from msgspec import Meta
from torch import Tensor

from nerf_insert.geometry.cameras import Rays
from nerf_insert.geometry.planes import find_planes
from nerf_insert.inpaint.api import EditContext, Inpainter, InpaintView
from nerf_insert.inpaint.fill.depth_views import (
    FAR_DISTANCE,
    RegionDepthView,
    content_box,
    render_region_views,
)
from nerf_insert.inpaint.fill.observations import PlaneObservations
from nerf_insert.inpaint.fill.surfaces import TexelGrid, TexturedPlane, is_hidden_by_object, make_texture
from nerf_insert.inpaint.guide import Guide
from nerf_insert.io.images import to_uint8
from nerf_insert.io.schema import parse
from nerf_insert.regions.region import Region

REGION_REACH, CONTENT_REACH = 2.0, 3.2  # radius that is looked at, in those of the region and of its content


class FillInpainter(Inpainter):
    """Paints what is behind and below the region's content. Text, images and meshes are not used."""

    rounds = 1  # painting again would give the same images
    consistent = True
    removes = True
    shadow = "cast"
    blend_width = 0.0  # a blend would keep some of what is removed
    uses_render = "none"  # it reads the photographs and renders the scene behind the region itself

    @no_type_check  # options come from recipes, unchecked
    def __init__(self, *, planes: int = 3, keep_seen: bool | None = None):
        """Check the options.

        Args:
            planes: Most flat surfaces to look for around the region; with 0, everything is painted from the
                scene behind it.
            keep_seen: Whether a surface that passes through the region stays as it is where photographs
                show it clear of the object. If not, all of it in the region is completed from outside, so
                that flat content is removed too: a poster on a wall, a shadow that was marked with its
                object. None: it stays if an object stands on it in the region; if not, something flat must
                be meant.

        Raises:
            InputError: An option has an impossible value.
        """
        where = "inpainter_options"
        self.planes = parse(planes, Annotated[int, Meta(ge=0, le=20)], f"{where}.planes")
        self.keep_seen = parse(keep_seen, bool | None, f"{where}.keep_seen")

    def prepare(self, context: EditContext) -> None:
        """Find the flat surfaces around the region and make their textures."""
        self.scene, self.region = context.scene, context.region
        self.surfaces: list[TexturedPlane] = []
        if not self.planes or not context.views:
            return
        steps = 2 * len(context.views) + self.planes
        with context.progress.task("Looking behind what is to be removed", total=steps) as task:
            center, size = content_box(self.scene, self.region, context.views)
            radius = min(REGION_REACH * self.region.diagonal, CONTENT_REACH * size) / 2
            views = render_region_views(self.scene, self.region, context.views, center, radius, task)
            eyes = torch.stack([view.camera.center for view in context.views])
            points = _points_around(views, self.region, center, radius)
            planes = find_planes(points, eyes, radius, self.planes, context.seed)
            photographs = [to_uint8(view.photograph()) for view in context.views]
            grids = [TexelGrid.around(plane, center, radius, views, photographs) for plane in planes]
            observed = [PlaneObservations(grid.plane, grid.points) for grid in grids]
            for view, photograph in zip(views, photographs, strict=True):
                for observations in observed:
                    observations.add(view, photograph)
                task.advance(1)
            pairs = [*zip(grids, observed, strict=True)]
            keep = self.keep_seen
            if keep is None:
                keep = any(is_hidden_by_object(*pair, self.region) for pair in pairs)
            for grid, observations in pairs:
                surface = make_texture(grid, observations, self.scene, self.region, keep, context.seed)
                self.surfaces += [surface] if surface else []
                task.advance(1)

    def inpaint(
        self, views: Sequence[InpaintView], guide: Guide, *, strength: float, seed: int
    ) -> list[Float[Tensor, "H W 3"]]:
        """Paint the scene without the region's content; `strength` and `seed` make no difference."""
        return [self._paint(view) for view in views]

    def _paint(self, view: InpaintView) -> Float[Tensor, "H W 3"]:
        painted = view.original.clone()
        painted[view.mask] = self.colors(view.camera.rays()[view.mask.reshape(-1)])
        return painted

    def colors(self, rays: Rays) -> Float[Tensor, "N 3"]:
        """Return the colors (sRGB) that rays see once the region's content is removed."""
        behind = self.scene.render(rays, exclude=self.region)
        rgb = behind.rgb
        if not self.surfaces:
            return rgb
        points = rays.at(behind.depth.clamp_max(FAR_DISTANCE))
        distances = torch.stack([surface.plane.hit(rays) for surface in self.surfaces])
        for nth in distances.argsort(0, descending=True):  # the farthest first, the nearest over it
            for k, surface in enumerate(self.surfaces):
                plane = surface.plane
                visible = distances[k].isfinite() & (plane.height(points) < plane.tolerance)
                index = ((nth == k) & visible).nonzero()[:, 0]
                color, opacity = surface.sample(rays[index].at(distances[k, index]))
                rgb[index] += opacity[:, None] * (color - rgb[index])
        return rgb.clamp(0, 1)


def _points_around(
    views: Sequence[RegionDepthView], region: Region, center: Float[Tensor, " 3"], radius: float
) -> Float[Tensor, "P 3"]:
    """The points that the views see near `center`, outside of the region."""
    points = torch.cat([view.points() for view in views])
    points = points[(points - center).norm(dim=-1) < radius]
    return points[~region.contains(points)]
