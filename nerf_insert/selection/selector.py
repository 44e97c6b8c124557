"""From clicks to the region of a thing. World coordinates and units.

clicks -> points in space -> roughly where the thing ends -> its outline in many photographs -> a hull
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from nerf_insert.capture.capture import Capture
from nerf_insert.capture.view import View
from nerf_insert.errors import InputError
from nerf_insert.geometry.cameras import Camera
from nerf_insert.geometry.planes import Plane
from nerf_insert.regions.csg import UnionRegion
from nerf_insert.regions.grid_region import GridRegion
from nerf_insert.regions.region import Region
from nerf_insert.regions.spec import Points
from nerf_insert.regions.visual_hull import VisualHull
from nerf_insert.rendering.depth_view import DepthView
from nerf_insert.runtime.progress import SILENT, Progress
from nerf_insert.selection.carving import Outline, carve
from nerf_insert.selection.clicks import MIN_VIEWS, Click, locate
from nerf_insert.selection.cloud import DensityBall, Scene, SeenPart, Voxels, see_ball, solid_points
from nerf_insert.selection.partition import nearer_to_first
from nerf_insert.selection.remains import find_remains
from nerf_insert.selection.silhouettes import refine
from nerf_insert.selection.strokes import depth_box, under_stroke, within_strokes
from nerf_insert.selection.support import (
    MIN_POINTS,
    Extent,
    connected,
    find_extent,
    find_supports,
    is_flat,
    rises,
)

OVERVIEW_RAYS = 40_000  # of the depth maps of all photographs together
CLICK_RAYS = 10_000  # of the depth map of a photograph that was clicked
REMAINS_RAYS = 60_000  # of those that look for what remains
FINE_RAYS = 120_000  # of all depth maps around the thing together
MAX_VIEWS = 32  # whose outlines make the region
MARGIN = 1.25  # radius that is looked at, in that of the thing
AROUND = 2.5  # radius within which supports are looked for, in that of the thing
CELL_PIXELS = 2.0  # side of a voxel, in pixels
PASSING = 0.15  # of a thing's radius, within which the ray of a click passes it
MIN_MISSED = 0.02  # fraction of a thing's surface outside a hull, from which the hull cuts through it
ROUGH = 4.0  # tolerances of a support, up to which what rises from it may be its own rough depth
TOP, LOW = 0.95, 0.35  # quantile of a thing's heights that is its own; share of it that may be rough depth
FLAT = 0.25  # radius, relative to the distance, within which a click on a flat surface has to be all flat


class Selector:
    """Finds what was clicked in a trained scene.

    The scene's depth is rendered once and kept, so that every further click is quick.

    Args:
        scene: The trained scene.
        capture: Its photographs.
        progress: Where work and warnings are reported.
        forgiving: Whether `complete` widens the hull of masks that cut through a thing.
    """

    def __init__(self, scene: Scene, capture: Capture, progress: Progress = SILENT, forgiving: bool = False):
        self.scene, self.capture, self.progress, self.forgiving = scene, capture, progress, forgiving
        self._clicked: dict[str, Float[Tensor, "N 3"]] = {}

    def select(self, points: Points) -> GridRegion:
        """Return the region of the thing that was clicked.

        Args:
            points: Clicks on it, and on what does not belong to it.

        Raises:
            InputError: A click shows nothing, or no thing that ends somewhere; the message names it.
        """
        with self.progress.task("Finding what was clicked", total=4) as task:
            chosen = locate(self.scene, self.capture, points.points)
            others = locate(self.scene, self.capture, points.not_points or {})
            task.advance(1)
            extent, chosen = self._extent(chosen)
            task.advance(1)
            ball = DensityBall.bake(self.scene, extent.center, MARGIN * extent.radius)
            parts = see_ball(ball, self._views(extent), self._hides, FINE_RAYS)
            task.advance(1)
            region = _region(parts, extent, self._eyes, chosen, others, self._overview)
            task.advance(1)
        return region

    def complete(self, hull: VisualHull) -> Region:
        """Return a region that holds all of what drawn masks meant, where their hull cuts through it.

        A visual hull forgives no mask that is too small. What hangs together with the content of the hull and
        lies no farther beyond any of the masks than a careless stroke is added.

        Args:
            hull: Of the masks.

        Returns:
            The hull itself, if the selector does not forgive, nothing is in it, or it cuts nothing off.
        """
        if not self.forgiving:
            return hull
        alone = len(hull.cones) == 1  # which says nothing of the thing's far side
        extent = Extent(hull.bounds, ())
        views = self._views(extent)
        if len(views) < MIN_VIEWS:
            return hull
        ball = DensityBall.bake(self.scene, extent.center, MARGIN * extent.radius)
        parts = see_ball(ball, views, self._hides, FINE_RAYS)
        points = [part.points()[part.solid] for part in parts]
        solid = torch.cat(points) if points else torch.zeros(0, 3)
        within = solid[hull.contains(solid)]
        if len(within) < MIN_POINTS:
            return hull
        near = self._overview[(self._overview - extent.center).norm(dim=-1) < AROUND * extent.radius]
        supports = find_supports(torch.cat([solid, near]), within.mean(0), self._eyes, AROUND * extent.radius)
        within = within[rises(within, supports)]
        if len(within) < MIN_POINTS:
            return hull
        cell = _cell(parts, extent)
        meant = solid[within_strokes(hull, solid)]
        thing = meant[connected(meant, within, supports, cell)]
        missed = float((hull.distance(thing) > cell / 2).float().mean())
        if missed < MIN_MISSED and not alone:
            return hull
        try:
            carved = _carved(parts, thing, supports, cell, extent)
        except InputError:  # the photographs do not agree about it: the person's masks stand
            return hull
        if alone:
            return carved
        self.progress.warn(
            f"the masks cut through a thing: {100 * missed:.0f} % of its surface lies outside their hull. "
            "The region was widened to hold all of it; --exact-masks keeps the masks as they are"
        )
        return UnionRegion([hull, carved])

    def remains(self, region: Region, after: Scene) -> tuple[GridRegion, float] | None:
        """Look for what remains of a thing beside the region in which it was removed.

        Args:
            region: Where it was removed.
            after: The scene without it.

        Returns:
            Where it remains, and the share of its surface that does; None if it is gone.
        """
        extent = Extent(region.bounds, ())
        views = self._views(extent)
        if len(views) < MIN_VIEWS:
            return None
        parts, clouds = [], []
        for scene in (self.scene, after):
            ball = DensityBall.bake(scene, extent.center, MARGIN * extent.radius)
            parts = see_ball(ball, views, self._hides, REMAINS_RAYS)
            clouds.append(torch.cat([part.points()[part.solid] for part in parts]))
        before = clouds[0]
        within = before[region.contains(before)]
        if len(within) < MIN_POINTS:
            return None
        near = self._overview[(self._overview - extent.center).norm(dim=-1) < AROUND * extent.radius]
        surroundings = torch.cat([before, near])
        planes = find_supports(surroundings, within.mean(0), self._eyes, AROUND * extent.radius)
        supports = [(plane, _rough_height(plane, within)) for plane in planes]
        return find_remains(before, clouds[1], region, supports, _cell(parts, extent))

    def depth_box(self, view: View, mask: Bool[Tensor, "H W"]) -> Float[Tensor, "2 3"]:
        """See `nerf_insert.selection.strokes.depth_box`."""
        return depth_box(self.scene, view, mask)

    def under_stroke(self, view: View, mask: Bool[Tensor, "H W"]) -> GridRegion:
        """See `nerf_insert.selection.strokes.under_stroke`."""
        return under_stroke(self.scene, view, mask)

    @cached_property
    def _depth_views(self) -> dict[str, DepthView]:
        """Coarse depth of evenly spread training views, by name."""
        train = self.capture.train
        count = min(MAX_VIEWS, len(train))
        views = [train[k * len(train) // count] for k in range(count)]
        total = sum(view.camera.width * view.camera.height for view in views)
        scale = min(1.0, (OVERVIEW_RAYS / total) ** 0.5)
        cameras = [view.camera.scaled(scale) for view in views]
        return {
            view.name: DepthView(camera=camera, depth=self.scene.render_image(camera).depth)
            for view, camera in zip(views, cameras, strict=True)
        }

    @cached_property
    def _overview(self) -> Float[Tensor, "N 3"]:
        """Points that the photographs show, coarsely."""
        views = self._depth_views.values()
        return torch.cat([solid_points(view.camera, view.depth) for view in views])

    def _hides(self, view: View, camera: Camera, distance: float) -> Bool[Tensor, "h w"]:
        """Return the pixels at which the scene is nearer to a view's camera than a distance."""
        coarse = self._depth_views[view.name].depth[None, None]
        size = (camera.height, camera.width)
        return torch.nn.functional.interpolate(coarse, size, mode="nearest")[0, 0] < distance

    @property
    def _eyes(self) -> Float[Tensor, "V 3"]:
        return torch.stack([view.camera.center for view in self.capture.train])

    def _extent(self, clicks: Sequence[Click]) -> tuple[Extent, list[Click]]:
        """Return roughly where the things at all clicks are, and the clicks.

        A click on or beside what another one has found already is a part of that. One that passes it and
        shows what is behind, as at an edge that the scene blurs, is moved to where it passes.
        """
        cloud = torch.cat([self._overview, *(self._around(click) for click in clicks)])
        found = [
            find_extent(cloud, self._overview, click.point, self._eyes, click.distance) for click in clicks
        ]
        moved = []
        for k, click in enumerate(clicks):
            others = [other for j, other in enumerate(found) if other is not None and j != k]
            passed = next((p for other in others if (p := _passes(click, other)) is not None), None)
            if passed is not None:
                found[k], click = None, replace(click, point=passed)
            elif found[k] is None and not any(_is_part(click, other) for other in others):
                raise InputError(self._why_not(click, cloud))
            moved.append(click)
        clicks, extents = moved, [extent for extent in found if extent is not None]
        if len(_groups(extents)) > 1:
            self.progress.warn(
                f"the clicks are on {len(_groups(extents))} different things, all of which are selected; to "
                "edit one of them alone, click on that one only"
            )
        supports = max(extents, key=lambda extent: extent.radius).supports
        points = torch.cat([*(extent.points for extent in extents), *(click.point[None] for click in clicks)])
        return Extent(points, supports), clicks

    def _around(self, click: Click) -> Float[Tensor, "N 3"]:
        """Points that the clicked photograph shows, finely."""
        if click.view.name not in self._clicked:
            size = click.view.camera.width * click.view.camera.height
            camera = click.view.camera.scaled(min(1.0, (CLICK_RAYS / size) ** 0.5))
            depth = self.scene.render_image(camera).depth
            self._clicked[click.view.name] = solid_points(camera, depth)
        return self._clicked[click.view.name]

    def _views(self, extent: Extent) -> list[View]:
        """Return the views whose depth is known that show the thing."""
        views = [view for view in self.capture.train if view.name in self._depth_views]
        return [view for view in views if bool(view.camera.project(extent.center[None]).inside)]

    def _why_not(self, click: Click, cloud: Float[Tensor, "N 3"]) -> str:
        if is_flat(cloud, click.point, self._eyes, FLAT * click.distance):
            return (
                f"the click {click.label} is on a large flat surface (a table, floor or wall), all of which "
                "can hardly be meant: click on a thing that stands on it or hangs at it, or mark a part of "
                "the surface with --mask or --box"
            )
        return (
            f"no thing was found at the click {click.label}: what is there does not stand out from its "
            "surroundings; click nearer to the middle of the thing, or mark it with --mask or --box"
        )


def _region(
    parts: Sequence[SeenPart],
    extent: Extent,
    eyes: Float[Tensor, "V 3"],
    chosen: Sequence[Click],
    others: Sequence[Click],
    overview: Float[Tensor, "N 3"],
) -> GridRegion:
    """Return the region of a thing from fine depth around it."""
    cell = _cell(parts, extent)
    solid = torch.cat([part.points()[part.solid] for part in parts])
    away = (overview - extent.center).norm(dim=-1)
    near = torch.cat([solid, overview[away < AROUND * extent.radius]])
    supports = find_supports(near, extent.center, eyes, AROUND * extent.radius) or extent.supports
    seeds = torch.stack([click.point for click in chosen])
    thing = solid[connected(solid, torch.cat([seeds, extent.points]), supports, cell)]
    if others:
        thing = thing[nearer_to_first(thing, seeds, torch.stack([click.point for click in others]), cell)]
    if not len(thing):
        raise InputError("nothing is left of the thing: the clicks that take away are too near the others")
    return _carved(parts, thing, supports, cell, extent, chosen, others)


def _carved(
    parts: Sequence[SeenPart],
    thing: Float[Tensor, "N 3"],
    supports: Sequence[Plane],
    cell: float,
    extent: Extent,
    chosen: Sequence[Click] = (),
    others: Sequence[Click] = (),
) -> GridRegion:
    """Return the region of a thing from points of its surface: its outlines, and their hull."""
    voxels = Voxels(thing, cell)
    rough = [_rough_height(plane, thing) for plane in supports]
    outlines = []
    for part in parts:
        points, shape = part.points().view(-1, 3), part.valid.shape
        mask = part.valid & part.depth.isfinite()
        mask &= (rises(points, supports) & voxels.contain(points)).view(shape)
        low = [plane.height(points) < height for plane, height in zip(supports, rough, strict=True)]
        doubtful = torch.stack(low).any(0).view(shape) if low else None
        clicks = [
            [_pixel_of(click, part) for click in group if click.view.name == part.view.name]
            for group in (chosen, others)
        ]
        outlines.append(Outline(part, refine(part, mask, clicks[0], clicks[1], doubtful)))
    shown = [outline for outline in outlines if bool(outline.mask.any())]
    return carve(shown, thing, supports, cell, (extent.center, MARGIN * extent.radius))


def _rough_height(plane: Plane, thing: Float[Tensor, "N 3"]) -> float:
    """The height over a support up to which what rises may be its own rough depth, not the thing."""
    return min(ROUGH * plane.tolerance, LOW * float(plane.height(thing).quantile(TOP)))


def _cell(parts: Sequence[SeenPart], extent: Extent) -> float:
    """The side of the voxels that a thing is looked at in."""
    return CELL_PIXELS * sorted(_pixel(part, extent.center) for part in parts)[len(parts) // 2]


def _pixel(part: SeenPart, at: Float[Tensor, " 3"]) -> float:
    """The width of a pixel at a point, world units."""
    return float((at - part.camera.center).norm()) / part.camera.fx


def _pixel_of(click: Click, part: SeenPart) -> Float[Tensor, " 2"]:
    return part.camera.project(click.point[None]).pixels[0]


def _is_part(click: Click, extent: Extent) -> bool:
    """Whether a click lies on or right beside a thing."""
    return float((extent.points - click.point).norm(dim=-1).min()) < extent.radius / 2


def _passes(click: Click, extent: Extent) -> Float[Tensor, " 3"] | None:
    """Return where a click's ray passes a thing, if what it shows is clearly behind that; else None."""
    eye = click.view.camera.center
    ray = (click.point - eye) / click.distance
    along = (extent.points - eye) @ ray
    gap = (extent.points - eye - along[:, None] * ray).norm(dim=-1)
    nearest = int(gap.argmin())
    behind = click.distance - float(along[nearest]) > extent.radius
    return eye + along[nearest] * ray if behind and float(gap[nearest]) < PASSING * extent.radius else None


def _groups(extents: Sequence[Extent]) -> list[Extent]:
    """Return one extent of each group of those whose balls meet."""
    groups: list[Extent] = []
    for extent in extents:
        meets = [
            float((extent.center - other.center).norm()) < extent.radius + other.radius for other in groups
        ]
        if not any(meets):
            groups.append(extent)
    return groups
