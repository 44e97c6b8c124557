"""Edit one place of a scene: insert, replace or remove an object.

Where: a click on the thing (--point), masks on photographs (--mask), a mesh (--mesh) or a box (--box). What:
a colored mesh (--mesh), a text prompt or reference images (--prompt, --reference), or nothing, to remove the
content (fill). The edit becomes a layer on top of the scene. If it was interrupted, run the same command
again to resume it.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

from nerf_insert.cli import edit_flags
from nerf_insert.cli.argument_types import path
from nerf_insert.cli.console import Console

SUMMARY = "insert, replace or remove an object"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    edit_flags.add_arguments(parser)
    parser.add_argument(
        "--force", action="store_true", help="run the edit even if the topmost layer is its result already"
    )
    parser.add_argument(
        "--copy-to",
        type=path,
        metavar="FOLDER",
        help="edit a copy of the scene in this folder, made if it is not there, and leave SCENE as it is: to "
        "try several edits of one scene at the same time",
    )


def run(args: argparse.Namespace, console: Console) -> tuple[dict[str, Any], str]:
    """Make the layer; return its number, name and folder."""
    recipe = edit_flags.recipe_from_args(args, console.progress)

    from nerf_insert.editing.api import edit
    from nerf_insert.runtime.peak_memory import peak_memory
    from nerf_insert.scene.scene import Scene
    from nerf_insert.scene.scene_copy import open_copy

    start = time.monotonic()
    scene = open_copy(args.scene, args.copy_to) if args.copy_to else Scene.open(args.scene)
    layers_before = len(scene.layers)
    console.if_stopped = "run the same command again to resume"
    entry = edit(scene, recipe, force=args.force, progress=console.progress)
    made, peak = len(scene.layers) > layers_before, peak_memory()
    data = {
        "scene": str(scene.folder),
        "layer": len(scene.layers),
        "name": entry.name,
        "folder": str(scene.layer_folder(entry)),
        "made": made,
        "seconds": round(time.monotonic() - start, 1),
        "peak_memory_gb": peak,
    }
    text = (
        f"Layer {len(scene.layers)}, {entry.name}, {'is now' if made else 'was already'} on top of "
        f"{scene.folder}.\n"
        f"Peak memory: {', '.join(f'{size} GB of {kind}' for kind, size in peak.items()) or 'unknown'}\n"
        f"View it:     nerf-insert render {scene.folder} --orbit --out orbit.mp4\n"
        f"Undo it:     nerf-insert layers {scene.folder} undo"
    )
    return data, text
