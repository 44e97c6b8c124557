"""From a draft to a recipe, and from a recipe to the command line that repeats it."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from nerf_insert.app.drafts import Draft, Drafts, MeshPose
from nerf_insert.app.inpainter_list import check_painter
from nerf_insert.errors import InputError
from nerf_insert.geometry.pose import Pose
from nerf_insert.regions.spec import Box, Dilate, Masks, Mesh, RegionSpec, Union
from nerf_insert.scene.recipe import GuideSpec, Recipe, Schedule

NO_REGION = (
    "Say where first: paint the thing on two photographs (step Mark), place a mesh, or set a box around it."
)


def check_said(draft: Draft, allowed: Sequence[Path]) -> None:
    """Raises InputError for what a draft says that no recipe may, wherever the edit is to be."""
    box = {"box": {"center": [0.0] * 3, "size": [1.0] * 3}}
    given = {
        "rounds": draft.rounds,
        "steps": draft.steps,
        "blend_width": draft.shell,
        "view_dependent": draft.view_dependent,
    }
    schedule = {key: value for key, value in given.items() if value is not None}
    said = Recipe.from_dict(
        {
            "region": box if draft.dilate is None else {"dilate": {"region": box, "by": draft.dilate}},
            "guide": {"prompt": draft.prompt, "negative_prompt": draft.negative_prompt},
            "inpainter": draft.inpainter or "fill",
            "inpainter_options": options_of(draft),
            "schedule": schedule,
            "name": draft.name or "edit",
            "seed": draft.seed,
        }
    )
    check_painter(said.inpainter, said.inpainter_options, allowed)


def chosen_inpainter(draft: Draft) -> str:
    """What the person chose, else `mesh` where there is a mesh, else by what they said."""
    if draft.inpainter:
        return draft.inpainter
    if draft.mesh:
        return "mesh"
    return "diffusion" if draft.prompt or draft.negative_prompt or draft.reference else "fill"


def pose_matrix(placing: MeshPose) -> list[list[float]]:
    return Pose.parse(pose_text(placing)).matrix.tolist()


def pose_text(placing: MeshPose) -> str:
    """The same as `--pose` takes it."""
    turn, move = (",".join(f"{v:.10g}" for v in part) for part in (placing.rotate, placing.translate))
    return f"scale={placing.scale:.10g} rotate={turn} translate={move}"


def region_of(draft: Draft, drafts: Drafts, key: str) -> RegionSpec:
    """Return all that was marked, together. Raises InputError where nothing was."""
    parts: list[RegionSpec] = []
    if draft.masks:
        files = {view: str(drafts.file(key, "masks", file)) for view, file in sorted(draft.masks.items())}
        parts.append(Masks(files))
    if draft.mesh and draft.mesh_is_region:
        path = str(drafts.file(key, "mesh", draft.mesh))
        parts.append(Mesh(path, pose_matrix(draft.placing)))
    if draft.box:
        parts.append(Box(draft.box.center, draft.box.size, draft.box.rotation))
    if not parts:
        raise InputError(NO_REGION)
    region = parts[0] if len(parts) == 1 else Union(tuple(parts))
    if draft.dilate is None:
        return region
    return replace(region, dilate=draft.dilate) if isinstance(region, Mesh) else region.dilated(draft.dilate)


def recipe_of(draft: Draft, drafts: Drafts, key: str) -> Recipe:
    """The recipe that a draft describes, with absolute file names. Raises InputError in words for what
    is missing."""
    inpainter = chosen_inpainter(draft)
    if inpainter == "mesh" and not draft.mesh:
        raise InputError("The inpainter mesh needs a mesh to paint: upload one, or choose another inpainter.")
    say: dict[str, Any] = {"prompt": draft.prompt, "negative_prompt": draft.negative_prompt}
    if draft.reference:
        say["reference"] = str(drafts.file(key, "reference", draft.reference))
    if draft.mesh:
        say |= {"mesh": str(drafts.file(key, "mesh", draft.mesh)), "pose": pose_matrix(draft.placing)}
    schedule = Schedule(
        view_dependent=draft.view_dependent or None, blend_width=draft.shell, rounds=draft.rounds
    )
    schedule = replace(schedule, steps=draft.steps) if draft.steps else schedule
    made = Recipe(
        region=region_of(draft, drafts, key),
        guide=GuideSpec(**say),
        inpainter=inpainter,
        inpainter_options=options_of(draft) if inpainter == "diffusion" else draft.options,
        schedule=schedule,
        name=draft.name.strip() or default_name(draft, inpainter),
        seed=draft.seed,
        approved={view: str(drafts.file(key, "kept", name)) for view, name in sorted(draft.kept.items())},
    )
    check_painter(made.inpainter, made.inpainter_options, drafts.allowed)
    return made


def options_of(draft: Draft) -> dict[str, Any]:
    """Those of the inpainter diffusion, its model among them."""
    if not draft.model or not isinstance(draft.options, dict):  # the recipe's own checks say what is wrong
        return draft.options
    return {"model": draft.model} | draft.options


def default_name(draft: Draft, inpainter: str) -> str:
    if draft.mesh:
        return Path(draft.mesh).stem
    return " ".join(draft.prompt.split()[:5]) or {"fill": "removal"}.get(inpainter, "edit")


def command_line(recipe: Recipe, scene: Path, file: Path) -> str:
    """A shell command that runs the recipe again: in flags where they can say all of it, else by `file`,
    which is then written."""
    words = _flags(recipe)
    if words is None:
        recipe.save(file)
        words = ["--recipe", str(file)]
    return " ".join(shlex.quote(word) for word in ["nerf-insert", "edit", str(scene), *words])


def _flags(recipe: Recipe) -> list[str] | None:
    """The recipe as flags of `nerf-insert edit`; None where those cannot say it."""
    if recipe.approved:
        return None
    region, words = recipe.region, []
    if isinstance(region, Dilate):
        words += ["--dilate", f"{region.by:.10g}"]
        region = region.region
    parts = region.union if isinstance(region, Union) else (region,)
    kinds = [part.keyword for part in parts]
    if kinds != [kind.keyword for kind in (Masks, Mesh, Box) if kind.keyword in kinds]:
        return None
    if recipe.guide.mesh and Mesh.keyword not in kinds:  # --mesh is region and guide in one
        return None
    for part in parts:
        if isinstance(part, Masks):
            for view, mask in part.masks.items():
                words += ["--mask", f"{view}={mask}"]
        elif isinstance(part, Mesh):
            if part.mesh != recipe.guide.mesh or part.pose != recipe.guide.pose:
                return None
            words += ["--mesh", part.mesh]
            if part.pose is not None:
                words += ["--pose", " ".join(repr(value) for row in part.pose for value in row)]
            if part.dilate is not None:
                words += ["--dilate", f"{part.dilate:.10g}"]
        elif isinstance(part, Box):
            numbers = [*part.center, *part.size, *(part.rotation or [0.0, 0.0, 0.0])]
            words.append("--box=" + ",".join(repr(float(value)) for value in numbers))
    said = recipe.guide
    for flag, value in (
        ("--prompt", said.prompt),
        ("--negative-prompt", said.negative_prompt),
        *(("--reference", file) for file in said.references),
    ):
        words += [flag, value] if value else []
    words += ["--inpainter", recipe.inpainter, "--name", recipe.name, "--seed", str(recipe.seed)]
    for key, value in recipe.inpainter_options.items():
        words += ["--inpainter-option", f"{key}={json.dumps(value)}"]
    schedule, usual = recipe.schedule, Schedule()
    words += ["--steps", str(schedule.steps)] if schedule.steps else []
    words += ["--rounds", str(schedule.rounds)] if schedule.rounds else []
    said_all = replace(usual, steps=schedule.steps, rounds=schedule.rounds) == schedule
    return words if said_all else None
