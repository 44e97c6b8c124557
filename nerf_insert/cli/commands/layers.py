"""List the layers of a scene, bottom to top, after changing them if asked to.

Enable, disable, remove, move or rename a layer, fade a shadow, or undo the last change. Nothing is deleted
from the disk; undo brings a removed layer back. A shade layer (an object's shadow) goes with its object: it
is hidden while that is disabled, and removed with it.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from nerf_insert.cli.argument_types import integer, number, path
from nerf_insert.cli.console import Console, text_table
from nerf_insert.errors import InputError
from nerf_insert.scene.scene_file import MAX_STRENGTH

if TYPE_CHECKING:
    from nerf_insert.scene.scene import LayerEntry, Scene

SUMMARY = "list, enable, disable, remove, move, rename or fade layers"
ACTIONS = {  # action -> its arguments
    "list": "",
    "enable": "N",
    "disable": "N",
    "remove": "N",
    "move": "N TO",
    "rename": "N NAME",
    "fade": "N STRENGTH",
    "undo": "",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("scene", type=path, metavar="SCENE", help="scene folder")
    parser.add_argument(
        "action",
        nargs="?",
        default="list",
        choices=ACTIONS,
        metavar="ACTION",
        help=", ".join(f"{name} {takes}".strip() for name, takes in ACTIONS.items())
        + " (default: list). Where regions overlap, the upper layer shows",
    )
    parser.add_argument(
        "words",
        nargs="*",
        metavar="N",
        help="layer numbers, counted from 1 at the bottom, the new name, or the strength of a shadow: 0 is "
        "none, 1 as computed, 2 the most",
    )


def run(args: argparse.Namespace, console: Console) -> tuple[dict[str, Any], str]:
    """Change the layers if asked to; return the list."""
    takes = ACTIONS[args.action]
    if len(args.words) != len(takes.split()):
        usage = f"nerf-insert layers SCENE {args.action} {takes}".strip()
        raise InputError(f"the usage of layers {args.action} is `{usage}`")
    values = [_parse_value(word, kind) for word, kind in zip(args.words, takes.split(), strict=True)]

    from nerf_insert.scene.scene import Scene

    scene = Scene.open(args.scene)
    if args.action != "list":
        with scene.locked():
            scene = Scene.open(args.scene)  # read again, now that nobody else changes it
            change(scene, args.action, values)
    rows = [describe(scene, number, entry) for number, entry in enumerate(scene.layers, 1)]
    text = _table(rows) if rows else f"{args.scene} has no layers."
    return {"scene": str(args.scene), "layers": rows}, text


def _parse_value(word: str, kind: str) -> Any:
    """Parse one argument of an action: a layer number, a name or a strength."""
    try:
        if kind == "STRENGTH":
            return number(0, MAX_STRENGTH)(word)
        return word if kind == "NAME" else integer(1)(word)
    except argparse.ArgumentTypeError as error:
        raise InputError(f"argument {kind}: {error}") from None


def change(scene: Scene, action: str, values: list[Any]) -> None:
    """Apply one of ACTIONS, except list, to a locked scene."""
    if action in ("enable", "disable"):
        scene.enable(values[0], action == "enable")
    elif action in ("remove", "move", "rename", "fade"):
        getattr(scene, action)(*values)
    else:
        scene.undo()


def describe(scene: Scene, number: int, entry: LayerEntry) -> dict[str, Any]:
    """Describe a layer from its recipe, without loading its field."""
    from nerf_insert.scene.recipe import Recipe

    folder = scene.layer_folder(entry)
    row: dict[str, Any] = {"number": number, "name": entry.name, "enabled": entry.enabled}
    try:
        recipe = Recipe.load(scene.recipe_file(entry))
    except InputError as error:
        row |= {"region": None, "inpainter": None, "seed": None, "problem": str(error)}
    else:
        kind = recipe.region.keyword
        row |= {"region": kind, "inpainter": recipe.inpainter, "seed": recipe.seed}
    if entry.shade_of is not None:
        row |= {"shade_of": entry.shade_of, "strength": entry.strength, "shown": scene.is_shown(entry)}
    row["bytes"] = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    row["folder"] = str(folder)
    return row


def _state(row: dict[str, Any]) -> str:
    if not row["enabled"]:
        return "off"
    if "shade_of" not in row:
        return "on"
    return f"on, {row['strength']:g}" if row["shown"] else "hidden"


def _table(rows: list[dict[str, Any]]) -> str:
    head = ["", "name", "", "region", "inpainter", "seed", "on disk"]
    cells = [
        [
            str(row["number"]),
            row["name"],
            _state(row),
            row["region"] or "damaged",
            row["inpainter"] or "",
            "" if row["seed"] is None else str(row["seed"]),
            f"{row['bytes'] / 1e6:.1f} MB",
        ]
        for row in rows
    ]
    return text_table(head, cells, right=(0, 5, 6))
