"""From a draft to a recipe, and from a recipe to the command line that repeats it."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from nerf_insert.app.drafts import Draft, Drafts, MeshPose
from nerf_insert.app.inpainter_list import check_inpainter
from nerf_insert.errors import InputError
from nerf_insert.geometry.pose import Pose
from nerf_insert.geometry.up_axis import standard_up_axis
from nerf_insert.inpaint.mesh.light_option import parse_light
from nerf_insert.io import schema
from nerf_insert.regions.spec import (
    Box,
    Dilate,
    Heal,
    Intersection,
    Masks,
    Matrix,
    Mesh,
    Points,
    RegionSpec,
    Union,
)
from nerf_insert.scene.recipe import GuideSpec, Recipe, Schedule, ShadowSpec
from nerf_insert.scene.recipe_from_flags import COMBINATIONS

NO_REGION = (
    "Mark a region first (step Mark): click on the object, paint it on two photographs, place a mesh, or "
    "place a box."
)
ANYWHERE = Box((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))  # stands for the region in checks


def check_schedule(draft: Draft) -> None:
    """Check a draft's steps, rounds and blend width.

    Raises:
        InputError: One of them is out of bounds.
    """
    _schedule(draft)


def check_content(draft: Draft, allowed: Sequence[Path]) -> None:
    """Check everything in a draft but its region.

    Args:
        draft: The draft.
        allowed: Folders whose files the options of the inpainter may name.

    Raises:
        InputError: A value is one that no recipe may have.
    """
    if draft.combine not in COMBINATIONS:
        raise InputError(f"combine must be one of {', '.join(COMBINATIONS)}, not {draft.combine!r}")
    recipe = Recipe(
        region=ANYWHERE if draft.dilate is None else ANYWHERE.dilated(draft.dilate),
        guide=GuideSpec(prompt=draft.prompt, negative_prompt=draft.negative_prompt),
        inpainter=draft.inpainter or "fill",
        inpainter_options=inpainter_options(draft, draft.inpainter or "diffusion"),
        schedule=_schedule(draft),
        name=draft.name or "edit",
        seed=draft.seed,
        shadow=_shadow(draft),
    )
    check_inpainter(recipe.inpainter, recipe.inpainter_options, allowed)
    if draft.light is not None:
        parse_light(draft.light, "light")


def chosen_inpainter(draft: Draft) -> str:
    """Return the inpainter that the person chose, else the one that fits the draft's content."""
    if draft.inpainter:
        return draft.inpainter
    if draft.mesh:
        return "mesh"
    return "diffusion" if draft.prompt or draft.negative_prompt or draft.reference else "fill"


def pose_matrix(pose: MeshPose) -> Matrix:
    """Return the 4x4 matrix from mesh to world coordinates.

    Raises:
        InputError: The pose cannot be inverted.
    """
    return Pose.parse(pose_text(pose)).matrix.tolist()


def pose_text(pose: MeshPose) -> str:
    """Return a pose as `--pose` takes it."""
    rotate, translate = (",".join(f"{v:.10g}" for v in part) for part in (pose.rotate, pose.translate))
    return f"scale={pose.scale:.10g} rotate={rotate} translate={translate}"


def region_from_draft(draft: Draft, drafts: Drafts, key: str) -> RegionSpec:
    """Return the region of a draft: the union of all that is marked, or the intersection.

    Args:
        draft: The draft.
        drafts: The scene's drafts.
        key: The draft's ID.

    Raises:
        InputError: Nothing is marked.
    """
    parts: list[RegionSpec] = []
    if draft.points:
        parts.append(RegionSpec.parse({"points": draft.points, "not_points": draft.not_points or None}))
    for kind, painted in ((Masks, draft.masks), (Heal, draft.heal)):
        if painted:
            parts.append(
                kind({view: str(drafts.file(key, "masks", painted[view])) for view in sorted(painted)})
            )
    if draft.mesh and draft.mesh_is_region:
        path = str(drafts.file(key, "mesh", draft.mesh))
        parts.append(Mesh(path, pose_matrix(draft.mesh_pose), up_axis="none"))  # the pose has it
    if draft.box:
        parts.append(Box(draft.box.center, draft.box.size, draft.box.rotation))
    if not parts:
        raise InputError(NO_REGION)
    combination = Intersection if draft.combine == "intersection" else Union
    region = parts[0] if len(parts) == 1 else combination(tuple(parts))
    if draft.dilate is None:
        return region
    return replace(region, dilate=draft.dilate) if isinstance(region, Mesh) else region.dilated(draft.dilate)


def recipe_from_draft(draft: Draft, drafts: Drafts, key: str) -> Recipe:
    """Return the recipe of a draft, with absolute file names.

    Args:
        draft: The draft.
        drafts: The scene's drafts.
        key: The draft's ID.

    Raises:
        InputError: Something is missing or not allowed.
    """
    inpainter = chosen_inpainter(draft)
    if inpainter == "mesh" and not draft.mesh:
        raise InputError("The inpainter mesh needs a mesh: upload one, or choose another inpainter.")
    guide = GuideSpec(
        prompt=draft.prompt,
        negative_prompt=draft.negative_prompt,
        reference=str(drafts.file(key, "reference", draft.reference)) if draft.reference else None,
        mesh=str(drafts.file(key, "mesh", draft.mesh)) if draft.mesh else None,
        pose=pose_matrix(draft.mesh_pose) if draft.mesh else None,
        up_axis="none" if draft.mesh else None,
    )
    recipe = Recipe(
        region=region_from_draft(draft, drafts, key),
        guide=guide,
        inpainter=inpainter,
        inpainter_options=inpainter_options(draft, inpainter),
        schedule=_schedule(draft),
        name=draft.name.strip() or default_name(draft, inpainter),
        seed=draft.seed,
        shadow=_shadow(draft),
        approved={view: str(drafts.file(key, "kept", name)) for view, name in sorted(draft.kept.items())},
    )
    check_inpainter(recipe.inpainter, recipe.inpainter_options, drafts.allowed)
    return recipe


def inpainter_options(draft: Draft, inpainter: str) -> dict[str, Any]:
    """Return a draft's options for an inpainter, with the model of `diffusion` and the light of `mesh`."""
    if not isinstance(draft.options, dict):  # the recipe's checks report it
        return draft.options
    own: dict[str, Any] = {}
    if inpainter == "diffusion" and draft.model:
        own["model"] = draft.model
    if inpainter == "mesh" and draft.light:
        own["light"] = draft.light
    return own | draft.options


def default_name(draft: Draft, inpainter: str) -> str:
    """Return a name for the layer that describes its content."""
    if draft.mesh:
        return Path(draft.mesh).stem
    return " ".join(draft.prompt.split()[:5]) or {"fill": "removal"}.get(inpainter, "edit")


def command_line(recipe: Recipe, scene: Path, file: Path) -> str:
    """Return a shell command that runs a recipe again.

    Args:
        recipe: The recipe.
        scene: The scene folder.
        file: Where the recipe is written if flags cannot express it.

    Raises:
        RunError: The recipe cannot be written.
    """
    arguments = _flags(recipe)
    if arguments is None:
        recipe.save(file)
        arguments = ["--recipe", str(file)]
    return " ".join(shlex.quote(word) for word in ["nerf-insert", "edit", str(scene), *arguments])


def _schedule(draft: Draft) -> Schedule:
    """Return the schedule of a draft. Raises InputError for values out of bounds."""
    return Schedule(
        rounds=draft.rounds,
        steps=draft.steps or None,
        blend_width=draft.blend_width,
        view_dependent=draft.view_dependent or None,
    )


def _shadow(draft: Draft) -> ShadowSpec:
    """Return the shadow of a draft. Raises InputError for a kind that there is not."""
    return schema.parse_fields({"kind": draft.shadow or None}, ShadowSpec, "shadow")


def _flags(recipe: Recipe) -> list[str] | None:
    """Return a recipe as flags of `nerf-insert edit`; None if these cannot express it."""
    region = _region_flags(recipe)
    schedule, default = recipe.schedule, Schedule()
    if region is None or recipe.approved:
        return None
    if replace(default, steps=schedule.steps, rounds=schedule.rounds) != schedule:
        return None
    flags, guide = region, recipe.guide
    flags += ["--prompt", guide.prompt] if guide.prompt else []
    flags += ["--negative-prompt", guide.negative_prompt] if guide.negative_prompt else []
    for file in guide.references:
        flags += ["--reference", file]
    flags += ["--inpainter", recipe.inpainter, "--name", recipe.name, "--seed", str(recipe.seed)]
    for key, value in recipe.inpainter_options.items():
        flags += ["--inpainter-option", f"{key}={json.dumps(value)}"]
    flags += ["--steps", str(schedule.steps)] if schedule.steps else []
    flags += ["--rounds", str(schedule.rounds)] if schedule.rounds else []
    flags += ["--shadow", recipe.shadow.kind] if recipe.shadow.kind else []
    flags += ["--shadow-strength", f"{recipe.shadow.strength:g}"] if recipe.shadow.strength != 1 else []
    return flags


def _region_flags(recipe: Recipe) -> list[str] | None:
    """Return a recipe's region, and its mesh, as flags of `nerf-insert edit`."""
    flags: list[str] = []
    region = recipe.region
    if isinstance(region, Dilate):
        flags += ["--dilate", f"{region.by:.10g}"]
        region = region.region
    parts = region.union if isinstance(region, Union) else (region,)
    if isinstance(region, Intersection):
        parts = region.intersection
        flags += ["--combine", "intersection"]
    kinds = [type(part) for part in parts]
    if kinds != [kind for kind in (Points, Masks, Heal, Mesh, Box) if kind in kinds]:
        return None
    if recipe.guide.mesh and Mesh not in kinds:  # --mesh is region and guide in one
        return None
    for part in parts:
        if isinstance(part, Points):
            for flag, clicks in (("--point", part.points), ("--not-point", part.not_points or {})):
                for view, pixels in clicks.items():
                    flags += [word for x, y in pixels for word in (flag, f"{view}={x:g},{y:g}")]
        elif isinstance(part, Masks):
            for view, mask in part.masks.items():
                flags += ["--mask", f"{view}={mask}"]
        elif isinstance(part, Heal):
            for view, stroke in part.heal.items():
                flags += ["--heal", f"{view}={stroke}"]
        elif isinstance(part, Mesh):
            guide = recipe.guide
            if (part.mesh, part.pose, part.up_axis) != (guide.mesh, guide.pose, guide.up_axis):
                return None
            flags += ["--mesh", part.mesh]
            if part.up_axis != standard_up_axis(part.mesh):
                flags += ["--up-axis", part.up_axis or "none"]
            if part.pose is not None:
                flags += ["--pose", " ".join(repr(value) for row in part.pose for value in row)]
            if part.dilate is not None:
                flags += ["--dilate", f"{part.dilate:.10g}"]
        elif isinstance(part, Box):
            numbers = [*part.center, *part.size, *(part.rotation or (0.0, 0.0, 0.0))]
            flags.append("--box=" + ",".join(repr(float(value)) for value in numbers))
    return flags
