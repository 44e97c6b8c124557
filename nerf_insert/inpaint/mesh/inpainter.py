"""The inpainter `mesh`: a colored mesh in the scene's own light.

The light, the mesh's shading and its shadow are worked out once, in space, and kept on the surfaces; a
view only looks them up. So all views agree, and a second round of painting would change nothing.

World coordinates and units. H and W are a view's height and width.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from nerf_insert.errors import InputError, RunError
from nerf_insert.geometry.mesh import Mesh
from nerf_insert.inpaint.api import EditContext, Inpainter, InpaintView
from nerf_insert.inpaint.guide import Guide
from nerf_insert.inpaint.mesh.compositor import Painter
from nerf_insert.lighting.depth_fusion import DepthView, Surface, far_radiance, fuse_tsdf, glance, sees
from nerf_insert.lighting.estimation import estimate, gather
from nerf_insert.lighting.light import Key, Light, sphere
from nerf_insert.lighting.shading import ROUGHNESS, cast_shadow, shade

REACH = 1.5  # the scene is looked at within this many diagonals of the region from its center
SCOPE = 0.4  # the light is looked for within this share of the cameras' distance, if that is more
SMOOTHEST = 0.15  # a sharper highlight would fall between the pixels
AWAY = 100.0  # distance of a key light given by its direction, in diagonals of the region


class MeshInpainter(Inpainter):
    """Paints `guide.mesh`, its colors taken as albedo, lit like the scene and hidden by what is in front.

    light: "auto" finds the light that the photographs show; "flat" is the same from everywhere; or a
        mapping with any of direction [x, y, z] (world, towards the light), angle (half of that under
        which the light is seen, degrees), key and sky [r, g, b] (linear; what a white surface shows that
        faces the light, or that lies open to the sky alone).
    exposure: a factor on the light of the object, 1 as found.
    shadows: whether the object darkens what lies around it, as far as that is inside the region.
    roughness: of its surface, from 0, polished, to 1, chalk: how wide the key's highlight is on it.
    """

    rounds = 1
    consistent = True
    view_dependent = True  # for the highlights
    uses_render = "mask"

    def __init__(
        self,
        light: str | Mapping[str, Any] = "auto",
        exposure: float = 1.0,
        shadows: bool = True,
        roughness: float = ROUGHNESS,
    ):
        self.light = check_light(light)
        if isinstance(exposure, bool) or not isinstance(exposure, int | float) or not 0 < exposure < math.inf:
            raise InputError(f"the mesh inpainter's exposure must be a number above 0, not {exposure!r}")
        if not isinstance(shadows, bool):
            raise InputError(f"the mesh inpainter's shadows must be true or false, not {shadows!r}")
        if isinstance(roughness, bool) or not isinstance(roughness, int | float) or not 0 <= roughness <= 1:
            raise InputError(
                f"the mesh inpainter's roughness must be a number from 0 to 1, not {roughness!r}"
            )
        self.exposure, self.shadows = float(exposure), shadows
        self.roughness = max(float(roughness), SMOOTHEST)
        self.found: Light | None = None  # the light that `prepare` chose
        self._painter: Painter | None = None

    def check(self, guide: Guide) -> None:
        """Raises InputError if there is no mesh."""
        if guide.mesh is None:
            raise InputError("the mesh inpainter needs --mesh: a file with the object to insert")

    def prepare(self, context: EditContext) -> None:
        """Find the light and shade the mesh. Raises InputError if there is no mesh or no view shows it."""
        self.check(context.guide)
        mesh, region = context.guide.mesh, context.region
        center, size = region.bounds.mean(0), region.diagonal
        bounds = torch.stack([center - REACH * size, center + REACH * size])
        with context.progress.task("Finding the scene's light", total=4) as task:
            glances = glance(context.scene, context.views)
            check_seen(mesh, glances)
            task.advance(1)
            surface = fuse_tsdf(glances, bounds)
            task.advance(1)
            light = self._find_light(context, glances, surface, bounds)
            task.advance(1)
            self.found = light
            shine = shade(mesh, surface, light.scaled(self.exposure), self.roughness)
            shadow = cast_shadow(surface, light, shine, region) if self.shadows else None
            task.advance(1)
        self._painter = Painter(shine, shadow, surface, glances)

    def inpaint(
        self, views: Sequence[InpaintView], guide: Guide, *, strength: float = 1.0, seed: int = 0
    ) -> list[Float[Tensor, "H W 3"]]:
        """The photographs with the object in them; `strength` and `seed` make no difference."""
        self.check(guide)
        if self._painter is None:
            raise RunError("the mesh inpainter was not prepared: call prepare(context) before inpaint")
        return [self._painter.paint(view) for view in views]

    def _find_light(
        self, context: EditContext, glances: list[DepthView], surface: Surface, bounds: Float[Tensor, "2 3"]
    ) -> Light:
        center, size = context.region.bounds.mean(0), context.region.diagonal
        up = torch.stack([view.camera.c2w[:, 1] for view in context.views]).mean(0)
        up = torch.nn.functional.normalize(up, dim=0)
        if self.light == "flat":
            return Light.flat()
        if self.light != "auto":
            return given_light(self.light, center, size, up)
        away = [float((view.camera.center - center).norm()) for view in context.views]
        half = SCOPE * statistics.median(away)
        if half > REACH * size:  # a small object's surroundings alone tell little
            size = half / REACH
            bounds = torch.stack([center - half, center + half])
            surface = fuse_tsdf(glances, bounds)
        far = far_radiance(context.scene, glances, bounds, sphere())
        things = [surface.thing()]
        evidence = gather(surface, things, far, center, size, up, context.seed)
        return estimate(evidence, things, center, size, up, far)


def check_light(light: Any) -> str | dict[str, Any]:
    """The option `light`, or InputError."""
    if light in ("auto", "flat"):
        return light
    if not isinstance(light, Mapping):
        raise InputError(
            f"the mesh inpainter's light must be auto, flat, or a mapping of direction, key, sky and angle, "
            f"not {light!r}"
        )
    for name, value in light.items():
        if name not in ("direction", "key", "sky", "angle"):
            raise InputError(f"the mesh inpainter's light has no {name!r}: direction, key, sky, angle")
        try:
            numbers = [float(x) for x in ([value] if name == "angle" else value)]
        except (TypeError, ValueError):
            numbers = []
        fine = len(numbers) == (1 if name == "angle" else 3) and all(map(math.isfinite, numbers))
        if name == "angle":
            fine = fine and 0 <= numbers[0] <= 60
        elif name == "direction":
            fine = fine and any(numbers)
        else:
            fine = fine and min(numbers) >= 0
        if not fine:
            wanted = {"angle": "a number from 0 to 60", "direction": "three numbers, not all 0"}
            wanted = wanted.get(name, "three numbers from 0 up")
            raise InputError(f"the mesh inpainter's light.{name} must be {wanted}, not {value!r}")
    return dict(light)


def given_light(light: Mapping[str, Any], center: Tensor, size: float, up: Tensor) -> Light:
    """The light that the option describes; what it leaves out is soft daylight from above."""
    direction = torch.tensor(light["direction"], dtype=torch.float32) if "direction" in light else up
    key = Key(
        target=center,
        direction=torch.nn.functional.normalize(direction, dim=0),
        distance=AWAY * size,
        angle=math.radians(max(0.1, light.get("angle", 10.0))),
        irradiance=torch.tensor(light.get("key", (0.7, 0.7, 0.7)), dtype=torch.float32),
    )
    sky = torch.tensor(light.get("sky", (0.4, 0.4, 0.4)), dtype=torch.float32)
    return Light(sky.expand(len(sphere()), 3), key)


def check_seen(mesh: Mesh, glances: Sequence[DepthView]) -> None:
    """Raises InputError if no view has the mesh in its picture, or the scene hides it in all of them."""
    points = torch.cat([mesh.vertices[mesh.faces].mean(1), mesh.vertices[mesh.faces.reshape(-1)]])
    tolerance = 0.05 * float((mesh.bounds[1] - mesh.bounds[0]).norm())
    inside = hidden = False
    for one in glances:
        shown, clear = sees(one, points, tolerance)
        if bool(clear.any()):
            return
        inside |= bool(shown.any())
        hidden |= bool((shown & ~clear).any())
    low, high = ([round(x, 3) for x in corner.tolist()] for corner in mesh.bounds)
    if not inside:
        raise InputError(
            f"no view has the mesh in its picture: it lies between {low} and {high} in the capture's world "
            "coordinates; place it with --pose"
        )
    raise InputError(
        f"the scene hides the mesh in every view: it lies between {low} and {high} in the capture's world "
        "coordinates, inside or behind something; place it with --pose"
    )
