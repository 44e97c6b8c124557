"""The shade layer of an edit: what it does to the light around it, in a folder of its own.

    layers/001-name-shade/shade.safetensors

It is written before the layer is fitted over it, or after, from the finished layer, and used as it was written
when the edit is resumed. It joins the scene with the layer that it belongs to.
"""

from __future__ import annotations

from pathlib import Path

from nerf_insert.editing.session import EditSession
from nerf_insert.fields.shade_layer import FILE, ShadeLayer
from nerf_insert.runtime.progress import Progress
from nerf_insert.scene.recipe import Recipe
from nerf_insert.scene.scene import LayerEntry


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
    """Return the folder of an edit's shade layer; None if it has none."""
    home = shade_folder(folder)
    return home if (home / FILE).exists() else None


def shade_entry(owner: LayerEntry, folder: Path, recipe: Recipe) -> LayerEntry:
    """Return the entry of the shade layer in a folder."""
    name = f"{owner.name}: shadow"
    return LayerEntry(folder.name, name, shade_of=owner.folder, strength=recipe.shadow.strength)
