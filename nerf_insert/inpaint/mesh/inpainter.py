"""The inpainter `mesh`: a colored mesh in the scene's own light.

The light, the mesh's shading and its shadow are computed once, in space, and kept on the surfaces; a view
only looks them up. So all views agree, and a second round of painting would change nothing.

World coordinates and units. H and W are a view's height and width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, no_type_check

import torch
from jaxtyping import Float
from msgspec import Meta
from torch import Tensor

from nerf_insert.capture.placement import up_of
from nerf_insert.errors import InputError, RunError
from nerf_insert.geometry.cameras import Rays
from nerf_insert.geometry.mesh import Mesh
from nerf_insert.inpaint.api import EditContext, Inpainter, InpaintView
from nerf_insert.inpaint.guide import Guide
from nerf_insert.inpaint.mesh.compositor import MeshCompositor, depth_error
from nerf_insert.inpaint.mesh.light_option import GivenLight, parse_light
from nerf_insert.io.schema import LARGEST, Real, parse
from nerf_insert.lighting.depth_fusion import fuse_tsdf
from nerf_insert.lighting.flat_depth import flattened, moved_points
from nerf_insert.lighting.kept_light import KeptLight
from nerf_insert.lighting.light import Light
from nerf_insert.lighting.scene_light import find_light, light_reach
from nerf_insert.lighting.shade_bake import bake_shade
from nerf_insert.lighting.shading import DEFAULT_ROUGHNESS, ShadedMesh, cast_shadow, shade
from nerf_insert.lighting.surface import SceneSurface
from nerf_insert.lighting.surroundings import picture_surroundings
from nerf_insert.rendering.depth_view import DepthView, render_depth_views

SCENE_REACH = 2.5  # half side of the box of the scene's surface, in diagonals of the region
SURFACE_CELLS = 160  # along its sides
MIN_ROUGHNESS = 0.15  # a sharper highlight would fall between the pixels


class MeshInpainter(Inpainter):
    """Paints `guide.mesh`, its colors taken as albedo, lit like the scene and hidden by what is in front.

    Attributes:
        light_here: The light that `prepare` has chosen; None: the same from everywhere.
    """

    rounds = 1
    consistent = True
    view_dependent = True  # for the highlights
    shadow = "cast"
    shades = True
    uses_render = "mask"

    @no_type_check  # options come from recipes, unchecked
    def __init__(
        self,
        light: str | Mapping[str, Any] = "auto",
        exposure: float = 1.0,
        shadows: bool = True,
        roughness: float | None = None,
    ):
        """Check the options.

        Args:
            light: "auto" is the light that an earlier edit of this place found, or else the same as "anew",
                which estimates the scene's light from the photographs; "flat" is the same from everywhere; or
                a mapping with any of direction [x, y, z] (world axes, towards the light), angle (half of that
                under which the light is seen, degrees), key and sky [r, g, b] (linear; what a white surface
                shows that faces the light, or that lies open to the sky alone).
            exposure: A factor on the light of the object, 1 as found.
            shadows: Whether the object darkens what lies around it inside the region, where the recipe wants
                no shade layer.
            roughness: Of its surface, from 0, polished, to 1, chalk: how wide its highlights are, whatever
                the mesh's file says; None: what that says, and DEFAULT_ROUGHNESS where it says nothing.

        Raises:
            InputError: An option has an impossible value.
        """
        where = "inpainter_options"
        self.light = parse_light(light, f"{where}.light")
        self.exposure = float(parse(exposure, Annotated[Real, Meta(gt=0, le=LARGEST)], f"{where}.exposure"))
        self.shadows = parse(shadows, bool, f"{where}.shadows")
        self.roughness: float | None = None
        if roughness is not None:
            self.roughness = float(parse(roughness, Annotated[Real, Meta(ge=0, le=1)], f"{where}.roughness"))
        self._compositor: MeshCompositor | None = None

    def check(self, guide: Guide) -> None:
        """Check that there is a mesh.

        Raises:
            InputError: There is none.
        """
        if guide.mesh is None:
            raise InputError("the mesh inpainter needs --mesh: a file with the object to insert")

    def prepare(self, context: EditContext) -> None:
        """Find the scene's light and shade the mesh.

        Raises:
            InputError: There is no mesh, or no view shows it.
        """
        self.check(context.guide)
        mesh, region = context.guide.mesh, context.region
        assert mesh is not None
        with context.progress.task("Finding the scene's light", total=4) as task:
            depth_views = render_depth_views(context.scene, context.views)
            check_visible(mesh, depth_views)
            task.advance(1)
            bounds = _box(region.bounds.mean(0), SCENE_REACH * region.diagonal)
            reach = light_reach(context.views, region.bounds.mean(0), region.diagonal)
            flat = flattened(depth_views, region.bounds.mean(0), reach)
            surface = fuse_tsdf(flat, bounds, SURFACE_CELLS)
            task.advance(1)
            self.light_here = here = self._find_light(context, flat)
            light = here.light if here is not None else Light.flat()
            task.advance(1)
            shaded = self._shaded(mesh, surface, light, depth_views, context)
            shadow = None
            self.shade = None
            if context.shadow != "none":
                self.shade = bake_shade(
                    surface,
                    light,
                    shaded.as_occluder(),
                    mesh.bounds,
                    context.shadow,
                    depth_error(surface, depth_views),
                    context.shadow_strength,
                    moved_points(depth_views, flat),
                )
            elif self.shadows:
                shadow = cast_shadow(surface, light, shaded, region)
            task.advance(1)
        self._compositor = MeshCompositor(shaded, shadow, surface, depth_views, self.shade)

    def inpaint(
        self, views: Sequence[InpaintView], guide: Guide, *, strength: float = 1.0, seed: int = 0
    ) -> list[Float[Tensor, "_ _ 3"]]:
        """Composite the mesh into the photographs; `strength` and `seed` make no difference.

        Raises:
            InputError: There is no mesh.
            RunError: `prepare` was not called.
        """
        self.check(guide)
        if self._compositor is None:
            raise RunError("the mesh inpainter was not prepared: call prepare(context) before inpaint")
        return [self._compositor.composite(view) for view in views]

    def distances(self, rays: Rays) -> Float[Tensor, " N"] | None:
        """Return the distances to the mesh along the rays of pixels that show nothing else."""
        return None if self._compositor is None else self._compositor.distances(rays)

    def _shaded(
        self,
        mesh: Mesh,
        surface: SceneSurface,
        light: Light,
        depth_views: list[DepthView],
        context: EditContext,
    ) -> ShadedMesh:
        """Light the mesh, and picture what it reflects if its file describes its surface."""
        roughness = DEFAULT_ROUGHNESS if self.roughness is None else max(self.roughness, MIN_ROUGHNESS)
        light, surroundings = light.scaled(self.exposure), None
        if mesh.has_finish:
            mesh = mesh if self.roughness is None else mesh.with_roughness(self.roughness)
            estimated = self.light_here is not None and self.light_here.estimated
            up = up_of(context.views)
            surroundings = picture_surroundings(
                context.scene, surface, depth_views, mesh.bounds, up, light, estimated, self.exposure
            )
        return shade(mesh, surface, light, roughness, surroundings)

    def _find_light(self, context: EditContext, depth_views: list[DepthView]) -> KeptLight | None:
        """Return the light of the options, the one that is known here, or an estimate; None: it is flat."""
        center, size = context.region.bounds.mean(0), context.region.diagonal
        up = up_of(context.views)
        if self.light == "flat":
            return None
        if isinstance(self.light, GivenLight):
            return KeptLight(self.light.light(center, size, up), center, size, estimated=False)
        if self.light == "auto" and context.light is not None:
            return context.light
        found = find_light(context.scene, context.views, center, size, up, context.seed, depth_views)
        return KeptLight(found.light, center, size, estimated=True)


def _box(center: Float[Tensor, "3"], half: float) -> Float[Tensor, "2 3"]:
    return torch.stack([center - half, center + half])


def check_visible(mesh: Mesh, depth_views: Sequence[DepthView]) -> None:
    """Check that some view shows some of the mesh.

    Raises:
        InputError: No view has the mesh in its image, or the scene hides it in all of them.
    """
    points = torch.cat([mesh.vertices[mesh.faces].mean(1), mesh.vertices[mesh.faces.reshape(-1)]])
    tolerance = 0.05 * float((mesh.bounds[1] - mesh.bounds[0]).norm())
    inside = False
    for view in depth_views:
        in_image, visible = view.visibility(points, tolerance)
        if bool(visible.any()):
            return
        inside |= bool(in_image.any())
    low, high = ([round(x, 3) for x in corner.tolist()] for corner in mesh.bounds)
    where = f"it lies between {low} and {high} in the capture's world coordinates"
    if inside:
        raise InputError(
            f"the scene hides the mesh in every view: {where}, inside or behind something; "
            "place it with --pose"
        )
    raise InputError(f"no view has the mesh in its image: {where}; place it with --pose")
