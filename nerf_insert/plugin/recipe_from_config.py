"""Make a recipe of the flags of `ns-train nerf-insert`."""

from __future__ import annotations

from nerf_insert.errors import InputError
from nerf_insert.plugin.coordinates import world_from_nerfstudio
from nerf_insert.plugin.edit_config import EditConfig
from nerf_insert.runtime.progress import SILENT, Progress
from nerf_insert.scene import recipe_from_flags
from nerf_insert.scene.recipe import Recipe
from nerf_insert.scene.scene import Scene

BOX_LENGTHS = (6, 9)


def recipe_of(
    config: EditConfig, prompt: str | None, progress: Progress = SILENT, scene: Scene | None = None
) -> Recipe | None:
    """Return the recipe that the flags describe; None if no flag is about an edit.

    Args:
        config: The flags.
        prompt: The text prompt, which is a flag of the model.
        progress: Is told warnings.
        scene: The scene to edit, which the flag nerfstudio needs.

    Raises:
        InputError: A flag cannot be used.
    """
    flags = {**vars(config), "prompt": prompt, "reference": config.reference or None}
    if not any(value not in (None, ()) for value in flags.values()):
        return None
    if config.box and len(config.box) not in BOX_LENGTHS:
        raise InputError("--box takes 6 or 9 numbers: center, side lengths, rotation in degrees")
    to_world = None
    if config.nerfstudio is not None and scene is not None:
        to_world = world_from_nerfstudio(scene, config.nerfstudio)
    return recipe_from_flags.recipe_of(flags, progress, to_world=to_world)
