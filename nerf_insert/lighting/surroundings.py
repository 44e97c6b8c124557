"""What a shiny mesh reflects: the scene around its place, rendered once in all directions.

The picture is taken from one point, its *center*. A reflected ray starts elsewhere: where it meets the
scene's surface, or the distance that the picture has there, tells at which of its pixels to look.

World coordinates and units, linear light. M is the number of rays, V of the scene surface's vertices.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import avg_pool2d

from nerf_insert.geometry.cameras import Rays, rays_around
from nerf_insert.geometry.color import srgb_to_linear
from nerf_insert.lighting.light import Light, fibonacci_sphere
from nerf_insert.lighting.octahedral_map import (
    OctahedralMap,
    cosine_average,
    pixel_directions,
    spread_directions_average,
)
from nerf_insert.lighting.surface import CLEAR_FRACTION, FAR_DISTANCE, SceneSurface
from nerf_insert.rendering.depth_view import DepthView, Renderer

SIDE = 256  # pixels along the picture's side: 0.8 degrees each
FREE = 0.3  # of the views that have a point in their image: so many see it if it lies in free space
HEIGHTS = (0.0, 0.5, 1.0, 1.5)  # of centers that are tried, above the mesh's, in half diagonals of it
SAME, SAME_CELLS = 0.1, 3.0  # difference in distance up to which the picture shows a place of the surface
STEPS = 3  # of the search for the place that a ray shows


@dataclass(frozen=True, eq=False)
class Surroundings:
    """The scene around a place.

    Attributes:
        center: Where the picture is taken from.
        picture: Radiance, and the distance from the center, in all directions.
        surface: The scene's surface near the place.
        radiance: Of its vertices, for what the picture does not show.
        shade: The factor on the light of its vertices.
    """

    center: Float[Tensor, "3"]
    picture: OctahedralMap
    surface: SceneSurface
    radiance: Float[Tensor, "V 3"]
    shade: Float[Tensor, "V 3"]

    def shaded(self, radiance: Float[Tensor, "V 3"], shade: Float[Tensor, "V 3"]) -> Surroundings:
        """Return the same with other light on the scene's surface.

        Args:
            radiance: Of its vertices.
            shade: The factor by which that differs from what the picture shows.
        """
        return replace(self, radiance=radiance, shade=shade)

    @cached_property
    def _irradiance(self) -> OctahedralMap:
        return cosine_average(OctahedralMap(self.picture.image[..., :3]))

    def irradiance(self, normals: Float[Tensor, "M 3"]) -> Float[Tensor, "M 3"]:
        """Return the irradiance at the center, of surfaces with these unit normals that see all around."""
        return self._irradiance.average(normals)

    def from_center(
        self, directions: Float[Tensor, "M 3"], solid_angle: Float[Tensor, " M"]
    ) -> Float[Tensor, "M 3"]:
        """Return the light that comes to the center, averaged over solid angles (steradians)."""
        return self.picture.average(directions, solid_angle)[:, :3]

    def seen_along(
        self, rays: Rays, solid_angle: Float[Tensor, " M"]
    ) -> tuple[Float[Tensor, "M 3"], Float[Tensor, " M"]]:
        """Return the light that comes back along rays, and from how far away.

        Args:
            rays: From places near the center.
            solid_angle: Over which each ray's light is averaged, steradians.
        """
        hits = self.surface.cast(rays)
        distance = torch.where(hits.hit, hits.distance, self._met(rays))
        toward = rays.at(distance) - self.center
        away = toward.norm(dim=-1)
        toward = toward / away.clamp_min(1e-9)[:, None]
        seen_from_center = solid_angle * (distance / away.clamp_min(1e-9)) ** 2
        light = self.picture.average(toward, seen_from_center)[:, :3]
        if bool(hits.hit.any()):
            shown = self.picture.nearest(toward)[:, 3]
            tolerance = SAME * away + SAME_CELLS * self.surface.cell
            hidden = hits.hit & ((shown - away).abs() > tolerance)
            own = self.surface.interpolate(self.radiance.nan_to_num(), hits)
            shade = self.surface.interpolate(self.shade, hits)
            light = torch.where(hidden[:, None], own, light * torch.where(hits.hit[:, None], shade, 1.0))
        return light, distance

    def _met(self, rays: Rays) -> Float[Tensor, " M"]:
        """How far along rays that miss the surface that lies which the picture shows in their direction."""
        from_center = rays.origins - self.center
        along = (from_center * rays.directions).sum(-1)
        square = from_center.square().sum(-1)
        toward, distance = rays.directions, torch.zeros(rays.count)
        for _ in range(STEPS):
            shown = self.picture.nearest(toward)[:, 3]
            distance = (along**2 - square + shown**2).clamp_min(0).sqrt() - along
            distance = distance.clamp_min(0)
            toward = torch.nn.functional.normalize(rays.at(distance) - self.center, dim=-1)
        return distance


def picture_surroundings(
    scene: Renderer,
    surface: SceneSurface,
    depth_views: Sequence[DepthView],
    bounds: Float[Tensor, "2 3"],
    up: Float[Tensor, "3"],
    light: Light,
    estimated: bool,
    exposure: float = 1.0,
) -> Surroundings:
    """Take the picture of what is around a mesh.

    Where no photograph shows what lies in a direction, the light's environment is taken: the picture shows no
    guesses of the base.

    Args:
        scene: Everything but the mesh.
        surface: The scene's surface near the mesh.
        depth_views: The views that it was fused from.
        bounds: Lowest and highest corner of the mesh.
        up: Unit vector.
        light: The scene's light.
        estimated: Whether it was estimated from the scene. Else it is another light, and its environment
            takes the place of all that is far.
        exposure: A factor on what is far.
    """
    center = _free_center(depth_views, bounds, up)
    directions = pixel_directions(SIDE).view(-1, 3)
    rendered = scene.render(rays_around(center, directions))
    low, high = surface.mesh.bounds if len(surface.front) else bounds
    reach = float((high - low).amax()) / 2 + surface.cell
    distance = rendered.depth.clamp_max(FAR_DISTANCE * reach)
    points = center + distance[:, None] * directions
    near = ((points - (low + high) / 2).abs() < reach).all(-1)
    known = near | (_seen(depth_views, points) & estimated)
    shown = srgb_to_linear(rendered.rgb.clamp(0, 1)) * torch.where(near, 1.0, exposure)[:, None]
    # As smooth at the border of what is known as the light there.
    share = avg_pool2d(known.float().view(1, SIDE, SIDE), 5, 1, 2, count_include_pad=False).view(-1, 1)
    share = torch.where(known[:, None], share, 0.0)
    around = fibonacci_sphere(len(light.environment))
    filled = spread_directions_average(light.environment.nan_to_num(), around, SIDE // 8)
    filled = OctahedralMap(filled).average(directions)
    radiance = share * shown + (1 - share) * filled
    picture = OctahedralMap(torch.cat([radiance, distance[:, None]], -1).view(SIDE, SIDE, 4))
    return Surroundings(center, picture, surface, surface.radiance, torch.ones_like(surface.radiance))


def _seen(depth_views: Sequence[DepthView], points: Float[Tensor, "M 3"]) -> Bool[Tensor, " M"]:
    """Which points some photograph shows."""
    seen = torch.zeros(len(points), dtype=torch.bool)
    for view in depth_views:
        projection = view.camera.project(points)
        free = view.depth_at(projection.pixels) > CLEAR_FRACTION * projection.distance
        seen |= projection.inside & free
    return seen


def _free_center(
    depth_views: Sequence[DepthView], bounds: Float[Tensor, "2 3"], up: Float[Tensor, "3"]
) -> Float[Tensor, "3"]:
    """The middle of the mesh, or a place above it if that lies within something in the scene."""
    middle, half = bounds.mean(0), (bounds[1] - bounds[0]).norm() / 2
    candidates = torch.stack([middle + height * half * up for height in HEIGHTS])
    inside, visible = torch.zeros(len(candidates)), torch.zeros(len(candidates))
    for view in depth_views:
        in_image, seen = view.visibility(candidates, 0.0)
        inside, visible = inside + in_image, visible + seen
    free = visible / inside.clamp_min(1)
    good = (free >= FREE).nonzero()[:, 0]
    return candidates[int(good[0]) if len(good) else int(free.argmax())]
