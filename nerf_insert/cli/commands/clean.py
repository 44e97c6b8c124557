"""Find floaters, and remove them as a layer when approved.

A floater touches nothing else, and most photographs in which it would be seen fit no worse without it. They
are listed and shown, before and after, in OUT/sheet.png; look at it, then run the command again with
--apply, or give `edit` the recipe that was written. `layers SCENE undo` brings them back.
"""

from __future__ import annotations

import argparse
from typing import Any

from nerf_insert.cli.argument_types import path
from nerf_insert.cli.console import Console, text_table

SUMMARY = "find floaters, and remove them as a layer"
LISTED = 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("scene", type=path, metavar="SCENE", help="scene folder")
    parser.add_argument(
        "--out", type=path, metavar="DIR", help="folder for the proposal (default: SCENE/clean)"
    )
    parser.add_argument("--apply", action="store_true", help="remove what is found, as a layer")


def run(args: argparse.Namespace, console: Console) -> tuple[dict[str, Any], str]:
    """Propose, and with --apply remove; return the floaters and where the proposal is."""
    from nerf_insert.editing.cleaning import apply_cleaning, propose_cleaning
    from nerf_insert.rendering.outputs import check_folder
    from nerf_insert.scene.scene import Scene

    scene = Scene.open(args.scene)
    out = args.out or args.scene / "clean"
    check_folder(out)
    found = propose_cleaning(scene, out, console.progress)
    data: dict[str, Any] = {"scene": str(args.scene), "out": str(out), **found, "layer": None}
    if not found["floaters"]:
        return data, f"No floaters were found in {args.scene}."
    lines = [_table(found["floaters"])]
    if args.apply:
        data["layer"] = apply_cleaning(scene, out / "recipe.yaml", console.progress)
        lines.append(f"They are removed by layer {data['layer']}.")
        lines.append(f"Undo it:     nerf-insert layers {args.scene} undo")
    else:
        lines.append(f"Before and after: {found['sheet']}. Nothing is changed yet.")
        lines.append(f"Remove them:  nerf-insert edit {args.scene} --recipe {found['recipe']}")
    return data, "\n".join(lines)


def _table(floaters: list[dict[str, Any]]) -> str:
    head = ["floater", "center", "size", "photographs that show it", "confirm it"]
    rows = [
        [
            str(number),
            ", ".join(f"{value:.3g}" for value in one["center"]),
            f"{one['size']:.3g}",
            str(one["seen"]),
            str(one["confirmed"]),
        ]
        for number, one in enumerate(floaters[:LISTED], 1)
    ]
    table = text_table(head, rows, right=(0, 2, 3, 4))
    more = len(floaters) - LISTED
    return table + (f"\n... and {more} smaller ones" if more > 0 else "")
