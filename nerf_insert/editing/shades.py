"""The shade layer of an edit: what it does to the light around it, in a folder of its own.

    layers/001-name-shade/shade.safetensors

It is written before the layer is fitted over it, or after, from the finished layer, and used as it was
written when the edit is resumed. It joins the scene with the layer that it belongs to.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from nerf_insert.capture.placement import up_of
from nerf_insert.capture.view import View
from nerf_insert.editing.session import EditSession
from nerf_insert.fields.layer import Layer
from nerf_insert.fields.shade_layer import FILE, ShadeLayer
from nerf_insert.geometry.cameras import Camera
from nerf_insert.geometry.color import srgb_to_linear
from nerf_insert.lighting.depth_fusion import fuse_tsdf
from nerf_insert.lighting.flat_depth import flattened, moved_points
from nerf_insert.lighting.light import Occluder
from nerf_insert.lighting.scene_light import find_light, light_reach
from nerf_insert.lighting.shade_bake import bake_shade
from nerf_insert.lighting.shade_removal import take_back_shade
from nerf_insert.lighting.surface import SceneSurface, surface_radiance
from nerf_insert.regions.region import Region
from nerf_insert.rendering.depth_view import DepthView, render_depth_views
from nerf_insert.rendering.stack import LayerStack
from nerf_insert.runtime.progress import Progress
from nerf_insert.scene.recipe import Recipe
from nerf_insert.scene.scene import LayerEntry

REACH = 2.5  # half side of the box in which the scene's surface is looked for, in diagonals of the region
CELLS = 128  # along its sides
THING_CELLS = 96  # of the inserted thing's surface along its region
SAME_CELLS = 2.0  # distance from the scene's surface up to which a surface in the layer is the scene's own
MAX_VIEWS = 20  # that the thing's surface is fused from
PIXELS = 40_000  # of each of them
NOTHING_CAST = "The edit changes no light around it that could be seen: it gets no shadow."
NOTHING_TAKEN_BACK = "The photographs do not tell which shadow the removed thing cast: nothing is taken back."


def shade_folder(folder: Path) -> Path:
    """Return the folder of the shade layer that belongs to the layer in `folder`."""
    return folder.with_name(f"{folder.name}-shade")


def with_kept_shade(session: EditSession, folder: Path) -> EditSession:
    """Keep the shade layer that the inpainter has prepared on disk; a kept one is used as it is.

    Raises:
        InputError: The kept one is damaged.
        RunError: The disk cannot be written.
    """
    if session.inpainter.shade is None:
        return session
    file = shade_folder(folder) / FILE
    if not file.exists():
        session.inpainter.shade.save(file)
    return session.over(ShadeLayer.load(file, session.recipe.shadow.strength))


def shade_of_edit(session: EditSession, folder: Path, progress: Progress) -> Path | None:
    """Return the folder of an edit's shade layer, computed from the finished layer if it is not there yet.

    Raises:
        RunError: The disk cannot be written.
    """
    home = shade_folder(folder)
    if not (home / FILE).exists() and session.shadow != "none" and session.inpainter.shade is None:
        layer = Layer.load(folder / "field.safetensors", session.region).to(session.stack.device)
        if session.inpainter.removes:
            shade, nothing = shade_of_removal(session, layer, progress), NOTHING_TAKEN_BACK
        else:
            shade, nothing = shade_of_layer(session, layer, progress), NOTHING_CAST
        if shade is None:
            progress.say(nothing)
        else:
            shade.save(home / FILE)
    return home if (home / FILE).exists() else None


def shade_entry(owner: LayerEntry, folder: Path, recipe: Recipe) -> LayerEntry:
    """Return the entry of the shade layer in a folder."""
    name = f"{owner.name}: shadow"
    return LayerEntry(folder.name, name, shade_of=owner.folder, strength=recipe.shadow.strength)


def shade_of_layer(session: EditSession, layer: Layer, progress: Progress) -> ShadeLayer | None:
    """Compute what a finished layer does to the light around it, from its own surface.

    Returns:
        The shade layer; None if the layer holds nothing that the scene does not, or changes no light.
    """
    region, views = session.region, [seen.view for seen in session.views]
    center, reach = region.bounds.mean(0), REACH * region.diagonal
    with progress.task("Casting the shadow", total=4) as task:
        shown = render_depth_views(session.stack, views)
        depth_views = flattened(shown, center, light_reach(views, center, region.diagonal))
        box = torch.stack([center - reach, center + reach])
        surface = fuse_tsdf(depth_views, box, CELLS)
        task.advance(1)
        below = fuse_tsdf(shown, box, CELLS)  # as the layer has it, too
        thing = _new_surface(session.stack.with_layer(layer), views, region, below)
        task.advance(1)
        if thing is None:
            return None
        light = find_light(
            session.stack, depth_views, views, center, region.diagonal, up_of(views), session.recipe.seed
        )
        task.advance(1)
        kind = "contact" if session.shadow == "contact" else "cast"
        bounds, strength = thing.mesh.bounds, float(session.recipe.shadow.strength)
        moved = moved_points(shown, depth_views)
        shade = bake_shade(
            surface, light.light, _occluder(thing), bounds, kind, strength=strength, moved=moved
        )
        task.advance(1)
    return shade


def shade_of_removal(session: EditSession, layer: Layer, progress: Progress) -> ShadeLayer | None:
    """Compute what takes back the shadow of the thing that a finished layer has removed.

    Returns:
        The shade layer; None if nothing was removed, or the photographs do not tell what its shadow was.
    """
    region, views = session.region, [seen.view for seen in session.views]
    center, reach = region.bounds.mean(0), REACH * region.diagonal
    box = torch.stack([center - reach, center + reach])
    with progress.task("Taking the shadow back", total=4) as task:
        shown = render_depth_views(session.stack, views)
        removed = session.stack.with_layer(layer)
        after = [replace(view, depth=removed.render_image(view.camera).depth) for view in shown]
        reach = light_reach(views, center, region.diagonal)
        before, flat = flattened(shown, center, reach), flattened(after, center, reach)
        task.advance(1)
        surface = fuse_tsdf(flat, box, CELLS)
        thing = _new_surface(session.stack, views, region, fuse_tsdf(after, box, CELLS))
        task.advance(1)
        if thing is None or not len(surface.mesh.faces):
            return None
        # What the photographs show of the surface, where the thing does not hide it.
        radiance, spread = surface_radiance(before, surface.mesh.vertices, surface.normals, 2 * surface.cell)
        surface = replace(surface, radiance=radiance, spread=spread)
        light = find_light(
            session.stack, before, views, center, region.diagonal, up_of(views), session.recipe.seed
        )
        task.advance(1)
        bounds, strength = thing.mesh.bounds, float(session.recipe.shadow.strength)
        moved = moved_points(after, flat)
        shade = take_back_shade(
            surface, light.light, _occluder(thing), bounds, strength=strength, moved=moved
        )
        task.advance(1)
    return shade


def _occluder(thing: SceneSurface) -> Occluder:
    return Occluder(thing.mesh.cast, thing.as_occluder().radiance)


def _new_surface(
    stack: LayerStack, views: Sequence[View], region: Region, below: SceneSurface
) -> SceneSurface | None:
    """The surface that a stack shows in a region, without what another surface has there; None: none."""
    from scipy.spatial import KDTree

    chosen = [views[k * len(views) // MAX_VIEWS] for k in range(MAX_VIEWS)]
    chosen = list({view.name: view for view in chosen}.values())
    seen = fuse_tsdf([_rendered(stack, view.camera, region) for view in chosen], region.bounds, THING_CELLS)
    vertices, faces = seen.mesh.vertices, seen.mesh.faces
    if not len(faces):
        return None
    old = torch.zeros(len(vertices), dtype=torch.bool)
    if len(below.mesh.vertices):
        reach = SAME_CELLS * seen.cell + below.cell
        distance = KDTree(below.mesh.vertices.numpy()).query(vertices.numpy())[0]
        old = torch.from_numpy(distance < reach)
    kept = faces[~old[faces].all(-1)]
    if not len(kept):
        return None
    front = seen.front[~old[faces].all(-1)]
    corners = seen.mesh.corner_colors[~old[faces].all(-1)]
    return replace(seen, mesh=replace(seen.mesh, faces=kept, corner_colors=corners), front=front)


def _rendered(stack: LayerStack, camera: Camera, region: Region) -> DepthView:
    """A small render of a region as a depth view; nothing is seen elsewhere."""
    small = camera.scaled(min(1.0, (PIXELS / (camera.width * camera.height)) ** 0.5))
    image = stack.render_masked(small, region.project(small))
    return DepthView(camera=small, depth=image.depth, color=srgb_to_linear(image.rgb))
