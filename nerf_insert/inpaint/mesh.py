"""The inpainter `mesh`: a coloured mesh in the scene's own light.

Light, shading and shadows are worked out once, in space, and kept on the surfaces; a view only looks them
up. So all views agree, and a second round of painting would change nothing.

World coordinates and units. H and W are a view's height and width, M a number of rays.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from nerf_insert.cameras import Camera, Rays
from nerf_insert.errors import InputError, RunError
from nerf_insert.fusion import Glance, Surface, far_radiance, fuse, glance, sample_depth
from nerf_insert.guide import Guide
from nerf_insert.inpaint.contract import EditContext, InpaintView
from nerf_insert.shading import cast_shadow, shade
from nerf_insert.light import DIRECTIONS, Key, Light, sphere
from nerf_insert.light_fit import estimate, gather
from nerf_insert.meshes import Mesh, to_linear, to_srgb

LIGHTS = ("auto", "flat")
SIDE = 3  # rays along each side of a pixel
SHOULDER = 0.9  # linear values above it are compressed so that 1 is never passed
REACH = 1.5  # the scene is looked at within this many diagonals of the region from its centre


class MeshInpainter:
    """Paints `guide.mesh`, its colours taken as albedo, lit like the scene and hidden by what is in front.

    light: "auto" finds the light that the photographs show; "flat" is the same from everywhere; or a
        mapping of direction [x, y, z] (world, towards the light), key [r, g, b], sky [r, g, b] (linear;
        what a white surface shows that faces the light, or lies open to the sky) and angle (half of that
        under which the light is seen, degrees).
    exposure: how much brighter the object is than that, as a factor of light.
    shadows: whether the object darkens what lies around it, as far as that is inside the region.
    """

    rounds = 1

    def __init__(self, light: str | Mapping[str, Any] = "auto", exposure: float = 1.0, shadows: bool = True):
        self.light = light if isinstance(light, str) else _light_of(light)
        if isinstance(light, str) and light not in LIGHTS:
            raise InputError(
                f"the mesh inpainter's light is one of {', '.join(LIGHTS)} or a mapping, not {light!r}"
            )
        if isinstance(exposure, bool) or not isinstance(exposure, int | float) or not 0 < exposure < math.inf:
            raise InputError(f"the mesh inpainter's exposure must be a number above 0, not {exposure!r}")
        self.exposure, self.shadows = float(exposure), bool(shadows)
        self._painter: Painter | None = None

    def check(self, guide: Guide) -> None:
        """Raises InputError if there is no mesh."""
        if guide.mesh is None:
            raise InputError("the mesh inpainter needs --mesh: a file with the object to insert")

    def prepare(self, context: EditContext) -> None:
        """Find the light and shade the mesh. Raises InputError if there is no mesh or no view sees it."""
        self.check(context.guide)
        mesh = context.guide.mesh
        _check_seen(mesh, [view.camera for view in context.views])
        with context.progress.task("Finding the scene's light", total=3) as task:
            region = context.region
            centre, size = region.bounds.mean(0), region.diagonal
            bounds = torch.stack([centre - REACH * size, centre + REACH * size])
            glances = glance(context.scene, context.views)
            surface = fuse(glances, bounds)
            task.advance(1)
            light = self.light
            if light == "flat":
                light = Light.flat()
            elif light == "auto":
                far = far_radiance(context.scene, glances, bounds, sphere())
                up = torch.nn.functional.normalize(sum(v.camera.c2w[:, 1] for v in context.views), dim=0)
                evidence = gather(surface, [surface.thing()], far, centre, size, context.seed)
                light = estimate(evidence, [surface.thing()], centre, size, up, far)
            task.advance(1)
            shine = shade(mesh, surface, light)
            shadow = cast_shadow(surface, light, shine, region) if self.shadows else None
            task.advance(1)
        self._painter = Painter(shine, shadow, surface, glances, self.exposure)

    def inpaint(
        self, views: Sequence[InpaintView], guide: Guide, *, strength: float = 1.0, seed: int = 0
    ) -> list[Float[Tensor, "H W 3"]]:
        """The photographs with the object in them; `strength` and `seed` make no difference."""
        self.check(guide)
        if self._painter is None:
            raise RunError("the mesh inpainter was not prepared: call prepare(context) first")
        return [self._painter.paint(view) for view in views]


class Painter:
    """What is kept from `prepare` to paint any view."""

    def __init__(self, shine, shadow, surface, glances, exposure):
        self.shine, self.shadow, self.surface = shine, shadow, surface
        self.glances, self.exposure = glances, exposure
        self.margin = 0.01 * self.shine.size

    def paint(self, view: InpaintView) -> Float[Tensor, "H W 3"]:
        camera = view.camera
        behind = to_linear(view.original)
        pixels = view.mask.nonzero()
        if self.shadow is not None and len(pixels):
            behind = self._shadowed(behind, view, pixels)
        near = self._near_object(camera, view.mask)
        pixels = near.nonzero()
        if len(pixels):
            light, cover = self._object(view, pixels)
            row, column = pixels.unbind(-1)
            behind[row, column] = light + (1 - cover[:, None]) * behind[row, column]
        painted = to_srgb(behind)
        return torch.where(view.mask[..., None], painted, view.original)

    def _near_object(self, camera: Camera, mask: Bool[Tensor, "H W"]) -> Bool[Tensor, "H W"]:
        """The masked pixels that may show something of the object: their centres' neighbours do."""
        grown = _grow(mask)
        met = torch.zeros_like(mask)
        centres = grown.nonzero()
        rays = camera.rays_through(centres.flip(-1) + 0.5)
        met[tuple(centres.unbind(-1))] = self.shine.mesh.cast(rays).hit
        return _grow(met) & mask

    def _object(self, view: InpaintView, pixels: Tensor) -> tuple[Float[Tensor, "M 3"], Float[Tensor, " M"]]:
        """For each pixel (row, column) the object's light, weighed by how much it covers, and that."""
        step = (torch.arange(SIDE) + 0.5) / SIDE
        inside = torch.stack(torch.meshgrid(step, step, indexing="ij"), -1).reshape(-1, 2)
        places = (pixels[:, None] + inside).reshape(-1, 2).flip(-1)
        rays = view.camera.rays_through(places)
        hits = self.shine.mesh.cast(rays)
        hidden = self._hidden(view, places, rays, hits.distance)
        shown = hits.hit & ~hidden
        light = torch.zeros(len(places), 3)
        index = shown.nonzero()[:, 0]
        light[index] = shoulder(
            self.exposure * self.shine.radiance(hits.face[index], hits.barycentric[index])
        )
        return light.view(len(pixels), -1, 3).mean(1), shown.view(len(pixels), -1).float().mean(1)

    def _hidden(self, view, places, rays, distance):
        height, width = view.depth.shape
        column, row = places.long().unbind(-1)
        return view.depth[row, column] < distance - self.margin

    def _shadowed(self, behind, view, pixels):
        row, column = pixels.unbind(-1)
        rays = view.camera.rays_through(pixels.flip(-1) + 0.5)
        hits = self.surface.cast(rays)
        same = hits.hit & ((hits.distance - view.depth[row, column]).abs() < 2 * self.surface.cell)
        factor = self.shadow(hits)
        behind[row[same], column[same]] *= factor[same]
        return behind


def shoulder(linear: Tensor) -> Tensor:
    """Linear light, unchanged up to SHOULDER, approaching 1 above."""
    rest = 1 - SHOULDER
    return torch.where(linear <= SHOULDER, linear, 1 - rest * torch.exp(-(linear - SHOULDER) / rest))


def _grow(mask: Bool[Tensor, "H W"]) -> Bool[Tensor, "H W"]:
    return torch.nn.functional.max_pool2d(mask[None].float(), 3, stride=1, padding=1)[0] > 0


def _check_seen(mesh: Mesh, cameras: Sequence[Camera]) -> None:
    for camera in cameras:
        inside = camera.project(mesh.vertices[mesh.faces.reshape(-1)]).inside
        if bool(inside.any()):
            return
    raise InputError("no view sees the mesh")
