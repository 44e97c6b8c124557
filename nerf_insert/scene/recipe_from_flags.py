"""The recipe that flags make: those of `nerf-insert edit` and those of `ns-train nerf-insert` mean the same.

Flags are a mapping from their names, as Python spells them, to what was given; what was not given is None or
an empty list. Messages name them as `nerf-insert edit` does.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from nerf_insert.errors import InputError
from nerf_insert.runtime.progress import Progress
from nerf_insert.scene.recipe import Recipe, Schedule

WHERE = "say where: --mask on two or more photographs, --mesh, --box, or a --recipe that says it"
DIFFUSION = "diffusion"
WITHOUT_WORDS = ("mesh", "fill")  # inpainters that use neither text nor a reference picture
WORDS = ("prompt", "negative_prompt", "reference")

Flags = Mapping[str, Any]


def recipe_of(flags: Flags, progress: Progress, diffusion: Mapping[str, Any] | None = None) -> Recipe:
    """The recipe that the flags describe, with absolute file names, all of which can be read. `diffusion`:
    options that are that inpainter's alone, which is therefore the default.

    Raises InputError for what cannot be told without opening the scene.
    """
    mesh = flags["mesh"]
    data = Recipe.load(flags["recipe"]).to_dict() if flags["recipe"] else {"name": _name(mesh)}
    data["region"] = region_of(flags, data.get("region"))
    guide = data.setdefault("guide", {})
    if mesh:
        guide |= {"mesh": _file(mesh), "pose": pose_of(flags["pose"])}
    for key in WORDS:
        if (given := flags[key]) is not None:
            guide[key] = [_file(name) for name in given] if key == "reference" else given
    _choose_inpainter(flags, diffusion or {}, data)
    for key in ("name", "seed"):
        if flags[key] is not None:
            data[key] = flags[key]
    schedule = {f.name: flags[f.name] for f in fields(Schedule) if flags.get(f.name) is not None}
    data["schedule"] = {**data.get("schedule", {}), **schedule}
    recipe = Recipe.from_dict(data)
    if recipe.inpainter == "mesh" and recipe.guide.mesh is None:
        raise InputError("the inpainter mesh needs a mesh to paint: give --mesh, or another --inpainter")
    if recipe.inpainter in WITHOUT_WORDS and any(getattr(recipe.guide, key) for key in WORDS):
        progress.warn(f"the inpainter {recipe.inpainter} reads neither prompts nor reference pictures")
    recipe.fingerprint()  # reads all files
    return recipe


def region_of(flags: Flags, otherwise: dict | None) -> dict:
    """The region's tree (see nerf_insert.scene.recipe): that of the flags, else the one of the recipe."""
    parts: list[dict[str, Any]] = []
    if flags["mask"]:
        parts.append({"masks": masks_of(flags["mask"])})
    if flags["mesh"]:
        parts.append({"mesh": _file(flags["mesh"]), "pose": pose_of(flags["pose"])})
    elif flags["pose"]:
        raise InputError("--pose says where the mesh of --mesh stands: give that too")
    if flags["box"]:
        numbers = [*flags["box"]]
        box = {"center": numbers[:3], "size": numbers[3:6], "rotation": numbers[6:] or [0.0, 0.0, 0.0]}
        parts.append({"box": box})
    if not parts and otherwise is None:
        raise InputError(WHERE)
    region = otherwise if not parts else parts[0] if len(parts) == 1 else {"union": parts}
    if flags["dilate"] is None:
        return region
    if "mesh" in region:
        return {**region, "dilate": flags["dilate"]}
    return {"dilate": {"region": region, "by": flags["dilate"]}}


def masks_of(given: Sequence[str]) -> dict[str, str]:
    masks: dict[str, str] = {}
    for text in given:
        view, file = view_and_mask(text)
        if not view or not file:
            raise InputError(f"--mask {text}: write it as VIEW=PNG, such as images/004.png=mask.png")
        if view in masks:
            raise InputError(f"--mask names the photograph {view} twice: give one mask per photograph")
        masks[view] = _file(file)
    return masks


def view_and_mask(text: str) -> tuple[str, str]:
    """The two sides of VIEW=PNG; where names have an = in them, the one after which a file is named."""
    places = [place for place, letter in enumerate(text) if letter == "="] or [len(text)]
    pairs = [(text[:place], text[place + 1 :]) for place in places]
    return next((pair for pair in pairs if pair[1] and Path(pair[1]).expanduser().is_file()), pairs[0])


def pose_of(text: str | None) -> list[list[float]] | None:
    if text is None:
        return None
    from nerf_insert.geometry.pose import Pose

    return Pose.parse(text).matrix.tolist()


def options_of(given: Sequence[str]) -> dict[str, Any]:
    """Options from KEY=VALUE; a value that is JSON (a number, true, a list) is that, any other is text."""
    options: dict[str, Any] = {}
    for text in given:
        key, equals, value = text.partition("=")
        if not key or not equals:
            raise InputError(f"--inpainter-option {text}: write it as KEY=VALUE")
        try:
            options[key] = json.loads(value)
        except (ValueError, RecursionError):
            options[key] = value
    return options


def _choose_inpainter(flags: Flags, diffusion: Mapping[str, Any], data: dict[str, Any]) -> None:
    before = data.get("inpainter")
    if flags["inpainter"]:
        data["inpainter"] = flags["inpainter"]
    elif before is None:
        words = not flags["mesh"] and any(data["guide"].get(key) for key in WORDS)
        data["inpainter"] = DIFFUSION if diffusion or words else "mesh" if flags["mesh"] else "fill"
    kept = data.get("inpainter_options", {}) if data["inpainter"] == before else {}
    data["inpainter_options"] = {**kept, **diffusion, **options_of(flags["inpainter_option"] or [])}


def _name(mesh: str | Path | None) -> str:
    return Path(mesh).stem if mesh else "edit"


def _file(name: str | Path) -> str:
    return str(Path(name).expanduser().absolute())
