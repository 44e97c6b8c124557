"""See an edit before time is spent on it: the region's mask in every photograph and a few painted views.
Nothing is fitted and the scene stays as it is. Approve a look by giving `edit` the recipe that lies in its
folder: its pictures are kept, and the other views are painted after them."""

from __future__ import annotations

import argparse
from typing import Any

from nerf_insert.cli import edit_flags
from nerf_insert.cli.argument_types import path, whole
from nerf_insert.cli.console import Console
from nerf_insert.scene.recipe import MAX_SEED

SUMMARY = "show where an edit would be, and a few painted views"


def arguments(parser: argparse.ArgumentParser) -> None:
    edit_flags.arguments(parser)
    parser.add_argument(
        "--out", type=path, metavar="DIR", help="folder for the pictures (default: SCENE/preview)"
    )
    parser.add_argument(
        "--paint",
        type=whole(0, 1000),
        metavar="N",
        help="views to paint (default: those that the edit would paint first, or 3)",
    )
    parser.add_argument(
        "--seeds",
        type=seeds,
        metavar="N,N",
        help="paint them once with each of these seeds (default: --seed)",
    )


def run(args: argparse.Namespace, console: Console) -> tuple[dict[str, Any], str]:
    recipe = edit_flags.recipe_of(args, console.progress)

    from nerf_insert.editing.preview import preview
    from nerf_insert.rendering.outputs import check_folder
    from nerf_insert.scene.scene import Scene

    scene = Scene.open(args.scene)
    out = args.out or args.scene / "preview"
    check_folder(out)
    data = preview(scene, recipe, out, console.progress, paint=args.paint, seeds=args.seeds or ())
    lines = [f"Masks and painted views are in {out}, an overview in {out / 'sheet.png'}."]
    for seed, file in data["looks"].items():
        lines.append(f"Seed {seed}, to go on from this look:  nerf-insert edit {args.scene} --recipe {file}")
    return {"out": str(out), **data}, "\n".join(lines)


def seeds(text: str) -> list[int]:
    return [whole(0, MAX_SEED)(part.strip()) for part in text.split(",")]
