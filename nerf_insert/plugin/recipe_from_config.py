"""Make a recipe of the flags of `ns-train nerf-insert`."""

from __future__ import annotations

from nerf_insert.errors import InputError
from nerf_insert.plugin.edit_config import EditConfig
from nerf_insert.runtime.progress import SILENT, Progress
from nerf_insert.scene import recipe_from_flags
from nerf_insert.scene.recipe import Recipe

BOX_LENGTHS = (6, 9)


def recipe_of(config: EditConfig, prompt: str | None, progress: Progress = SILENT) -> Recipe | None:
    """Return the recipe that the flags describe; None if no flag is about an edit.

    Raises:
        InputError: A flag cannot be used.
    """
    flags = {**vars(config), "prompt": prompt, "reference": config.reference or None}
    if not any(value not in (None, ()) for value in flags.values()):
        return None
    if config.box and len(config.box) not in BOX_LENGTHS:
        raise InputError("--box takes 6 or 9 numbers: center, side lengths, rotation in degrees")
    return recipe_from_flags.recipe_of(flags, progress)
