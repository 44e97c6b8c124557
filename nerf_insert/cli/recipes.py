"""The flags that `edit` and `preview` share, and the recipe that they make."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from nerf_insert.cli import diffusion_flags
from nerf_insert.cli.arguments import filled, number, numbers, path, whole
from nerf_insert.errors import InputError
from nerf_insert.progress import Progress
from nerf_insert.recipe import MAX_SEED, Recipe

WHERE = "say where: --mask on two or more photographs, --mesh, --box, or a --recipe that says it"
WITHOUT_WORDS = ("mesh", "fill")  # inpainters that use neither text nor a reference picture
WORDS = ("prompt", "negative_prompt", "reference")
SCHEDULE = ("steps", "rounds", "anchors", "strength")


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("scene", type=path, metavar="SCENE", help="the scene folder")
    where = parser.add_argument_group("where (what is given together forms one region)")
    where.add_argument(
        "--mask",
        action="append",
        metavar="VIEW=PNG",
        help="a mask, white where the edit is, drawn on the photograph VIEW (its file_path, name or stem); "
        "give two or more, from different sides",
    )
    where.add_argument(
        "--mesh", type=path, metavar="FILE", help="GLB, glTF, OBJ, PLY or STL, in world coordinates"
    )
    where.add_argument(
        "--pose",
        type=filled,
        metavar="M",
        help="from the mesh's coordinates to the world's: 16 numbers or a file with them, or terms such as "
        "'scale=2 rotate=0,0,90 translate=0,0,1'",
    )
    where.add_argument(
        "--box",
        type=numbers(6, 9),
        metavar="CX,CY,CZ,SX,SY,SZ[,RX,RY,RZ]",
        help="centre, side lengths and, in degrees, rotation of a box, in world coordinates",
    )
    where.add_argument(
        "--dilate",
        type=number(0),
        metavar="D",
        help="widen the region by this distance, in world units (default: a little around a mesh, else 0)",
    )
    what = parser.add_argument_group("what")
    what.add_argument("--prompt", metavar="TEXT", help="what to paint, for inpainters that read text")
    what.add_argument("--negative-prompt", metavar="TEXT", help="what not to paint")
    what.add_argument(
        "--reference",
        type=path,
        action="append",
        metavar="IMG",
        help="a picture of what to paint; may be given again",
    )
    what.add_argument(
        "--inpainter",
        type=filled,
        metavar="NAME",
        help="mesh, fill, diffusion, another one that is installed, or your own as package.module:Class "
        "(default: mesh with --mesh, diffusion with --prompt or --reference, else fill)",
    )
    what.add_argument(
        "--inpainter-option",
        action="append",
        metavar="KEY=VALUE",
        help="an option of the inpainter; may be given again",
    )
    diffusion_flags.arguments(parser)
    how = parser.add_argument_group("how")
    how.add_argument(
        "--recipe", type=path, metavar="FILE", help="a recipe to run; other flags override what it says"
    )
    how.add_argument(
        "--save-recipe", type=path, metavar="FILE", help="write the recipe that these flags make"
    )
    how.add_argument("--name", type=filled, metavar="NAME", help="the layer's name")
    how.add_argument("--seed", type=whole(0, MAX_SEED), metavar="N", help="start of all that is random")
    how.add_argument("--steps", type=whole(1), metavar="N", help="steps of the layer's fit, over all rounds")
    how.add_argument("--rounds", type=whole(1, 1000), metavar="N", help="rounds of painting and fitting")
    how.add_argument(
        "--anchors",
        type=whole(0, 1000),
        metavar="N",
        help="views painted first and together, after which the others are painted (0: none)",
    )
    how.add_argument(
        "--strength",
        type=number(0, 1, above=0),
        metavar="F",
        help="of the first round's painting: 1 paints anew, less keeps more of what is there (default: 1)",
    )


def recipe_of(args: argparse.Namespace, progress: Progress) -> Recipe:
    """The recipe that the flags describe, with absolute file names, all of which can be read.

    Raises InputError for what cannot be told without opening the scene.
    """
    data = Recipe.load(args.recipe).to_dict() if args.recipe else {"name": _name(args)}
    data["region"] = region_of(args, data.get("region"))
    guide = data.setdefault("guide", {})
    if args.mesh:
        guide |= {"mesh": _file(args.mesh), "pose": pose_of(args)}
    for key in WORDS:
        if (given := getattr(args, key)) is not None:
            guide[key] = [_file(name) for name in given] if key == "reference" else given
    _choose_inpainter(args, data)
    for key in ("name", "seed"):
        if getattr(args, key) is not None:
            data[key] = getattr(args, key)
    schedule = {key: getattr(args, key) for key in SCHEDULE if getattr(args, key) is not None}
    data["schedule"] = {**data.get("schedule", {}), **schedule}
    recipe = Recipe.from_dict(data)
    if recipe.inpainter == "mesh" and recipe.guide.mesh is None:
        raise InputError("the inpainter mesh needs a mesh to paint: give --mesh, or another --inpainter")
    if recipe.inpainter in WITHOUT_WORDS and any(getattr(recipe.guide, key) for key in WORDS):
        progress.warn(f"the inpainter {recipe.inpainter} reads neither prompts nor reference pictures")
    recipe.fingerprint()  # reads all files
    if args.save_recipe:
        save_recipe(recipe, args.save_recipe)
    return recipe


def region_of(args: argparse.Namespace, otherwise: dict | None) -> dict:
    """The region's tree (see nerf_insert.recipe): that of the flags, else the one of the recipe."""
    parts: list[dict[str, Any]] = []
    if args.mask:
        parts.append({"masks": masks_of(args.mask)})
    if args.mesh:
        parts.append({"mesh": _file(args.mesh), "pose": pose_of(args)})
    elif args.pose:
        raise InputError("--pose says where the mesh of --mesh stands: give that too")
    if args.box:
        box = {"centre": args.box[:3], "size": args.box[3:6], "rotation": args.box[6:] or [0.0, 0.0, 0.0]}
        parts.append({"box": box})
    if not parts and otherwise is None:
        raise InputError(WHERE)
    region = otherwise if not parts else parts[0] if len(parts) == 1 else {"union": parts}
    if args.dilate is None:
        return region
    if "mesh" in region:
        return {**region, "dilate": args.dilate}
    return {"dilate": {"region": region, "by": args.dilate}}


def masks_of(given: list[str]) -> dict[str, str]:
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


def pose_of(args: argparse.Namespace) -> list[list[float]] | None:
    if args.pose is None:
        return None
    from nerf_insert.poses import Pose

    return Pose.parse(args.pose).matrix.tolist()


def options_of(given: list[str]) -> dict[str, Any]:
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


def save_recipe(recipe: Recipe, path: Path) -> None:
    """Write the recipe, but not over something else."""
    if path.exists():
        try:
            Recipe.load(path)
        except InputError:
            raise InputError(f"--save-recipe {path}: there is something else, choose another name") from None
    recipe.save(path)


def _choose_inpainter(args: argparse.Namespace, data: dict[str, Any]) -> None:
    before, flags = data.get("inpainter"), diffusion_flags.options_of(args)
    if args.inpainter:
        data["inpainter"] = args.inpainter
    elif before is None:
        words = not args.mesh and any(data["guide"].get(key) for key in WORDS)
        data["inpainter"] = diffusion_flags.NAME if flags or words else "mesh" if args.mesh else "fill"
    if flags and data["inpainter"] != diffusion_flags.NAME:
        flag = next(flag for flag, option in diffusion_flags.OPTIONS.items() if option in flags)
        flag = "no-safety-checker" if flag == "safety_checker" else flag.replace("_", "-")
        raise InputError(
            f"--{flag} is for the inpainter diffusion, and this edit uses {data['inpainter']}: leave it out "
            "or give --inpainter diffusion"
        )
    kept = data.get("inpainter_options", {}) if data["inpainter"] == before else {}
    data["inpainter_options"] = {**kept, **flags, **options_of(args.inpainter_option or [])}


def _name(args: argparse.Namespace) -> str:
    return Path(args.mesh).stem if args.mesh else "edit"


def _file(name: str | Path) -> str:
    return str(Path(name).expanduser().absolute())
