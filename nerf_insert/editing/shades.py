"""The shade layer of an edit: what it does to the light around it, in a folder of its own.

    layers/001-name-shade/shade.safetensors

The light that casts it is kept in the layer's own folder (lighting/kept_light.py).

It is written before the layer is fitted over it, or after, from the finished layer, and used as it was
written when the edit is resumed. It joins the scene with the layer that it belongs to.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import torch

from nerf_insert.capture.placement import up_of
from nerf_insert.editing.session import EditSession
from nerf_insert.fields.layer import Layer
from nerf_insert.fields.shade_layer import FILE, ShadeLayer
from nerf_insert.lighting import kept_light
from nerf_insert.lighting.depth_fusion import fuse_tsdf
from nerf_insert.lighting.flat_depth import flattened, moved_points
from nerf_insert.lighting.kept_light import KeptLight
from nerf_insert.lighting.light import Occluder
from nerf_insert.lighting.new_surface import new_surface
from nerf_insert.lighting.removed_shadow import removed_shadow
from nerf_insert.lighting.scene_light import find_light, light_reach
from nerf_insert.lighting.shade_bake import bake_shade
from nerf_insert.rendering.depth_view import render_depth_views
from nerf_insert.runtime.progress import Progress
from nerf_insert.scene.recipe import Recipe
from nerf_insert.scene.scene import LayerEntry

REACH = 2.5  # half side of the box in which the scene's surface is looked for, in diagonals of the region
CELLS = 128  # along its sides
NOTHING_CAST = "The edit changes no light around it that could be seen: it gets no shadow."
NOTHING_TAKEN_BACK = "The photographs do not tell which shadow the removed thing cast: nothing is taken back."


def shade_folder(folder: Path) -> Path:
    """Return the folder of the shade layer that belongs to the layer in `folder`."""
    return folder.with_name(f"{folder.name}-shade")


def with_kept_shade(session: EditSession, folder: Path, progress: Progress) -> EditSession:
    """Keep the shade layer that the inpainter has prepared on disk; a kept one is used as it is.

    Raises:
        InputError: The kept one is damaged.
        RunError: The disk cannot be written.
    """
    file = shade_folder(folder) / FILE
    if not session.inpainter.shades or session.shadow == "none":
        return session
    if not file.exists():
        _keep(session, session.inpainter.shade, file, progress)
    return session.over(ShadeLayer.load(file, session.recipe.shadow.strength)) if file.exists() else session


def drop_kept_shade(folder: Path) -> None:
    """Delete the shade layer that belongs to the layer in `folder`, which is to be made anew."""
    shutil.rmtree(shade_folder(folder), ignore_errors=True)


def shade_of_edit(session: EditSession, folder: Path, progress: Progress) -> Path | None:
    """Return the folder of an edit's shade layer, computed from the finished layer if it is not there yet.

    Raises:
        RunError: The disk cannot be written.
    """
    home = shade_folder(folder)
    if not (home / FILE).exists() and session.shadow != "none" and not session.inpainter.shades:
        layer = Layer.load(folder / "field.safetensors", session.region).to(session.stack.device)
        if session.inpainter.removes:
            shade = shade_of_removal(session, layer, progress)
        else:
            shade = shade_of_layer(session, layer, folder, progress)
        _keep(session, shade, home / FILE, progress)
    return home if (home / FILE).exists() else None


def keep_light(light: KeptLight | None, folder: Path) -> None:
    """Keep the light that an edit found in its layer's folder, for later edits of the place.

    Raises:
        RunError: The disk cannot be written.
    """
    if light is not None:
        light.save(folder / kept_light.FILE)


def _keep(session: EditSession, shade: ShadeLayer | None, file: Path, progress: Progress) -> None:
    """Write the shade layer, or say that there is none."""
    if shade is not None:
        shade.save(file)
    else:
        progress.say(NOTHING_TAKEN_BACK if session.inpainter.removes else NOTHING_CAST)


def shade_entry(owner: LayerEntry, folder: Path, recipe: Recipe) -> LayerEntry:
    """Return the entry of the shade layer in a folder."""
    name = f"{owner.name}: shadow"
    return LayerEntry(folder.name, name, shade_of=owner.folder, strength=recipe.shadow.strength)


def shade_of_layer(session: EditSession, layer: Layer, folder: Path, progress: Progress) -> ShadeLayer | None:
    """Compute what a finished layer does to the light around it, from its own surface.

    Returns:
        The shade layer; None if the layer holds nothing that the scene does not, or changes no light.

    Raises:
        RunError: The disk cannot be written; the light is kept in `folder`.
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
        thing = new_surface(session.stack.with_layer(layer), views, region, below)
        task.advance(1)
        if thing is None:
            return None
        here, size, seed = session.light, region.diagonal, session.recipe.seed
        if here is None:
            found = find_light(session.stack, views, center, size, up_of(views), seed, depth_views)
            here = KeptLight(found.light, center, size, estimated=True)
        keep_light(here, folder)
        task.advance(1)
        kind = "contact" if session.shadow == "contact" else "cast"
        bounds, strength = thing.mesh.bounds, float(session.recipe.shadow.strength)
        occluder = Occluder(thing.mesh.cast, thing.as_occluder().radiance)
        moved = moved_points(shown, depth_views)
        shade = bake_shade(surface, here.light, occluder, bounds, kind, strength=strength, moved=moved)
        task.advance(1)
    return shade


def shade_of_removal(session: EditSession, layer: Layer, progress: Progress) -> ShadeLayer | None:
    """Compute what takes back the shadow of the thing that a finished layer has removed.

    Returns:
        The shade layer; None if nothing was removed, or the photographs do not tell what its shadow was.
    """
    removed = session.stack.with_layer(layer)
    return removed_shadow(
        session.stack,
        lambda rays: removed.render(rays).depth,
        session.region,
        [seen.view for seen in session.views],
        progress,
        seed=session.recipe.seed,
        strength=float(session.recipe.shadow.strength),
    )
