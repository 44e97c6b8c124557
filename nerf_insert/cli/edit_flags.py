"""The flags that `edit` and `preview` share, and the recipe that they describe."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from nerf_insert.cli import diffusion_flags
from nerf_insert.cli.argument_types import Once, integer, nonempty, number, numbers, path
from nerf_insert.errors import InputError
from nerf_insert.geometry.up_axis import UpAxis
from nerf_insert.runtime.extras import require
from nerf_insert.runtime.progress import Progress
from nerf_insert.scene import recipe_from_flags
from nerf_insert.scene.recipe import MAX_SEED, Recipe, ShadowKind
from nerf_insert.scene.recipe_from_flags import COMBINATIONS
from nerf_insert.scene.scene_file import MAX_STRENGTH

if TYPE_CHECKING:
    from jaxtyping import Float64
    from torch import Tensor


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the scene and the flags that describe an edit."""
    parser.add_argument("scene", type=path, metavar="SCENE", help="scene folder")
    _add_region_flags(parser)
    _add_content_flags(parser)
    diffusion_flags.add_arguments(parser)
    _add_fit_flags(parser)


def _add_region_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group(
        "region",
        "Where to edit. Several of these together form one region, their union unless --combine says else.",
    )
    group.add_argument(
        "--point",
        action="append",
        metavar="VIEW=X,Y",
        help="click on a thing: pixel X,Y of the photograph VIEW (its file_path, file name or stem) as it is "
        "stored, from the top left corner. One is enough; more add parts, in any photograph",
    )
    group.add_argument(
        "--not-point",
        action="append",
        metavar="VIEW=X,Y",
        help="click on what does not belong to the thing of --point",
    )
    group.add_argument(
        "--mask",
        action="append",
        metavar="VIEW=PNG",
        help="mask drawn on the photograph VIEW (its file_path, file name or stem): white, or any paint on "
        "transparency, marks the region. Give two or more, from different sides; several may follow one "
        "--mask. With one alone, the scene's depth says how deep the region goes",
    )
    group.add_argument(
        "--exact-masks",
        action="store_true",
        default=None,
        help="take the masks as they are. Without this, an edit that removes a thing which the masks cut "
        "through widens the region to hold all of it",
    )
    group.add_argument(
        "--heal",
        action="append",
        metavar="VIEW=PNG",
        help="stroke of a few pixels on the photograph VIEW, over a scratch, a tag, a cable or a scrap in "
        "the air: the surface under it is healed, in seconds. One photograph is enough",
    )
    group.add_argument(
        "--mesh",
        action=Once,
        type=path,
        metavar="FILE",
        help="GLB, glTF, OBJ, PLY or STL file, in world coordinates; need not be watertight. It is also the "
        "object to insert",
    )
    group.add_argument(
        "--up-axis",
        choices=get_args(UpAxis),
        help="axis of the mesh's file that points up; it is turned to the scene's up before --pose. Default: "
        "y for GLB and glTF, as their standard says; none for other files, whose axes stay as they are",
    )
    group.add_argument(
        "--pose",
        action=Once,
        type=nonempty,
        metavar="M",
        help="transform from the mesh's coordinates to world coordinates: 16 numbers row by row, a 4x4 "
        "matrix as JSON, a file with one, or the terms scale=S or scale=X,Y,Z, rotate=X,Y,Z (degrees, about "
        "the fixed axes) or rotate=W,X,Y,Z (quaternion) and translate=X,Y,Z, applied in this order",
    )
    group.add_argument(
        "--box",
        action=Once,
        type=numbers(6, 9),
        metavar="CX,CY,CZ,SX,SY,SZ[,RX,RY,RZ]",
        help="box: center, side lengths and, in degrees, rotation, in world coordinates",
    )
    group.add_argument(
        "--combine",
        choices=COMBINATIONS,
        help="what --mask, --mesh and --box mean together: everything in any of them, or what is in all of "
        "them (default: %(default)s)",
        default=COMBINATIONS[0],
    )
    group.add_argument(
        "--nerfstudio",
        type=path,
        metavar="CONFIG",
        help="config.yml of a nerfstudio run of the same capture: --mesh, --pose and --box are in the "
        "coordinates of its viewer and of ns-export, not in the capture's world coordinates",
    )
    group.add_argument(
        "--dilate",
        type=number(0),
        metavar="D",
        help="grow the region by this distance, in world units (default: a small margin around a mesh, "
        "else 0)",
    )


def _add_content_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("content", "What to put there. Without any of these, fill removes.")
    group.add_argument("--prompt", metavar="TEXT", help="text prompt, for inpainters that read text")
    group.add_argument("--negative-prompt", metavar="TEXT", help="text prompt of what to avoid")
    group.add_argument(
        "--reference",
        type=path,
        action="append",
        metavar="IMG",
        help="reference image of the object; may be repeated",
    )
    group.add_argument(
        "--inpainter",
        type=nonempty,
        metavar="NAME",
        help="mesh (the colored mesh, in the scene's light), fill (removes, from what the other views show), "
        "clear (empties the region, quickly), diffusion, another installed inpainter, your own as "
        "package.module:Class (modules in the current folder count), or http://HOST:PORT of a machine that "
        "runs `nerf-insert serve-inpainter`. "
        "Default: mesh with --mesh, diffusion with --prompt or --reference, else fill",
    )
    group.add_argument(
        "--inpainter-option",
        action="append",
        metavar="KEY=VALUE",
        help="option of the inpainter; may be repeated. A value that is valid JSON is read as JSON",
    )
    group.add_argument(
        "--shadow",
        choices=get_args(ShadowKind),
        help="what the object does to the light around it, as a layer of its own that can be switched and "
        "faded. cast: its shadow, and light that it throws back; with fill, the removed object's shadow is "
        "taken back as far as the photographs show it. contact: only a soft shadow near it. Default: cast "
        "with mesh and fill, else none",
    )
    group.add_argument(
        "--shadow-strength",
        type=number(0, MAX_STRENGTH),
        metavar="F",
        help="strength of that layer: 0 is no shadow, 1 as computed (default), 2 the most",
    )


def _add_fit_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("recipe and fit")
    group.add_argument(
        "--recipe",
        action=Once,
        type=path,
        metavar="FILE",
        help="recipe to run; other flags override it, and --point, --mask, --mesh and --box replace its "
        "whole region",
    )
    group.add_argument(
        "--save-recipe", type=path, metavar="FILE", help="write the recipe that these flags describe"
    )
    group.add_argument(
        "--name", type=nonempty, metavar="NAME", help="name of the layer (default: the mesh file's, or edit)"
    )
    group.add_argument("--seed", type=integer(0, MAX_SEED), metavar="N", help="random seed (default: 0)")
    group.add_argument(
        "--steps",
        type=integer(1),
        metavar="N",
        help="optimization steps of the layer, over all rounds (default: 400 for inpainters whose images "
        "are consistent, else 800)",
    )
    group.add_argument(
        "--rounds",
        type=integer(1, 1000),
        metavar="N",
        help="rounds of inpainting and fitting (default: the inpainter's, else 3)",
    )
    group.add_argument(
        "--anchors",
        type=integer(0, 1000),
        metavar="N",
        help="views that are inpainted first and jointly, before the others; 0: every round inpaints all "
        "views (default: up to 8)",
    )
    group.add_argument(
        "--strength",
        type=number(0, 1, above=0),
        metavar="F",
        help="inpainting strength of the first round, later rounds in proportion: 1 starts from noise, less "
        "keeps more of the current render (default: 1)",
    )


def recipe_from_args(args: argparse.Namespace, progress: Progress) -> Recipe:
    """Make the recipe that the parsed flags describe, and save it if --save-recipe is given.

    Args:
        args: The parsed arguments of `edit` or `preview`.
        progress: Gets warnings about flags without effect.

    Raises:
        InputError: The flags do not describe an edit, or a file is missing.
    """
    diffusion = diffusion_flags.diffusion_options(args)
    recipe = recipe_from_flags.recipe_of(vars(args), progress, diffusion, _to_world(args))
    if diffusion and recipe.inpainter != recipe_from_flags.DIFFUSION:
        flag = next(flag for flag, option in diffusion_flags.OPTIONS.items() if option in diffusion)
        flag = "no-safety-checker" if flag == "safety_checker" else flag.replace("_", "-")
        raise InputError(
            f"--{flag} is for the inpainter diffusion, but this edit uses {recipe.inpainter}: leave it out "
            "or add --inpainter diffusion"
        )
    if args.save_recipe:
        save_recipe(recipe, args.save_recipe)
    return recipe


def _to_world(args: argparse.Namespace) -> Float64[Tensor, "4 4"] | None:
    """Return the similarity from nerfstudio's coordinates to the world's, where --nerfstudio is given."""
    if args.nerfstudio is None:
        return None
    if not args.mesh and not args.box:
        raise InputError("--nerfstudio says in whose coordinates --mesh or --box is: give one of them")
    require("nerfstudio", "nerfstudio")
    from nerf_insert.plugin.coordinates import world_from_nerfstudio
    from nerf_insert.scene.scene import Scene

    return world_from_nerfstudio(Scene.open(args.scene), args.nerfstudio)


def save_recipe(recipe: Recipe, path: Path) -> None:
    """Write a recipe to a file.

    Raises:
        InputError: The file exists and is not a recipe.
    """
    if path.exists():
        try:
            Recipe.load(path)
        except InputError:
            raise InputError(
                f"--save-recipe {path}: this file is something else, choose another name"
            ) from None
    recipe.save(path)
