"""The flags that `edit` and `preview` share, and the recipe that they make."""

from __future__ import annotations

import argparse
from pathlib import Path

from nerf_insert.cli import diffusion_flags
from nerf_insert.cli.argument_types import filled, number, numbers, path, whole
from nerf_insert.errors import InputError
from nerf_insert.runtime.progress import Progress
from nerf_insert.scene import recipe_from_flags
from nerf_insert.scene.recipe import MAX_SEED, Recipe


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
        help="center, side lengths and, in degrees, rotation of a box, in world coordinates",
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
    """The recipe that the flags describe, see nerf_insert.scene.recipe_from_flags. Raises InputError."""
    diffusion = diffusion_flags.options_of(args)
    recipe = recipe_from_flags.recipe_of(vars(args), progress, diffusion)
    if diffusion and recipe.inpainter != recipe_from_flags.DIFFUSION:
        flag = next(flag for flag, option in diffusion_flags.OPTIONS.items() if option in diffusion)
        flag = "no-safety-checker" if flag == "safety_checker" else flag.replace("_", "-")
        raise InputError(
            f"--{flag} is for the inpainter diffusion, and this edit uses {recipe.inpainter}: leave it out "
            "or give --inpainter diffusion"
        )
    if args.save_recipe:
        save_recipe(recipe, args.save_recipe)
    return recipe


def save_recipe(recipe: Recipe, path: Path) -> None:
    """Write the recipe, but not over something else."""
    if path.exists():
        try:
            Recipe.load(path)
        except InputError:
            raise InputError(f"--save-recipe {path}: there is something else, choose another name") from None
    recipe.save(path)
