"""Removing what is in a region, with no learned weights: the inpainter `fill`.

Behind the region there is the scene itself, rendered with the region taken to be empty. What nobody ever
saw is where the object stood on something or hid a wall: the flat surfaces around the region are found,
the photographs are drawn onto them as textures, and what no photograph shows clear of the object is
completed from its surroundings. Every view is painted from the same textures and the same scene, so all
views agree.

Shadows and reflections of the object outside the region stay. World coordinates and units; N rays.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from nerf_insert.errors import InputError
from nerf_insert.geometry.cameras import Rays
from nerf_insert.inpaint.api import EditContext, Inpainter, InpaintView
from nerf_insert.inpaint.fill.depth_views import FAR, Evidence, Sight, content, look
from nerf_insert.inpaint.fill.planes import find_planes
from nerf_insert.inpaint.fill.surfaces import Blank, Surface, paint, stands
from nerf_insert.inpaint.guide import Guide
from nerf_insert.io.images import to_uint8
from nerf_insert.regions.region import Region

AROUND, SEEN = 2.0, 3.2  # radius of what is looked at, in those of the region and of what is seen in it


class FillInpainter(Inpainter):
    """Paints what is behind and below what the region holds. Text, pictures and meshes are not used."""

    rounds = 1  # painting again would give the same pictures
    consistent = True
    blend_width = 0.0  # in a blend shell some of what is to go would stay
    uses_render = "none"  # the photographs and the scene behind the region are all that is looked at

    def __init__(self, *, planes: int = 3, keep_seen: bool | None = None):
        """`planes`: how many flat surfaces to look for around the region, at most; with 0 all is left to
        the scene behind.

        `keep_seen`: whether a surface that passes through the region stays as it is where photographs
        show it clear of the object. If not, all of it in the region is completed from outside, so that
        what is flat goes too: a picture on a wall, a shadow that was marked with its object. By default
        it stays unless nothing stands on it in the region, so that something flat must be meant.
        """
        if isinstance(planes, bool) or not isinstance(planes, int) or not 0 <= planes <= 20:
            raise InputError(f"fill's option planes must be a whole number from 0 to 20, not {planes!r}")
        if keep_seen is not None and not isinstance(keep_seen, bool):
            raise InputError(f"fill's option keep_seen must be true or false, not {keep_seen!r}")
        self.planes, self.keep_seen = planes, keep_seen

    def prepare(self, context: EditContext) -> None:
        self.scene, self.region = context.scene, context.region
        self.surfaces: list[Surface] = []
        if not self.planes or not context.views:
            return
        count = len(context.views)
        with context.progress.task("Looking behind what is to go", total=2 * count + self.planes) as task:
            middle, size = content(self.scene, self.region, context.views)
            radius = min(AROUND * float(self.region.diagonal), SEEN * float(size)) / 2
            sights = look(self.scene, self.region, context.views, middle, radius, task)
            eyes = torch.stack([view.camera.center for view in context.views])
            planes = find_planes(
                _around(sights, self.region, middle, radius), eyes, radius, self.planes, context.seed
            )
            photographs = [to_uint8(view.photograph()) for view in context.views]
            blanks = [Blank.of(plane, middle, radius, sights, photographs) for plane in planes]
            evidence = [Evidence(blank.plane, blank.points) for blank in blanks]
            for sight, photograph in zip(sights, photographs, strict=True):
                for one in evidence:
                    one.add(sight, photograph)
                task.advance(1)
            keep = self.keep_seen
            if keep is None:
                keep = any(stands(*both, self.region) for both in zip(blanks, evidence, strict=True))
            for blank, one in zip(blanks, evidence, strict=True):
                surface = paint(blank, one, self.scene, self.region, keep, context.seed)
                self.surfaces += [surface] if surface else []
                task.advance(1)

    def inpaint(
        self, views: Sequence[InpaintView], guide: Guide, *, strength: float, seed: int
    ) -> list[Float[Tensor, "H W 3"]]:
        return [self._paint(view) for view in views]

    def _paint(self, view: InpaintView) -> Float[Tensor, "H W 3"]:
        painted = view.original.clone()
        painted[view.mask] = self.colors(view.camera.rays()[view.mask.reshape(-1)])
        return painted

    def colors(self, rays: Rays) -> Float[Tensor, "N 3"]:
        """What rays see, sRGB, once the region's content is gone."""
        carved = self.scene.render(rays, exclude=self.region)
        rgb = carved.rgb
        if not self.surfaces:
            return rgb
        seen = rays.at(carved.depth.clamp_max(FAR))
        hits = torch.stack([surface.plane.hit(rays) for surface in self.surfaces])
        for row in hits.argsort(0, descending=True):  # the farthest first, the nearest over it
            for k, surface in enumerate(self.surfaces):
                plane = surface.plane
                open_ = hits[k].isfinite() & (plane.height(seen) < plane.tolerance)
                index = ((row == k) & open_).nonzero()[:, 0]
                color, share = surface.at(rays[index].at(hits[k, index]))
                rgb[index] += share[:, None] * (color - rgb[index])
        return rgb.clamp(0, 1)


def _around(
    sights: Sequence[Sight], region: Region, middle: Float[Tensor, " 3"], radius: float
) -> Float[Tensor, "P 3"]:
    """What the views see near the middle, outside of the region."""
    points = torch.cat([sight.surface() for sight in sights])
    points = points[(points - middle).norm(dim=-1) < radius]
    return points[~region.contains(points)]
