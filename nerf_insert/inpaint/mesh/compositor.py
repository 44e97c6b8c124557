"""One view of a shaded mesh: composited into the photograph, antialiased, hidden by what is in front.

World coordinates and units. H and W are the view's height and width, M a number of pixels, R of rays.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from nerf_insert.geometry.cameras import Camera, Rays
from nerf_insert.geometry.color import linear_to_srgb, srgb_to_linear
from nerf_insert.inpaint.api import InpaintView
from nerf_insert.lighting.depth_fusion import DepthView, Surface, sample_depth
from nerf_insert.lighting.shading import ShadedMesh, Shadow

PIXELS_AT_ONCE = 1 << 15
SIDE = 6  # rays along each side of a pixel
FOOTPRINT = 1.4  # pixels across that light of one comes from: a photograph is a little soft
SHOULDER = 0.8  # linear values above it are compressed so that 1 is never passed


class Painter:
    """Paints any view; `glances` are those that `surface` was made from."""

    def __init__(
        self, shine: ShadedMesh, shadow: Shadow | None, surface: Surface, glances: Sequence[DepthView]
    ):
        self.shine, self.shadow, self.surface, self.glances = shine, shadow, surface, glances
        # What lies less than this in front of the mesh may be the base's error and does not hide it.
        self.margin = 0.005 * shine.size + 4 * _error(surface, glances)

    def paint(self, view: InpaintView) -> Float[Tensor, "H W 3"]:
        """The photograph with the object and its shadow where the view's mask is true, sRGB."""
        linear = srgb_to_linear(view.original)
        pixels = view.mask.nonzero()
        if self.shadow is not None and len(pixels):
            linear[tuple(pixels.T)] *= self._shadow_factor(view, pixels)
        for pixels in self._near_object(view.camera, view.mask).nonzero().split(PIXELS_AT_ONCE):
            light, cover = self._object(view, pixels)
            at = tuple(pixels.T)
            linear[at] = light + (1 - cover[:, None]) * linear[at]
        return torch.where(view.mask[..., None], linear_to_srgb(linear), view.original)

    def _near_object(self, camera: Camera, mask: Bool[Tensor, "H W"]) -> Bool[Tensor, "H W"]:
        """The masked pixels that may show some of the object: a ray near by meets it."""
        searched = _grow(mask)
        pixels = searched.nonzero()
        searched[tuple(pixels.T)] = self.shine.mesh.cast(camera.rays_through(pixels.flip(-1) + 0.5)).hit
        return _grow(searched) & mask

    def _object(
        self, view: InpaintView, pixels: Int64[Tensor, "M 2"]
    ) -> tuple[Float[Tensor, "M 3"], Float[Tensor, " M"]]:
        """The object's light in each pixel (row, column), and the share of the pixel that it covers."""
        step = ((torch.arange(SIDE) + 0.5) / SIDE - 0.5) * FOOTPRINT + 0.5
        within = torch.cartesian_prod(step, step)
        places = (pixels[:, None] + within).reshape(-1, 2).flip(-1)
        rays = view.camera.rays_through(places)
        hits = self.shine.mesh.cast(rays)
        shown = hits.hit & ~self._hidden(view, places, rays, hits.distance)
        index = shown.nonzero()[:, 0]
        light = torch.zeros(len(places), 3)
        light[index] = shoulder(
            self.shine.radiance(hits.face[index], hits.barycentric[index], rays.directions[index])
        )
        return light.view(-1, SIDE**2, 3).mean(1), shown.view(-1, SIDE**2).float().mean(1)

    def _hidden(
        self, view: InpaintView, places: Float[Tensor, "R 2"], rays: Rays, distance: Float[Tensor, " R"]
    ) -> Bool[Tensor, " R"]:
        """Whether the scene hides the mesh at pixel coordinates `places`.

        Depth is known at the centers of pixels; a ray between them goes with the nearer half of them.
        """
        height, width = view.depth.shape
        corner = (places - 0.5).floor()
        share = places - 0.5 - corner
        total = torch.zeros(len(places))
        for dx in (0, 1):
            for dy in (0, 1):
                column = (corner[:, 0].long() + dx).clamp(0, width - 1)
                row = (corner[:, 1].long() + dy).clamp(0, height - 1)
                weight = (1 - (dx - share[:, 0]).abs()) * (1 - (dy - share[:, 1]).abs())
                total += weight * (view.depth[row, column] < distance - self.margin)
        hidden = (total > 0.5).nonzero()[:, 0]
        column, row = places[hidden].long().T  # a pixel's rays reach a little beyond it, and the picture
        column, row = column.clamp(0, width - 1), row.clamp(0, height - 1)
        in_front = rays[hidden].at(view.depth[row, column])
        out = torch.zeros(len(places), dtype=torch.bool)
        out[hidden] = ~self._floats(in_front)
        return out

    def _floats(self, points: Float[Tensor, "R 3"]) -> Bool[Tensor, " R"]:
        """Which points of the scene's depth are no surface at all: most other views see through them."""
        through, there = torch.zeros(len(points)), torch.zeros(len(points))
        for camera, depth, _ in self.glances if len(points) else ():
            projection = camera.project(points)
            beyond = sample_depth(depth, projection.pixels) - projection.distance
            through += projection.inside & (beyond > 2 * self.margin)
            there += projection.inside & (beyond.abs() <= 2 * self.margin)
        return (through > 3 * there) & (through > 3)

    def _shadow_factor(self, view: InpaintView, pixels: Int64[Tensor, "M 2"]) -> Float[Tensor, "M 3"]:
        rays = view.camera.rays_through(pixels.flip(-1) + 0.5)
        hits = self.surface.cast(rays)
        slant = (self.surface.front[hits.face] * rays.directions).sum(-1).abs().clamp_min(0.1)
        apart = (hits.distance - view.depth[tuple(pixels.T)]).abs()
        shown = hits.hit & (apart < (self.margin + self.surface.cell) / slant)  # nothing thin is in front
        return torch.where(shown[:, None], self.shadow.factor(hits), 1.0)


def shoulder(linear: Float[Tensor, "*N"]) -> Float[Tensor, "*N"]:
    """Linear light, unchanged up to SHOULDER, approaching 1 above."""
    rest = 1 - SHOULDER
    return torch.where(linear <= SHOULDER, linear, 1 - rest * torch.exp(-(linear - SHOULDER) / rest))


def _error(surface: Surface, glances: Sequence[DepthView]) -> float:
    """The median distance along rays between the scene's depth in one view and the surface of all."""
    apart = []
    for camera, depth, _ in glances:
        hits = surface.cast(camera.rays())
        depth = depth.reshape(-1)
        both = hits.hit & depth.isfinite()
        apart.append((hits.distance - depth)[both].abs())
    apart = torch.cat(apart)
    return float(apart.median()) if len(apart) else 0.0


def _grow(mask: Bool[Tensor, "H W"]) -> Bool[Tensor, "H W"]:
    return torch.nn.functional.max_pool2d(mask[None].float(), 3, stride=1, padding=1)[0] > 0
