"""Change one place of a scene. Where: masks on photographs, a mesh, a box. What: a colored mesh, or
nothing, so that what was there goes away. The edit becomes a layer on top of the scene; stopped at any
moment, the same command goes on where it was."""

from __future__ import annotations

import argparse
import time
from typing import Any

from nerf_insert.cli import edit_flags
from nerf_insert.cli.console import Console

SUMMARY = "insert, replace or remove something"


def arguments(parser: argparse.ArgumentParser) -> None:
    edit_flags.arguments(parser)
    parser.add_argument("--again", action="store_true", help="repeat the edit even if it is on top already")


def run(args: argparse.Namespace, console: Console) -> tuple[dict[str, Any], str]:
    recipe = edit_flags.recipe_of(args, console.progress)

    from nerf_insert.editing.loop import edit
    from nerf_insert.runtime.peak_memory import peak_memory
    from nerf_insert.scene.scene import Scene

    began = time.monotonic()
    scene = Scene.open(args.scene)
    before = len(scene.layers)
    console.if_stopped = "give the same command again and it goes on where it was"
    entry = edit(scene, recipe, console.progress, again=args.again)
    made, peak = len(scene.layers) > before, peak_memory()
    data = {
        "scene": str(args.scene),
        "layer": len(scene.layers),
        "name": entry.name,
        "folder": str(scene.layer_folder(entry)),
        "made": made,
        "seconds": round(time.monotonic() - began, 1),
        "peak_memory_gb": peak,
    }
    text = (
        f"Layer {len(scene.layers)}, {entry.name}, {'is now' if made else 'was already'} on top of "
        f"{args.scene}.\n"
        f"Peak memory:   {', '.join(f'{size} GB of {kind}' for kind, size in peak.items()) or 'unknown'}\n"
        f"Look at it:    nerf-insert render {args.scene} --orbit --out orbit.mp4\n"
        f"Take it back:  nerf-insert layers {args.scene} undo"
    )
    return data, text
