"""Preview an edit: the region's mask in every photograph and a few inpainted views.

Nothing is fitted and the scene stays unchanged. To accept a preview, give `edit` the recipe in its folder:
the edit keeps the previewed images and inpaints the other views to match.
"""

from __future__ import annotations

import argparse
from typing import Any

from nerf_insert.cli import edit_flags
from nerf_insert.cli.argument_types import integer, integers, path
from nerf_insert.cli.console import Console
from nerf_insert.scene.recipe import MAX_SEED

SUMMARY = "show the region of an edit and a few inpainted views"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    edit_flags.add_arguments(parser)
    parser.add_argument(
        "--out", type=path, metavar="DIR", help="folder for the images (default: SCENE/preview)"
    )
    parser.add_argument(
        "--paint",
        type=integer(0, 1000),
        metavar="N",
        help="number of views to inpaint (default: those that the edit would inpaint first, or 3)",
    )
    parser.add_argument(
        "--seeds",
        type=integers(0, MAX_SEED),
        metavar="N,N",
        help="random seeds; the views are inpainted once with each (default: --seed)",
    )


def run(args: argparse.Namespace, console: Console) -> tuple[dict[str, Any], str]:
    """Write the preview; return its folder and the recipe of each seed."""
    recipe = edit_flags.recipe_from_args(args, console.progress)

    from nerf_insert.editing.preview import preview
    from nerf_insert.rendering.outputs import check_folder
    from nerf_insert.scene.scene import Scene

    scene = Scene.open(args.scene)
    out = args.out or args.scene / "preview"
    check_folder(out)
    data = preview(scene, recipe, out, console.progress, paint=args.paint, seeds=args.seeds or ())
    lines = [f"The masks and inpainted views are in {out}, an overview is in {out / 'sheet.png'}."]
    for seed, file in data["looks"].items():
        lines.append(f"To edit with seed {seed}:  nerf-insert edit {args.scene} --recipe {file}")
    return {"out": str(out), **data}, "\n".join(lines)
