"""The inpainter `fill`: removing the content of a region, without learned weights.

Behind the region there is the scene itself, rendered with the region empty. What nobody ever saw is where
the object stood on something or hid a wall: the flat surfaces around the region are found, the photographs
are projected onto them as textures, and what no photograph shows clear of the object is completed from its
surroundings. Every view is painted from the same textures and the same scene, so all views agree.

The object's shadow is taken back, in the textures and, outside of the region, by a shade layer
(lighting/shade_removal.py); reflections stay. World coordinates and units; N rays.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, NamedTuple, no_type_check

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from msgspec import Meta
from torch import Tensor

from nerf_insert.geometry.cameras import Rays
from nerf_insert.geometry.masks import inner_distance
from nerf_insert.geometry.planes import find_planes
from nerf_insert.geometry.sampling import sample_bilinear
from nerf_insert.inpaint.api import EditContext, Inpainter, InpaintView
from nerf_insert.inpaint.fill.depth_views import (
    FAR_DISTANCE,
    RegionDepthView,
    content_box,
    render_region_views,
)
from nerf_insert.inpaint.fill.observations import PlaneObservations
from nerf_insert.inpaint.fill.shading import continue_shade, log_ratio
from nerf_insert.inpaint.fill.surfaces import (
    TexelGrid,
    TexturedPlane,
    UnfinishedPlane,
    draw_texture,
    is_hidden_by_object,
)
from nerf_insert.inpaint.fill.texture import LOG_OFFSET
from nerf_insert.inpaint.guide import Guide
from nerf_insert.io.images import to_uint8
from nerf_insert.io.schema import parse
from nerf_insert.lighting.removed_shadow import removed_shadow
from nerf_insert.regions.region import Region

SPARSE, MIN_SHADE_POINTS, MIN_SHADE_VIEWS = 4, 20, 5  # of a depth map's points; points and views to compare
BORDER = 5  # pixels around a mask whose shade is continued into it
SHINY = 0.03  # deviation of a surface's shade between views from which its layer depends on the direction
BELOW = 2.0  # tolerances of a surface, from which a point behind it is no rough depth of its own
REGION_REACH, CONTENT_REACH = 2.0, 3.2  # radius that is looked at, in those of the region and of its content


class Met(NamedTuple):
    """What some rays meet of one surface.

    Attributes:
        surface: Its number.
        index: The rays.
        distance: Along each of them, world units.
        color: sRGB.
        opacity: 0..1.
    """

    surface: int
    index: Int64[Tensor, " K"]
    distance: Float[Tensor, " K"]
    color: Float[Tensor, "K 3"]
    opacity: Float[Tensor, " K"]


class FillInpainter(Inpainter):
    """Paints what is behind and below the region's content. Text, images and meshes are not used."""

    rounds = 1  # painting again would give the same images
    consistent = True
    removes = True
    shadow = "cast"
    shades = True
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
        """Find the flat surfaces around the region and make their textures, without the object's shadow."""
        self.scene, self.region, self.shade = context.scene, context.region, None
        self.surfaces: list[TexturedPlane] = []
        self.shiny: list[bool] = []  # of each, whether its shade differs from view to view
        if not context.views:
            return
        place, views, photographs, unfinished = self._find_surfaces(context)
        self.surfaces = [plane.surface for plane in unfinished]
        if context.shadow != "none":
            self._take_back_shadow(context)
        with context.progress.task("Completing what was hidden", total=len(unfinished)) as task:
            for k, plane in enumerate(unfinished):
                self.surfaces[k] = plane.complete(self.shade, context.seed)
                self.shiny.append(self._varies(self.surfaces[k], views, photographs, *place))
                task.advance(1)
        self.view_dependent = any(self.shiny)

    def _find_surfaces(
        self, context: EditContext
    ) -> tuple[
        tuple[Float[Tensor, " 3"], float],
        list[RegionDepthView],
        list[UInt8[Tensor, "_ _ 3"]],
        list[UnfinishedPlane],
    ]:
        """Find the surfaces.

        Returns:
            The center and the diagonal of the region's content, the depth around it in all views, their
            photographs, and the surfaces.
        """
        steps = 2 * len(context.views)
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
            drawn = [draw_texture(*pair, self.scene, self.region, keep) for pair in pairs]
        return (center, size), views, photographs, [plane for plane in drawn if plane is not None]

    def _take_back_shadow(self, context: EditContext) -> None:
        """Compute the shade layer, from the surfaces found, and put it on the scene."""
        self.shade = removed_shadow(
            self.scene,
            self._depth,
            self.region,
            context.views,
            context.progress,
            seed=context.seed,
            strength=context.shadow_strength,
        )
        if self.shade is not None:
            self.scene = self.scene.with_shade(self.shade)

    def inpaint(
        self, views: Sequence[InpaintView], guide: Guide, *, strength: float, seed: int
    ) -> list[Float[Tensor, "_ _ 3"]]:
        """Paint the scene without the region's content; `strength` and `seed` make no difference."""
        return [self._paint(view) for view in views]

    def _paint(self, view: InpaintView) -> Float[Tensor, "H W 3"]:
        painted = view.original.clone()
        rgb, owner = self._composite(view.camera.rays()[view.mask.reshape(-1)])
        painted[view.mask] = rgb
        owners = torch.full(view.mask.shape, -1)
        owners[view.mask] = owner
        for k, shade in self._shades(view, owners):
            wanted = owners == k
            shaded = (painted[wanted] + LOG_OFFSET) * shade[wanted].exp() - LOG_OFFSET
            painted[wanted] = shaded.clamp(0, 1)
        return painted

    def _shades(
        self, view: InpaintView, owners: Int64[Tensor, "H W"]
    ) -> Iterator[tuple[int, Float[Tensor, "_ _ 3"]]]:
        """Yield each shiny surface, and by how much it is lighter here than its texture, as logarithms."""
        if not any(self.shiny) or not bool(view.mask.any()):
            return
        border = torch.from_numpy(inner_distance(~view.mask.numpy()) <= BORDER) & ~view.mask
        rays = view.camera.rays()[border.reshape(-1)]
        points = rays.at(self.scene.render(rays).depth.clamp_max(FAR_DISTANCE))
        around = self._in_new_light(points, view.original[border])
        for k, surface in enumerate(self.surfaces):
            if not self.shiny[k]:
                continue
            color, known = surface.seen_at(points)
            shown = torch.zeros_like(border)
            shown[border] = known
            ratio = torch.zeros_like(view.original)
            ratio[border] = torch.from_numpy(log_ratio(around.numpy(), color.numpy()))
            shade = continue_shade(ratio.numpy(), shown.numpy(), (owners == k).numpy())
            if shade is not None:
                yield k, torch.from_numpy(shade)

    def _varies(
        self,
        surface: TexturedPlane,
        views: Sequence[RegionDepthView],
        photographs: Sequence[UInt8[Tensor, "_ _ 3"]],
        center: Float[Tensor, " 3"],
        size: float,
    ) -> bool:
        """Tell whether a surface's shade near a place differs between views: a shiny table, a screen."""
        gains = []
        for view, photograph in zip(views, photographs, strict=True):
            points = view.points()[::SPARSE]
            points = points[(points - center).norm(dim=-1) < size]
            color, known = surface.seen_at(points)
            projection = view.view.camera.project(points[known])
            seen = projection.inside
            if int(seen.sum()) < MIN_SHADE_POINTS:
                continue
            shown = sample_bilinear(photograph.float() / 255, projection.pixels[seen])
            shown = self._in_new_light(points[known][seen], shown)
            gains.append(float(np.median(log_ratio(shown.numpy(), color[known][seen].numpy()))))
        return len(gains) > MIN_SHADE_VIEWS and float(np.std(gains)) > SHINY

    def _in_new_light(self, points: Float[Tensor, "N 3"], rgb: Float[Tensor, "N 3"]) -> Float[Tensor, "N 3"]:
        """Return photographed colors of points (sRGB) without the object's shadow."""
        return rgb if self.shade is None else self.shade.shade(points, rgb)

    def colors(self, rays: Rays) -> Float[Tensor, "N 3"]:
        """Return the colors (sRGB) that rays see once the region's content is removed."""
        return self._composite(rays)[0]

    def _composite(self, rays: Rays) -> tuple[Float[Tensor, "N 3"], Int64[Tensor, " N"]]:
        """Return the colors, and the surface that gives most of each; -1: none."""
        behind = self.scene.render(rays, exclude=self.region)
        rgb, owner = behind.rgb, torch.full((rays.count,), -1)
        for met in self._meet(rays, behind.depth):
            rgb[met.index] += met.opacity[:, None] * (met.color - rgb[met.index])
            owner[met.index[met.opacity > 0.5]] = met.surface
        return rgb.clamp(0, 1), owner

    def _depth(self, rays: Rays) -> Float[Tensor, " N"]:
        """Return the distance along rays to what they see once the region's content is removed."""
        depth = self.scene.render(rays, exclude=self.region).depth
        for met in self._meet(rays, depth.clone()):
            opaque = met.opacity > 0.5
            depth[met.index[opaque]] = met.distance[opaque]
        return depth

    def _meet(self, rays: Rays, depth: Float[Tensor, " N"]) -> Iterator[Met]:
        """Yield what rays meet of the surfaces, the farthest first; the rest of the scene has this depth."""
        if not self.surfaces:
            return
        points = rays.at(depth.clamp_max(FAR_DISTANCE))
        distances = torch.stack([surface.plane.hit(rays) for surface in self.surfaces])
        for nth in distances.argsort(0, descending=True):  # the farthest first, the nearest over it
            for k, surface in enumerate(self.surfaces):
                plane = surface.plane
                visible = distances[k].isfinite() & (plane.height(points) < plane.tolerance)
                index = ((nth == k) & visible).nonzero()[:, 0]
                below = plane.height(points[index]) < -BELOW * plane.tolerance
                color, opacity = surface.sample(rays[index].at(distances[k, index]), below)
                yield Met(k, index, distances[k, index], color, opacity)


def _points_around(
    views: Sequence[RegionDepthView], region: Region, center: Float[Tensor, " 3"], radius: float
) -> Float[Tensor, "P 3"]:
    """The points that the views see near `center`, outside of the region."""
    points = torch.cat([view.points() for view in views])
    points = points[(points - center).norm(dim=-1) < radius]
    return points[~region.contains(points)]
