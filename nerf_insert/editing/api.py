"""Edits from Python: a recipe from arguments, and one call that makes the layer.

These are what `nerf_insert.edit` and `nerf_insert.make_recipe` are. The command line and the web page make
recipes of their own and call the same loop.
"""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from nerf_insert.editing import loop
from nerf_insert.errors import InputError
from nerf_insert.geometry.up_axis import UpAxis
from nerf_insert.regions.spec import Mesh, RegionSpec
from nerf_insert.runtime.progress import SILENT, Progress
from nerf_insert.scene.recipe import GuideSpec, Recipe, Schedule, ShadowKind, ShadowSpec
from nerf_insert.scene.scene import LayerEntry, Scene

File = str | Path
Pose = Any  # text as --pose takes it, four rows of four numbers, or a 4x4 tensor or array
Region = RegionSpec | Mapping[str, Any]


def edit(
    scene: Scene | File,
    recipe: Recipe | File | None = None,
    *,
    region: Region | None = None,
    mesh: File | None = None,
    pose: Pose | None = None,
    up_axis: UpAxis | None = None,
    prompt: str | None = None,
    negative_prompt: str | None = None,
    reference: File | Sequence[File] | None = None,
    inpainter: str | type | None = None,
    inpainter_options: Mapping[str, Any] | None = None,
    schedule: Schedule | Mapping[str, Any] | None = None,
    steps: int | None = None,
    rounds: int | None = None,
    anchors: int | None = None,
    strength: float | None = None,
    shadow: ShadowKind | ShadowSpec | Mapping[str, Any] | None = None,
    name: str | None = None,
    seed: int | None = None,
    force: bool = False,
    progress: Progress = SILENT,
) -> LayerEntry:
    """Edit a scene: make a layer and put it on top.

    The edit is described by a recipe, by the arguments of `make_recipe`, or by both; arguments override what
    the recipe says. An edit that was interrupted, even by a crash, resumes when it is called again with the
    same arguments, and ends with the same layer. If the topmost layer was made by the same edit, nothing is
    done.

    Args:
        scene: A scene, or its folder.
        recipe: A recipe, or a recipe file.
        region: See `make_recipe`, as for all arguments up to `seed`.
        mesh: Colored mesh to insert.
        pose: From the mesh's coordinates to the world's.
        up_axis: The axis of the mesh's file that points up.
        prompt: What to paint.
        negative_prompt: What not to paint.
        reference: Image or images of what to paint.
        inpainter: Name or class of the inpainter.
        inpainter_options: Its options.
        schedule: How to paint and fit.
        steps: Steps of the layer's fit.
        rounds: Rounds of painting and fitting.
        anchors: Views painted first and jointly.
        strength: Strength of the first round.
        shadow: What the edit does to the light around it.
        name: The layer's name.
        seed: Random seed.
        force: Make the layer even if the topmost one was made by the same edit.
        progress: Where progress and warnings go. Its `stop` method, called from another thread, ends the
            edit with `Stopped`.

    Returns:
        The entry of the layer in `scene.layers`.

    Raises:
        InputError: Something that the user can fix; the message says what to do. The scene is unchanged.
        RunError: The work failed, for example because the disk is full. What was done is kept.
        Stopped: `progress` was stopped. What was done is kept.

    Examples:
        >>> scene = Scene.open("my-scene")
        >>> edit(scene, mesh="chair.glb", pose="scale=0.5 translate=1.2,0.4,0")
        >>> edit(scene, region=Masks({"004": "a.png", "017": "b.png"}))  # remove what the masks show
    """
    opened = scene if isinstance(scene, Scene) else Scene.open(scene)
    made = make_recipe(
        recipe,
        region=region,
        mesh=mesh,
        pose=pose,
        up_axis=up_axis,
        prompt=prompt,
        negative_prompt=negative_prompt,
        reference=reference,
        inpainter=inpainter,
        inpainter_options=inpainter_options,
        schedule=schedule,
        steps=steps,
        rounds=rounds,
        anchors=anchors,
        strength=strength,
        shadow=shadow,
        name=name,
        seed=seed,
    )
    return loop.edit(opened, made, progress, again=force)


def make_recipe(
    recipe: Recipe | File | None = None,
    *,
    region: Region | None = None,
    mesh: File | None = None,
    pose: Pose | None = None,
    up_axis: UpAxis | None = None,
    prompt: str | None = None,
    negative_prompt: str | None = None,
    reference: File | Sequence[File] | None = None,
    inpainter: str | type | None = None,
    inpainter_options: Mapping[str, Any] | None = None,
    schedule: Schedule | Mapping[str, Any] | None = None,
    steps: int | None = None,
    rounds: int | None = None,
    anchors: int | None = None,
    strength: float | None = None,
    shadow: ShadowKind | ShadowSpec | Mapping[str, Any] | None = None,
    name: str | None = None,
    seed: int | None = None,
) -> Recipe:
    """Make a recipe from arguments, with absolute file names.

    Args:
        recipe: A recipe or a recipe file to start from.
        region: Where: `Masks`, `Mesh`, `Box` or a combination, or the plain data of one. Default: the mesh
            and a little around it.
        mesh: Colored mesh to insert: GLB, glTF, OBJ, PLY or STL.
        pose: From the mesh's coordinates to the world's: a 4x4 matrix, or text such as
            "scale=0.5 rotate=0,0,90 translate=1.2,0.4,0" (degrees). Default: they are the same.
        up_axis: The axis of the mesh's file that points up, which is turned to the scene's up before the
            pose; "none": its axes stay as they are. Default: "y" for GLB and glTF, as their standard says,
            otherwise "none". A `Mesh` given as the region has an up axis of its own, with the same default.
        prompt: What to paint, for inpainters that read text.
        negative_prompt: What not to paint.
        reference: Image or images of what to paint, for inpainters that read them.
        inpainter: A registered name, "package.module:Class", or a class that can be imported. Default:
            "diffusion" with a prompt or a reference, "mesh" with a mesh, otherwise "fill".
        inpainter_options: The inpainter's own options, added to those of `recipe`.
        schedule: How to paint and fit, a `Schedule` or some of its fields.
        steps: Steps of the layer's fit, over all rounds.
        rounds: Rounds of painting and fitting.
        anchors: Views painted first and jointly; 0: every round paints all views.
        strength: Strength of the inpainting in the first round, above 0, at most 1.
        shadow: "cast", "contact" or "none", or a `ShadowSpec` or its fields for another strength. Default:
            "cast" with "mesh", and with "fill", where it takes the removed object's back; otherwise "none".
        name: The layer's name. Default: the mesh's file name, otherwise "edit".
        seed: Random seed.

    Raises:
        InputError: There is no region, or an argument cannot be used.

    Examples:
        >>> make_recipe(region=Box(center=(0, 0, 0.5), size=(1, 1, 1)), prompt="a potted fern").save(path)
    """
    base = recipe if isinstance(recipe, Recipe) or recipe is None else Recipe.load(recipe)
    matrix = _matrix(pose)
    if pose is not None and mesh is None:
        raise InputError("a pose places a mesh: give the mesh too")
    if up_axis is not None and mesh is None:
        raise InputError("up_axis is for a mesh: give the mesh too")
    if region is None and mesh is not None:
        region = Mesh(os.fspath(mesh), matrix, up_axis=up_axis)
    if region is None and base is None:
        raise InputError("say where: give a region, a mesh, or a recipe that has one")
    guide = base.guide if base else GuideSpec()
    if mesh is not None:
        guide = replace(guide, mesh=os.fspath(mesh), pose=matrix, up_axis=up_axis)
    if prompt is not None:
        guide = replace(guide, prompt=prompt)
    if negative_prompt is not None:
        guide = replace(guide, negative_prompt=negative_prompt)
    if reference is not None:
        files = [reference] if isinstance(reference, str | Path) else reference
        guide = replace(guide, reference=[os.fspath(file) for file in files])
    if inpainter is not None:
        painter = inpainter if isinstance(inpainter, str) else _name_of(inpainter)
    elif base and mesh is None and prompt is None and reference is None:
        painter = base.inpainter
    else:
        painter = "diffusion" if guide.prompt or guide.reference else "mesh" if guide.mesh else "fill"
    kept = base.inpainter_options if base and base.inpainter == painter else {}
    plan = schedule if isinstance(schedule, Schedule) else base.schedule if base else Schedule()
    given = {"steps": steps, "rounds": rounds, "anchors": anchors, "strength": strength}
    changes = dict(schedule) if isinstance(schedule, Mapping) else {}
    changes |= {key: value for key, value in given.items() if value is not None}
    made = Recipe(
        region=RegionSpec.parse(base.region if region is None and base else region),
        guide=guide,
        inpainter=painter,
        inpainter_options={**kept, **(inpainter_options or {})},
        schedule=_changed(plan, changes),
        shadow=_shadow(shadow, base),
        name=name or (base.name if base else Path(mesh).stem if mesh is not None else "edit"),
        seed=seed if seed is not None else base.seed if base else 0,
        approved=base.approved if base else {},
        deprecations=base.deprecations if base else (),
    )
    return made.map_files(lambda file: str(Path(file).expanduser().absolute()))


def _shadow(shadow: ShadowKind | ShadowSpec | Mapping[str, Any] | None, base: Recipe | None) -> ShadowSpec:
    """Return the shadow of a recipe: as given, otherwise as in the recipe to start from."""
    from nerf_insert.io import schema

    kept = base.shadow if base else ShadowSpec()
    if isinstance(shadow, Mapping):
        return schema.parse_fields(shadow, ShadowSpec, "shadow")
    if isinstance(shadow, str):
        return replace(kept, kind=shadow)
    return kept if shadow is None else shadow


def _matrix(pose: Pose | None) -> Any:
    """Return the 4x4 matrix of a pose that may be text."""
    if not isinstance(pose, str):
        tolist = getattr(pose, "tolist", None)  # a tensor or an array
        return tolist() if tolist else pose
    from nerf_insert.geometry.pose import Pose as ParsedPose

    return ParsedPose.parse(pose).matrix.tolist()


def _changed(schedule: Schedule, changes: Mapping[str, Any]) -> Schedule:
    """Return the schedule with some fields changed."""
    from nerf_insert.io import schema

    schema.check_keys(changes, [*vars(schedule)], "schedule")
    return replace(schedule, **changes)


def _name_of(inpainter: type) -> str:
    """Return the name under which a recipe can find a class again, also one of the script that runs."""
    if not inspect.isclass(inpainter) or "<locals>" in inpainter.__qualname__:
        raise InputError(
            f"the inpainter {inpainter!r} cannot be named in a recipe: give a class at the top level of a "
            "module, and its arguments as inpainter_options"
        )
    module = inpainter.__module__
    if module == "__main__" and (file := getattr(sys.modules["__main__"], "__file__", None)):
        module = Path(file).stem
    return f"{module}:{inpainter.__qualname__}"
