"""Compositing a shaded mesh into a photograph: antialiased, and hidden by what is in front of it.

World coordinates and units. H and W are the view's height and width, M a number of pixels, R of rays.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from nerf_insert.fields.shade_layer import ShadeLayer
from nerf_insert.geometry.cameras import Camera, Rays
from nerf_insert.geometry.color import linear_to_srgb, srgb_to_linear
from nerf_insert.inpaint.api import InpaintView
from nerf_insert.lighting.shading import ShadedMesh, Shadow
from nerf_insert.lighting.surface import SceneSurface
from nerf_insert.rendering.depth_view import DepthView

PIXELS_AT_ONCE = 1 << 15
RAYS_PER_SIDE = 6  # of a pixel
FOOTPRINT = 1.4  # pixels across that light of one comes from: a photograph is a little soft
CLEAR = 1.5  # pixels beside one that shows the mesh alone that show it, too
CORNERS = torch.tensor([[-1.0, -1.0], [-1.0, 1.0], [1.0, -1.0], [1.0, 1.0]])
SHOULDER = 0.8  # linear values above it are compressed so that 1 is never passed
MIN_SLANT = 0.1  # cosine between ray and surface, at which the tolerance in depth stops growing
MIN_FLOATER_VIEWS = (
    3  # and this many times as many as those that confirm it: views that see through a floater
)


class MeshCompositor:
    """Composites one shaded mesh, with its shadow, into any view of the scene."""

    def __init__(
        self,
        shaded: ShadedMesh,
        shadow: Shadow | None,
        surface: SceneSurface,
        depth_views: Sequence[DepthView],
        shade: ShadeLayer | None = None,
    ):
        """Keep what views are composited from.

        Args:
            shaded: The mesh in the scene's light.
            shadow: On the scene's surface; None: there is none.
            surface: The scene's surface.
            depth_views: The views that the surface was fused from.
            shade: The shade layer that lies below the edit, whose shadow goes on in the region.
        """
        self.shaded, self.shadow, self.surface, self.depth_views = shaded, shadow, surface, depth_views
        self.shade = shade
        # What lies less than this in front of the mesh may be the scene's error and does not hide it.
        self.margin = 0.005 * shaded.size + 4 * depth_error(surface, depth_views)

    def composite(self, view: InpaintView) -> Float[Tensor, "H W 3"]:
        """Return the photograph (sRGB) with the mesh and its shadow where the view's mask is true."""
        linear = srgb_to_linear(view.original)
        masked = view.mask.nonzero()
        if self.shadow is not None and len(masked):
            linear[tuple(masked.T)] *= self._shadow_factor(self.shadow, view, masked)
        if self.shade is not None and len(masked):
            rays = view.camera.rays_through(masked.flip(-1) + 0.5)
            depth = view.depth[tuple(masked.T)]
            shown = depth.isfinite()
            linear[tuple(masked[shown].T)] *= self.shade.ratio(rays[shown].at(depth[shown]))
        for pixels in self._near_mesh(view.camera, view.mask).nonzero().split(PIXELS_AT_ONCE):
            light, coverage = self._mesh_light(view, pixels)
            at = tuple(pixels.T)
            linear[at] = light + (1 - coverage[:, None]) * linear[at]
        return torch.where(view.mask[..., None], linear_to_srgb(linear), view.original)

    def distances(self, rays: Rays) -> Float[Tensor, " R"]:
        """Return where along pixels' rays the mesh is; NaN where a pixel may show something else, too."""
        rays = rays.to(torch.device("cpu"))
        distance, known = self._bare(rays)
        for number, camera in enumerate(rays.cameras):
            index = (known & (rays.camera_index == number)).nonzero()[:, 0]
            if len(index):
                centers = camera.project(rays[index].at(distance[index])).pixels
                corners = (centers[:, None] + CLEAR * CORNERS).view(-1, 2)
                known[index] = self._bare(camera.rays_through(corners))[1].view(-1, len(CORNERS)).all(1)
        return torch.where(known, distance, torch.nan)

    def _bare(self, rays: Rays) -> tuple[Float[Tensor, " R"], Bool[Tensor, " R"]]:
        """How far each ray goes to the mesh, and whether it meets it before the scene's surface."""
        scene, mesh = self.surface.cast(rays), self.shaded.mesh.cast(rays)
        return mesh.distance, mesh.hit & (scene.distance >= mesh.distance - self.margin)

    def _near_mesh(self, camera: Camera, mask: Bool[Tensor, "H W"]) -> Bool[Tensor, "H W"]:
        """The masked pixels that may show some of the mesh: a ray near by meets it."""
        searched = _dilated(mask)
        pixels = searched.nonzero()
        searched[tuple(pixels.T)] = self.shaded.mesh.cast(camera.rays_through(pixels.flip(-1) + 0.5)).hit
        return _dilated(searched) & mask

    def _mesh_light(
        self, view: InpaintView, pixels: Int64[Tensor, "M 2"]
    ) -> tuple[Float[Tensor, "M 3"], Float[Tensor, " M"]]:
        """The mesh's light in each pixel (row, column), and the fraction of the pixel that it covers."""
        step = ((torch.arange(RAYS_PER_SIDE) + 0.5) / RAYS_PER_SIDE - 0.5) * FOOTPRINT + 0.5
        within = torch.cartesian_prod(step, step)
        xy = (pixels[:, None] + within).reshape(-1, 2).flip(-1)
        rays = view.camera.rays_through(xy)
        hits = self.shaded.mesh.cast(rays)
        shown = hits.hit & ~self._is_hidden(view, xy, rays, hits.distance)
        index = shown.nonzero()[:, 0]
        light = torch.zeros(len(xy), 3)
        face, draw = hits.face[index], index % RAYS_PER_SIDE**2
        radiance = self.shaded.radiance(face, hits.barycentric[index], rays.directions[index], draw)
        # Where each ray follows one direction of a lobe, only a pixel's mean is what an eye sees.
        finished = self.shaded.has_finish[face].nonzero()[:, 0]
        if len(finished):
            radiance[finished] = mean_of_groups(radiance[finished], index[finished] // RAYS_PER_SIDE**2)
        light[index] = compress_highlights(radiance)
        light = light.view(-1, RAYS_PER_SIDE**2, 3).mean(1)
        return light, shown.view(-1, RAYS_PER_SIDE**2).float().mean(1)

    def _is_hidden(
        self, view: InpaintView, xy: Float[Tensor, "R 2"], rays: Rays, distance: Float[Tensor, " R"]
    ) -> Bool[Tensor, " R"]:
        """Whether the scene hides the mesh, which lies at `distance`, at pixel coordinates.

        Depth is known at the centers of pixels; a ray between them goes with the nearer half of them.
        """
        height, width = view.depth.shape
        corner = (xy - 0.5).floor()
        fraction = xy - 0.5 - corner
        total = torch.zeros(len(xy))
        for dx in (0, 1):
            for dy in (0, 1):
                column = (corner[:, 0].long() + dx).clamp(0, width - 1)
                row = (corner[:, 1].long() + dy).clamp(0, height - 1)
                weight = (1 - (dx - fraction[:, 0]).abs()) * (1 - (dy - fraction[:, 1]).abs())
                total += weight * (view.depth[row, column] < distance - self.margin)
        hidden = (total > 0.5).nonzero()[:, 0]
        column, row = xy[hidden].long().T  # a pixel's rays reach a little beyond it, and the image
        column, row = column.clamp(0, width - 1), row.clamp(0, height - 1)
        in_front = rays[hidden].at(view.depth[row, column])
        out = torch.zeros(len(xy), dtype=torch.bool)
        out[hidden] = ~self._is_floater(in_front)
        return out

    def _is_floater(self, points: Float[Tensor, "R 3"]) -> Bool[Tensor, " R"]:
        """Which points of the scene's depth are no surface at all: most other views see through them."""
        through, confirmed = torch.zeros(len(points)), torch.zeros(len(points))
        for view in self.depth_views if len(points) else ():
            projection = view.camera.project(points)
            beyond = view.depth_at(projection.pixels) - projection.distance
            through += projection.inside & (beyond > 2 * self.margin)
            confirmed += projection.inside & (beyond.abs() <= 2 * self.margin)
        return (through > 3 * confirmed) & (through > MIN_FLOATER_VIEWS)

    def _shadow_factor(
        self, shadow: Shadow, view: InpaintView, pixels: Int64[Tensor, "M 2"]
    ) -> Float[Tensor, "M 3"]:
        """The factor on the photograph's linear light at pixels (row, column)."""
        rays = view.camera.rays_through(pixels.flip(-1) + 0.5)
        hits = self.surface.cast(rays)
        slant = (self.surface.front[hits.face] * rays.directions).sum(-1).abs().clamp_min(MIN_SLANT)
        difference = (hits.distance - view.depth[tuple(pixels.T)]).abs()
        # The pixel shows the surface, and nothing thin before it that the fusion has lost.
        shown = hits.hit & (difference < (self.margin + self.surface.cell) / slant)
        return torch.where(shown[:, None], shadow.factor(hits), 1.0)


def compress_highlights(linear: Float[Tensor, "*N"]) -> Float[Tensor, "*N"]:
    """Return linear light unchanged up to SHOULDER, approaching 1 above."""
    rest = 1 - SHOULDER
    return torch.where(linear <= SHOULDER, linear, 1 - rest * torch.exp(-(linear - SHOULDER) / rest))


def mean_of_groups(values: Float[Tensor, "N C"], group: Int64[Tensor, " N"]) -> Float[Tensor, "N C"]:
    """Return, in place of each value, the mean of all values with the same group."""
    total = values.new_zeros(int(group.max()) + 1, values.shape[1]).index_add_(0, group, values)
    return (total / torch.bincount(group)[:, None].clamp_min(1))[group]


def depth_error(surface: SceneSurface, depth_views: Sequence[DepthView]) -> float:
    """The median difference along rays between the depth of one view and the surface fused from all."""
    differences = []
    for view in depth_views:
        hits = surface.cast(view.camera.rays())
        depth = view.depth.reshape(-1)
        both = hits.hit & depth.isfinite()
        differences.append((hits.distance - depth)[both].abs())
    differences = torch.cat(differences)
    return float(differences.median()) if len(differences) else 0.0


def _dilated(mask: Bool[Tensor, "H W"]) -> Bool[Tensor, "H W"]:
    """The mask and all pixels beside it."""
    return torch.nn.functional.max_pool2d(mask[None].float(), 3, stride=1, padding=1)[0] > 0
