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
from nerf_insert.regions.csg import UnionRegion
from nerf_insert.regions.grid_region import GridRegion
from nerf_insert.regions.region import Region
from nerf_insert.regions.spec import Points
from nerf_insert.regions.visual_hull import VisualHull
from nerf_insert.rendering.depth_view import DepthView
from nerf_insert.runtime.progress import SILENT, Progress
from nerf_insert.selection.ball import Ball, Scene, look_inside
from nerf_insert.selection.clicked_things import ClickedThing, away, groups, join, key_of
from nerf_insert.selection.clicks import MIN_VIEWS, Click, locate
from nerf_insert.selection.cloud import SeenPart, cell_size, see_ball, see_in_view, solid_points
from nerf_insert.selection.correction import correct
from nerf_insert.selection.pieces import Piece, Pieces
from nerf_insert.selection.remains import find_remains
from nerf_insert.selection.strokes import depth_box, under_stroke, within_strokes
from nerf_insert.selection.support import (
    MIN_POINTS,
    Extent,
    connected,
    find_extent,
    find_supports_of,
    is_flat,
    rises,
)
from nerf_insert.selection.thing import AROUND, MARGIN, carved, rough_height, select_thing

OVERVIEW_RAYS = 40_000  # of the depth maps of all photographs together
CLICK_RAYS = 10_000  # of the depth map of a photograph that was clicked
REMAINS_RAYS = 60_000  # of those that look for what remains
FINE_RAYS = 120_000  # of all depth maps around the thing together
MAX_VIEWS = 32  # whose outlines make the region
MIN_MISSED = 0.02  # fraction of a thing's surface outside a hull, from which the hull cuts through it
LARGER = 1.6  # times a thing's radius: what is found there that is larger is something around it
MAX_KEPT = 8  # things that were selected
PIECE_RADII = (0.13, 0.3)  # of the balls in which pieces are looked for, relative to the distance
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
        self._things_kept: dict[str, ClickedThing] = {}  # by the click that selected them

    def select(self, points: Points) -> Region:
        """Return the region of the thing that was clicked.

        The first click on a thing selects it, as everyone does by one click. Further clicks on it, or on
        what does not belong to it, correct that where they are.

        Args:
            points: Clicks on it, and on what does not belong to it.

        Raises:
            InputError: A click shows nothing, or no thing that ends somewhere; the message names it.
        """
        with self.progress.task("Finding what was clicked", total=3) as task:
            chosen = locate(self.scene, self.capture, points.points)
            others = locate(self.scene, self.capture, points.not_points or {})
            task.advance(1)
            found = self._things(chosen)
            task.advance(1)
            regions = []
            for thing, clicks in found:
                thing = self._widened(thing, clicks)
                adding, taking = self._seen(thing, clicks), self._seen(thing, others)
                regions.append(correct(thing.selection, adding, taking).region())
            task.advance(1)
        return regions[0] if len(regions) == 1 else UnionRegion(regions)

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
        extent = Extent(hull.bounds)
        views = self._views(extent)
        if len(views) < MIN_VIEWS:
            return hull
        ball = look_inside(self.scene, extent.center, MARGIN * extent.radius)
        parts = see_ball(ball, views, self._hides, FINE_RAYS)
        points = [part.points[part.solid] for part in parts]
        solid = torch.cat(points) if points else torch.zeros(0, 3)
        within = solid[hull.contains(solid)]
        if len(within) < MIN_POINTS:
            return hull
        near = self._overview[(self._overview - extent.center).norm(dim=-1) < AROUND * extent.radius]
        around, reach = torch.cat([solid, near]), AROUND * extent.radius
        supports = find_supports_of(within, within.mean(0), around, self._eyes, reach)
        within = within[rises(within, supports)]
        if len(within) < MIN_POINTS:
            return hull
        cell = cell_size(parts, extent.center)
        meant = solid[within_strokes(hull, solid)]
        thing = meant[connected(meant, within, supports, cell)]
        missed = float((hull.distance(thing) > cell / 2).float().mean())
        if missed < MIN_MISSED and not alone:
            return hull
        try:
            whole = GridRegion.of_cells(*carved(parts, thing, supports, cell, extent))
        except InputError:  # the photographs do not agree about it: the person's masks stand
            return hull
        if alone:
            return whole
        self.progress.warn(
            f"the masks cut through a thing: {100 * missed:.0f} % of its surface lies outside their hull. "
            "The region was widened to hold all of it; --exact-masks keeps the masks as they are"
        )
        return UnionRegion([hull, whole])

    def remains(self, region: Region, after: Scene) -> tuple[GridRegion, float] | None:
        """Look for what remains of a thing beside the region in which it was removed.

        Args:
            region: Where it was removed.
            after: The scene without it.

        Returns:
            Where it remains, and the share of its surface that does; None if it is gone.
        """
        extent = Extent(region.bounds)
        views = self._views(extent)
        if len(views) < MIN_VIEWS:
            return None
        parts, clouds = [], []
        for scene in (self.scene, after):
            ball = look_inside(scene, extent.center, MARGIN * extent.radius)
            parts = see_ball(ball, views, self._hides, REMAINS_RAYS)
            clouds.append(torch.cat([part.points[part.solid] for part in parts]))
        before = clouds[0]
        within = before[region.contains(before)]
        if len(within) < MIN_POINTS:
            return None
        near = self._overview[(self._overview - extent.center).norm(dim=-1) < AROUND * extent.radius]
        around, reach = torch.cat([before, near]), AROUND * extent.radius
        planes = find_supports_of(within, within.mean(0), around, self._eyes, reach)
        supports = [(plane, rough_height(plane, within)) for plane in planes]
        return find_remains(before, clouds[1], region, supports, cell_size(parts, extent.center))

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
        if view.name not in self._depth_views:  # only a few of many photographs are looked at
            coarse = view.camera.scaled(min(1.0, (CLICK_RAYS / (view.size[0] * view.size[1])) ** 0.5))
            depth = self.scene.render_image(coarse).depth
            self._depth_views[view.name] = DepthView(camera=coarse, depth=depth)
        coarse = self._depth_views[view.name].depth[None, None]
        size = (camera.height, camera.width)
        return torch.nn.functional.interpolate(coarse, size, mode="nearest")[0, 0] < distance

    @property
    def _eyes(self) -> Float[Tensor, "V 3"]:
        return torch.stack([view.camera.center for view in self.capture.train])

    def _things(self, clicks: Sequence[Click]) -> list[tuple[ClickedThing, list[Click]]]:
        """Return the things that clicks are on, each with its clicks.

        A click that passes a thing and shows what is behind it, as at an edge that the scene blurs, is moved
        to where it passes.
        """
        found: list[tuple[ClickedThing, list[Click]]] = []
        unsure = []
        for click in clicks:
            if not join(click, found):
                extent, piece = self._extent(click)
                around = [thing for thing, _ in found if away(click, thing.extent) < MARGIN]
                if extent is None or any(extent.radius > LARGER * thing.extent.radius for thing in around):
                    unsure.append(click)
                elif piece is None or not self._join_piece(click, found):
                    found.append((self._thing([click], extent, piece), [click]))
        for click in unsure:
            if not self._join_piece(click, found) and not join(click, found, near=True):
                piece = self._piece(click)
                found.append((self._thing([click], Extent(piece.points), piece), [click]))
        extents = [thing.extent for thing, _ in found]
        if len(groups(extents)) > 1:
            self.progress.warn(
                f"the clicks are on {len(groups(extents))} different things, all of which are selected; to "
                "edit one of them alone, click on that one only"
            )
        return found

    def _extent(self, click: Click) -> tuple[Extent | None, Piece | None]:
        """Return roughly where the thing at a click is, None where none stands out.

        The second is set if the thing touches others, and is only this piece of all.
        """
        key = key_of([click])
        if key in self._things_kept:
            return self._things_kept[key].extent, self._things_kept[key].piece
        cloud = torch.cat([self._overview, self._around(click)])
        extent = find_extent(cloud, self._overview, click.point, self._eyes, click.distance)
        if extent is not None and extent.doubtful:
            piece = self._piece_at([click])
            if piece is not None and extent.radius > LARGER * Extent(piece.points).radius:
                return Extent(piece.points), piece
        return extent, None

    def _thing(self, clicks: Sequence[Click], extent: Extent, piece: Piece | None = None) -> ClickedThing:
        """Return what a click alone selects, or several on one piece; kept, so that more are quick."""
        key = key_of(clicks)
        if key not in self._things_kept:
            ball, scale, parts = self._look(extent, MARGIN * extent.radius)
            selection = select_thing(parts, extent, self._eyes, clicks[0], self._overview, piece)
            by_view = {part.view.name: part for part in parts}
            self._things_kept[key] = ClickedThing(extent, ball, scale, by_view, selection, piece)
            while len(self._things_kept) > MAX_KEPT:
                self._things_kept.pop(next(iter(self._things_kept)))
        return self._things_kept[key]

    def _piece_at(self, clicks: Sequence[Click]) -> Piece | None:
        """Return the piece that clicks are on, of a surface of things that touch, or that haze connects."""
        points = torch.stack([click.point for click in clicks])
        around = Extent(points)
        for share in PIECE_RADII:
            radius = share * clicks[0].distance
            if around.radius < radius:
                ball, _, parts = self._look(around, radius)
                piece = Pieces(parts, ball.center, ball.radius).at(points)
                if piece is not None:
                    return piece
        return None

    def _join_piece(self, click: Click, found: list[tuple[ClickedThing, list[Click]]]) -> bool:
        """Make one piece of one that was found and what a click is on; whether there is one."""
        for k, (thing, clicks) in enumerate(found):
            if thing.piece is None:
                continue
            clicks = [*clicks, click]
            key = key_of(clicks)
            if key not in self._things_kept:
                piece = self._piece_at(clicks)
                if piece is None:
                    continue
                self._thing(clicks, Extent(piece.points), piece)
            found[k] = self._things_kept[key], clicks
            return True
        return False

    def _piece(self, click: Click) -> Piece:
        """Return the piece that a click is on.

        Raises:
            InputError: It is on a large flat surface, or on nothing that ends nearby.
        """
        cloud = torch.cat([self._overview, self._around(click)])
        if is_flat(cloud, click.point, self._eyes, FLAT * click.distance):
            raise InputError(
                f"the click {click.label} is on a large flat surface (a table, floor or wall), all of which "
                "can hardly be meant: click on a thing that stands on it or hangs at it, or mark a part of "
                "the surface with --mask or --box"
            )
        piece = self._piece_at([click])
        if piece is not None:
            return piece
        raise InputError(
            f"no thing was found at the click {click.label}: what is there does not stand out from its "
            "surroundings; click nearer to the middle of the thing, or mark it with --mask or --box"
        )

    def _widened(self, thing: ClickedThing, clicks: Sequence[Click]) -> ClickedThing:
        """Return a thing with what is around clicks that lie farther out than was looked at."""
        away = max(float((click.point - thing.extent.center).norm()) for click in clicks)
        if away < thing.ball.radius:
            return thing
        ball, scale, parts = self._look(thing.extent, MARGIN * away)
        selection = replace(thing.selection, parts=parts)
        return ClickedThing(
            thing.extent, ball, scale, {part.view.name: part for part in parts}, selection, thing.piece
        )

    def _look(self, extent: Extent, radius: float) -> tuple[Ball, float, list[SeenPart]]:
        """Return what is around a thing, and what photographs show of it, in which scale."""
        ball = look_inside(self.scene, extent.center, radius)
        parts = see_ball(ball, self._views(extent), self._hides, FINE_RAYS)
        return ball, parts[0].size[0] / parts[0].view.size[0], parts

    def _seen(self, thing: ClickedThing, clicks: Sequence[Click]) -> list[tuple[Click, SeenPart]]:
        """Return the clicks whose rays come near a thing, with what their photographs show of it."""
        seen = []
        for click in clicks:
            name = click.view.name
            if name not in thing.parts:
                part = see_in_view(thing.ball, click.view, thing.scale, self._hides)
                if part is None:
                    continue
                thing.parts[name] = part
            part = thing.parts[name]
            if bool(part.camera.project(click.point[None]).inside):
                seen.append((click, part))
        return seen

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
