"""The recipe that flags make: those of `nerf-insert edit` and those of `ns-train nerf-insert` mean the same.

Flags are a mapping from their names, as Python spells them, to what was given; what was not given is None or
an empty list. Messages name them as `nerf-insert edit` does.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nerf_insert.errors import InputError
from nerf_insert.geometry.up_axis import UpAxis, standard_up_axis
from nerf_insert.regions.spec import Box, Heal, Intersection, Masks, Mesh, Points, RegionSpec, Union
from nerf_insert.runtime.progress import Progress
from nerf_insert.scene.recipe import Recipe, Schedule
from nerf_insert.scene.recipe_formats import SCHEDULE_KEYS

if TYPE_CHECKING:
    from jaxtyping import Float64
    from torch import Tensor

NO_REGION = "say where: --point on a thing in a photograph, --mask, --mesh, --box, or a --recipe that says it"
DIFFUSION = "diffusion"
COMBINATIONS = ("union", "intersection")  # of what says where
WITHOUT_GUIDE = ("mesh", "fill", "clear")  # inpainters that read neither prompts nor reference images
GUIDE_FLAGS = ("prompt", "negative_prompt", "reference")

Flags = Mapping[str, Any]


def recipe_of(
    flags: Flags,
    progress: Progress,
    diffusion: Mapping[str, Any] | None = None,
    to_world: Float64[Tensor, "4 4"] | None = None,
) -> Recipe:
    """Return the recipe that the flags describe, with absolute file names.

    Args:
        flags: What was given. Flags override what a recipe file says.
        progress: Is told warnings.
        diffusion: Options that only the inpainter `diffusion` has, which is then the default.
        to_world: The similarity from the coordinates of the mesh, its pose and the box to the world's, where
            these were placed in nerfstudio's, which are z-up; None: they are the same.

    Raises:
        InputError: A flag cannot be used, a file cannot be read, or no region is given.
    """
    mesh = flags["mesh"]
    data: dict[str, Any] = {"name": _layer_name(mesh)}
    loaded = Recipe.load(flags["recipe"]) if flags["recipe"] else None
    if loaded:
        for deprecation in loaded.deprecations:
            progress.warn(f"{flags['recipe']}: {deprecation}")
        data = loaded.to_dict()
    data["region"] = region_of(flags, loaded and loaded.region, to_world)
    guide = data.setdefault("guide", {})
    if mesh:
        guide |= {"mesh": _file(mesh), **placement_of(flags, to_world)}
    for key in GUIDE_FLAGS:
        if (given := flags[key]) is not None:
            guide[key] = [_file(name) for name in given] if key == "reference" else given
    _choose_inpainter(flags, diffusion or {}, data)
    for key in ("name", "seed"):
        if flags[key] is not None:
            data[key] = flags[key]
    data["schedule"] = {**data.get("schedule", {}), **_schedule_of(flags, progress)}
    given = {"kind": flags.get("shadow"), "strength": flags.get("shadow_strength")}
    shadow = {key: value for key, value in given.items() if value is not None}
    data["shadow"] = {**data.get("shadow", {}), **shadow}
    recipe = Recipe.from_dict(data)
    for deprecation in recipe.deprecations:
        progress.warn(deprecation)
    if recipe.inpainter == "mesh" and recipe.guide.mesh is None:
        raise InputError("the inpainter mesh needs a mesh to paint: give --mesh, or another --inpainter")
    if recipe.inpainter in WITHOUT_GUIDE and any(getattr(recipe.guide, key) for key in GUIDE_FLAGS):
        progress.warn(f"the inpainter {recipe.inpainter} reads neither prompts nor reference images")
    recipe.fingerprint()  # reads all files
    return replace(recipe, deprecations=())


def region_of(
    flags: Flags, otherwise: RegionSpec | None, to_world: Float64[Tensor, "4 4"] | None = None
) -> RegionSpec:
    """Return the region that the flags describe, together; without any, that of the recipe file.

    Args:
        flags: What was given.
        otherwise: The region of the recipe file.
        to_world: See `recipe_of`.

    Raises:
        InputError: A flag cannot be used, or there is no region.
    """
    parts: list[RegionSpec] = []
    chosen, others = (points_of(flags.get(key) or [], key) for key in ("point", "not_point"))
    if chosen:
        parts.append(Points(chosen, others or None))
    elif others:
        raise InputError("--not-point takes away from what --point selects: give --point too")
    if flags["mask"]:
        parts.append(Masks(masks_of(flags["mask"]), flags.get("exact_masks") or None))
    elif flags.get("exact_masks"):
        raise InputError("--exact-masks is about the masks of --mask: give those too")
    if flags.get("heal"):
        parts.append(Heal(masks_of(flags["heal"], "heal")))
    if flags["mesh"]:
        parts.append(Mesh(_file(flags["mesh"]), **placement_of(flags, to_world)))
    elif flags["pose"]:
        raise InputError("--pose says where the mesh of --mesh stands: give that too")
    elif flags.get("up_axis"):
        raise InputError("--up-axis is for the mesh of --mesh: give that too")
    if flags["box"]:
        x, y, z, length, width, height, *rotation = flags["box"]
        about_x, about_y, about_z = rotation or (0.0, 0.0, 0.0)
        box = Box((x, y, z), (length, width, height), (about_x, about_y, about_z))
        parts.append(box if to_world is None else moved_box(box, to_world))
    combination = Intersection if flags.get("combine") == "intersection" else Union
    region = otherwise if not parts else parts[0] if len(parts) == 1 else combination(tuple(parts))
    if combination is Intersection and len(parts) < 2:
        raise InputError(
            "--combine intersection needs two of --mask, --mesh and --box: what is in all of them"
        )
    if region is None:
        raise InputError(NO_REGION)
    if flags["dilate"] is None:
        return region
    if isinstance(region, Mesh):
        return replace(region, dilate=flags["dilate"])
    return region.dilated(flags["dilate"])


def masks_of(given: Sequence[str], flag: str = "mask") -> dict[str, str]:
    """Return the mask files by their photographs' names, from `VIEW=PNG` each.

    Raises:
        InputError: One has another form, or a photograph is named twice.
    """
    masks: dict[str, str] = {}
    for text in given:
        view, file = view_and_mask(text)
        if not view or not file:
            raise InputError(f"--{flag} {text}: write it as VIEW=PNG, such as images/004.png=mask.png")
        if view in masks:
            raise InputError(f"--{flag} names the photograph {view} twice: give one file per photograph")
        masks[view] = _file(file)
    return masks


def points_of(given: Sequence[str], flag: str = "point") -> dict[str, list[tuple[float, float]]]:
    """Return pixels by their photographs' names, from `VIEW=X,Y` each.

    Raises:
        InputError: One has another form.
    """
    points: dict[str, list[tuple[float, float]]] = {}
    for text in given:
        view, _, pixel = text.rpartition("=")
        try:
            x, y = (float(number) for number in pixel.split(","))
        except ValueError:
            x = y = math.nan
        if not view or not (math.isfinite(x) and math.isfinite(y)):
            name = flag.replace("_", "-")
            raise InputError(f"--{name} {text}: write it as VIEW=X,Y, such as images/004.jpg=812,455")
        points.setdefault(view, []).append((x, y))
    return points


def view_and_mask(text: str) -> tuple[str, str]:
    """Split VIEW=PNG; where names contain =, at the one after which an existing file is named."""
    splits = [index for index, letter in enumerate(text) if letter == "="] or [len(text)]
    pairs = [(text[:index], text[index + 1 :]) for index in splits]
    return next((pair for pair in pairs if pair[1] and Path(pair[1]).expanduser().is_file()), pairs[0])


def pose_of(text: str | None) -> list[list[float]] | None:
    """Return the matrix of `--pose`.

    Raises:
        InputError: The text is no pose (see `Pose.parse`).
    """
    if text is None:
        return None
    from nerf_insert.geometry.pose import Pose

    return Pose.parse(text).matrix.tolist()


def placement_of(flags: Flags, to_world: Float64[Tensor, "4 4"] | None) -> dict[str, Any]:
    """Return the pose and the up axis of the mesh, as a recipe has them.

    Args:
        flags: What was given.
        to_world: See `recipe_of`. A mesh placed in nerfstudio's coordinates is turned to their up, z.

    Raises:
        InputError: The pose cannot be used.
    """
    given: UpAxis | None = flags.get("up_axis")
    axis = given or standard_up_axis(flags["mesh"])
    if to_world is None:
        return {"pose": pose_of(flags["pose"]), "up_axis": axis}
    import torch

    from nerf_insert.geometry.pose import Pose
    from nerf_insert.geometry.up_axis import upright

    pose = Pose.parse(flags["pose"]) if flags["pose"] is not None else Pose()
    matrix = to_world @ pose.matrix @ upright(axis, torch.tensor([0.0, 0.0, 1.0]))
    return {"pose": matrix.tolist(), "up_axis": "none" if axis else None}


def moved_box(box: Box, matrix: Float64[Tensor, "4 4"]) -> Box:
    """Return a box moved by a similarity."""
    import torch

    from nerf_insert.geometry.pose import euler_angles, rotation_matrix

    linear = matrix[:3, :3]
    scale = float(torch.linalg.det(linear)) ** (1 / 3)
    x, y, z = (linear @ torch.tensor(box.center, dtype=torch.float64) + matrix[:3, 3]).tolist()
    length, width, height = (scale * float(side) for side in box.size)
    rotation = linear / scale @ rotation_matrix(box.rotation or (0.0, 0.0, 0.0))
    return Box((x, y, z), (length, width, height), euler_angles(rotation))


def options_of(given: Sequence[str]) -> dict[str, Any]:
    """Return options from `KEY=VALUE` each; a value that is JSON (a number, true, a list) is parsed.

    Raises:
        InputError: One has another form.
    """
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


def _schedule_of(flags: Flags, progress: Progress) -> dict[str, Any]:
    """Return the schedule's fields that were given, under their old names too (in a saved config.yml)."""
    given = {}
    for old, new in SCHEDULE_KEYS.items():
        if flags.get(old) is not None:
            progress.warn(f"{old} is an old name, which is still read: write {new}")
            given[new] = flags[old]
    names = [field.name for field in fields(Schedule)]
    return given | {name: flags[name] for name in names if flags.get(name) is not None}


def _choose_inpainter(flags: Flags, diffusion: Mapping[str, Any], data: dict[str, Any]) -> None:
    before = data.get("inpainter")
    if flags["inpainter"]:
        data["inpainter"] = flags["inpainter"]
    elif before is None:
        guided = not flags["mesh"] and any(data["guide"].get(key) for key in GUIDE_FLAGS)
        data["inpainter"] = DIFFUSION if diffusion or guided else "mesh" if flags["mesh"] else "fill"
    kept = data.get("inpainter_options", {}) if data["inpainter"] == before else {}
    data["inpainter_options"] = {**kept, **diffusion, **options_of(flags["inpainter_option"] or [])}


def _layer_name(mesh: str | Path | None) -> str:
    return Path(mesh).stem if mesh else "edit"


def _file(name: str | Path) -> str:
    return str(Path(name).expanduser().absolute())
