"""The scene's surface as a mesh that light is cast among, with the light that leaves it.

World coordinates and units, linear light. V is the number of vertices, F of faces, N of points or rays.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from nerf_insert.geometry.cameras import Rays
from nerf_insert.geometry.mesh import Hits, Mesh
from nerf_insert.lighting.light import Occluder
from nerf_insert.rendering.depth_view import DepthView, Renderer

BACKFACE_CELLS = 3  # depth below the surface up to which a ray may start and still leave through it
MIN_VIEW_COSINE = 0.1  # between the normal and the direction to a camera that counts as seeing a point
FAR_DISTANCE = 100  # of what is nowhere, in half sides of the box
CLEAR_FRACTION = 0.7  # of the way to a far point that has to be free for a view to see it


@dataclass(frozen=True, eq=False)
class SceneSurface:
    """Triangles whose front looks into free space, and the light that leaves each vertex.

    `spread` is the fraction of the radiance by which half of the views differ from it: large where the
    surface is not where it seems to be.
    """

    mesh: Mesh
    front: Float[Tensor, "F 3"]  # unit normals of the faces
    normals: Float[Tensor, "V 3"]
    radiance: Float[Tensor, "V 3"]  # sRGB's primaries, median over the views; NaN where no view sees it
    spread: Float[Tensor, " V"]
    cell: float  # size of the smallest detail

    def cast(self, rays: Rays) -> Hits:
        """Find what each ray meets first.

        A ray that starts less than BACKFACE_CELLS cells below the surface, as the scene's own error may
        make it, passes through the surface from behind.
        """
        if not len(self.front):
            none = torch.full((rays.count,), -1)
            return Hits(torch.full((rays.count,), float("inf")), none, torch.zeros(rays.count, 3))
        hits = self.mesh.cast(rays)
        behind = hits.hit & (hits.distance < BACKFACE_CELLS * self.cell)
        behind &= (self.front[hits.face] * rays.directions).sum(-1) > 0
        again = behind.nonzero()[:, 0]
        if len(again):
            passed = hits.distance[again] + 0.1 * self.cell
            second = self.mesh.cast(Rays(rays[again].at(passed), rays.directions[again]))
            second = second._replace(distance=second.distance + passed)
            hits = Hits(*(old.index_copy(0, again, new) for old, new in zip(hits, second, strict=True)))
        return hits

    def as_occluder(self, radiance: Float[Tensor, "V 3"] | None = None) -> Occluder:
        """Return the surface as something that hides and gives light.

        Args:
            radiance: Used in place of the surface's own.
        """
        values = (self.radiance if radiance is None else radiance).nan_to_num()
        return Occluder(self.cast, lambda hits, directions: self.interpolate(values, hits))

    def interpolate(self, values: Float[Tensor, "V C"], hits: Hits) -> Float[Tensor, "N C"]:
        """Interpolate a quantity of the vertices where rays have met the surface."""
        corners = values[self.mesh.faces[hits.face.clamp_min(0)]]
        return (hits.barycentric[:, :, None] * corners).sum(1)


def surface_radiance(
    views: Sequence[DepthView],
    points: Float[Tensor, "N 3"],
    normals: Float[Tensor, "N 3"],
    tolerance: float,
) -> tuple[Float[Tensor, "N 3"], Float[Tensor, " N"]]:
    """Measure the light that leaves points of the surface.

    Args:
        views: Depth views with colors.
        points: World coordinates.
        normals: Unit normals there; only views from their side count.
        tolerance: How far the scene may lie in front of a point without hiding it, world units.

    Returns:
        The median color (linear) of the views that see a point, NaN where none does; and the median
        difference from it, as a fraction of it.
    """
    seen = torch.full((len(views), len(points), 3), float("nan"))
    for row, view in zip(seen, views, strict=True):
        toward = torch.nn.functional.normalize(view.camera.center - points, dim=-1)
        cosine = (normals * toward).sum(-1)
        projection = view.camera.project(points)
        index = (projection.inside & (cosine > MIN_VIEW_COSINE)).nonzero()[:, 0]
        pixels = projection.pixels[index]
        behind = view.depth_at(pixels) - projection.distance[index]
        unoccluded = behind > -tolerance / cosine[index].clamp_min(0.3)
        row[index[unoccluded]] = view.color_at(pixels[unoccluded])
    median = seen.nanmedian(0).values
    difference = (seen - median).abs().sum(-1).nanmedian(0).values
    return median, difference / median.sum(-1).clamp_min(1e-4)


def far_radiance(
    scene: Renderer,
    views: Sequence[DepthView],
    bounds: Float[Tensor, "2 3"],
    directions: Float[Tensor, "K 3"],
) -> Float[Tensor, "K 3"]:
    """Measure the light that comes from beyond a box, in each direction from its center.

    A view sees what lies in a direction if nothing else that it sees there is much nearer.

    Args:
        scene: Gives the distance of what lies beyond the box.
        views: Depth views with colors.
        bounds: Lowest and highest corner of the box, world coordinates.
        directions: Unit vectors, world axes.

    Returns:
        Median radiance (linear) over the views, NaN where no photograph shows it.
    """
    center, half = bounds.mean(0), (bounds[1] - bounds[0]) / 2
    leaves = (half / directions.abs().clamp_min(1e-9)).amin(-1)
    outside = Rays(center + leaves[:, None] * directions, directions)
    depth = scene.render(outside).depth
    points = outside.at(torch.where(depth.isfinite(), depth, FAR_DISTANCE * half.max()))
    seen = torch.full((len(views), len(points), 3), float("nan"))
    for row, view in zip(seen, views, strict=True):
        projection = view.camera.project(points)
        index = projection.inside.nonzero()[:, 0]
        pixels = projection.pixels[index]
        unoccluded = view.depth_at(pixels) > CLEAR_FRACTION * projection.distance[index]
        row[index[unoccluded]] = view.color_at(pixels[unoccluded])
    return seen.nanmedian(0).values
