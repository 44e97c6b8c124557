"""The edit: from a recipe to a layer on top of the scene.

    region -> masks in all views -> [paint views -> fit the layer] x rounds -> layer on top

After a removal, what remains of the thing is looked for, and the region widened once (editing/widening.py).

What the edit does to the light around it is a shade layer below that (editing/shades.py). Both join the scene
in one change.

Every painted view and the state of the fit are written as they are made, under layers/NNN-name/; the layer
joins the scene when it is complete. An edit that was stopped at any moment resumes with the same recipe and
ends with the same layer: randomness follows from the seed and the step, and painted images are always used
as they were written.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing

from nerf_insert.editing.layer_folder import (
    belongs_to,
    create_folder,
    edit_identities,
    find_unfinished,
    read_work,
    tidy,
)
from nerf_insert.editing.rounds import EditRounds, EditState
from nerf_insert.editing.session import prepare
from nerf_insert.editing.shades import keep_light, shade_entry, shade_of_edit, with_kept_shade
from nerf_insert.editing.widening import resume_wider, widen_once
from nerf_insert.fields.layer import Layer
from nerf_insert.io.files import write_json, write_yaml
from nerf_insert.runtime.progress import SILENT, Progress
from nerf_insert.scene.recipe import Recipe
from nerf_insert.scene.scene import LayerEntry, Scene

__all__ = ["EditState", "edit", "edit_steps"]


def edit(scene: Scene, recipe: Recipe, progress: Progress, *, again: bool = False) -> LayerEntry:
    """Make the recipe's layer and put it on top of the scene; resumes an edit that was stopped.

    Args:
        scene: Changed in place and on disk.
        recipe: The edit.
        progress: Where the work is reported, and from where it can be paused and stopped.
        again: Make the layer even if the topmost layer came from this very recipe.

    Returns:
        The new layer, or the topmost one if it came from this recipe.

    Raises:
        InputError: Something that the user can fix; the message says what to do.
        RunError: Something failed on the way.
        Stopped: The user stopped the work.
    """
    with closing(edit_steps(scene, recipe, progress, again=again)) as steps:
        while True:
            try:
                next(steps)
            except StopIteration as end:
                return end.value


def edit_steps(
    scene: Scene, recipe: Recipe, progress: Progress = SILENT, *, again: bool = False
) -> Generator[EditState, None, LayerEntry]:
    """Do what `edit` does, one batch of painted views or one step of the fit at a time.

    The generator holds the scene's lock until it ends or is closed; closing it early keeps what an edit needs
    to resume. Arguments and errors are those of `edit`, its return value is the layer.

    Yields:
        The state after each painted batch and each step of the fit.
    """
    with scene.locked():
        made = scene.layers[-1] if scene.layers else None
        if made and not again and belongs_to(scene.layer_folder(made), edit_identities(scene, recipe, made)):
            progress.say(
                f"Layer {made.name} was already made by this recipe; nothing to do."
                + ("" if made.enabled else f" It is disabled (layers enable {len(scene.layers)}).")
            )
            return made
        identities = edit_identities(scene, recipe)
        folder = find_unfinished(scene, identities)
        work = read_work(folder) if folder else {}
        session = prepare(scene, recipe.with_options(work.get("options", {})), progress)
        if folder is None:
            identity, settled = identities[0], edit_identities(scene, session.recipe)[0]
            folder = create_folder(scene, session.recipe, identity, settled)
        else:
            identity = work.get("identity", identities[0])
            progress.say(f"Resuming the edit in {folder}.")
        if not (folder / "region" / "region.json").exists():
            write_yaml(folder / "recipe.yaml", session.recipe.copied_into(folder).to_dict())
            write_json(folder / "region" / "region.json", session.region.save(folder / "region"))
        keep_light(session.inpainter.light_here, folder)
        unshaded = resume_wider(session, folder, scene.capture, progress)
        session = with_kept_shade(unshaded, folder, progress)
        if not (folder / "field.safetensors").exists():
            if session.inpainter.empties:
                Layer.empty(session.region, session.field_config).save(folder / "field.safetensors")
            else:
                yield from EditRounds(session, folder, identity, progress).steps()
        if (wider := widen_once(session, unshaded, folder, scene.capture, progress)) is not None:
            session = with_kept_shade(wider, folder, progress)
            yield from EditRounds(session, folder, identity, progress).steps()
        shade = shade_of_edit(session, folder, progress)
        tidy(folder)
        entry = LayerEntry(folder.name, recipe.name)
        shades = [] if shade is None else [shade_entry(entry, shade, recipe)]
        scene.add(*shades, entry)
        return entry
