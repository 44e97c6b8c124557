"""The recipe that the flags of `ns-train nerf-insert` make."""

from __future__ import annotations

from nerf_insert.errors import InputError
from nerf_insert.plugin.config import EditConfig
from nerf_insert.runtime.progress import SILENT, Progress
from nerf_insert.scene import recipe_from_flags
from nerf_insert.scene.recipe import Recipe

BOX = (6, 9)  # numbers


def recipe_of(config: EditConfig, prompt: str | None, progress: Progress = SILENT) -> Recipe | None:
    """None where no flag says anything of an edit. Raises InputError."""
    flags = {**vars(config), "prompt": prompt, "reference": config.reference or None}
    if not any(value not in (None, ()) for value in flags.values()):
        return None
    if config.box and len(config.box) not in BOX:
        raise InputError("--box takes 6 or 9 numbers: center, side lengths, rotation in degrees")
    return recipe_from_flags.recipe_of(flags, progress)
