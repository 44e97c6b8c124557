"""List a scene's layers, switch them on and off, remove, reorder or rename them, or take the last change
back. A removed layer can be brought back with undo."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from nerf_insert.cli.argument_types import path, whole
from nerf_insert.cli.console import Console
from nerf_insert.cli.tables import table
from nerf_insert.errors import InputError

if TYPE_CHECKING:
    from nerf_insert.scene.scene import LayerEntry, Scene

SUMMARY = "list, switch, remove, reorder and rename layers"
ACTIONS = {
    "list": "",
    "enable": "N",
    "disable": "N",
    "remove": "N",
    "move": "N TO",
    "rename": "N NAME",
    "undo": "",
}


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("scene", type=path, metavar="SCENE", help="the scene folder")
    parser.add_argument(
        "action",
        nargs="?",
        default="list",
        choices=ACTIONS,
        metavar="ACTION",
        help="; ".join(f"{name} {takes}".strip() for name, takes in ACTIONS.items()) + " (default: list)",
    )
    parser.add_argument(
        "words", nargs="*", metavar="N", help="layers, counted from 1 at the bottom, or a new name"
    )


def run(args: argparse.Namespace, console: Console) -> tuple[dict[str, Any], str]:
    takes = ACTIONS[args.action]
    if len(args.words) != len(takes.split()):
        usage = f"nerf-insert layers SCENE {args.action} {takes}".strip()
        raise InputError(f"layers {args.action} is written as `{usage}`")
    words = [_word(word, kind) for word, kind in zip(args.words, takes.split(), strict=True)]

    from nerf_insert.scene.scene import Scene

    scene = Scene.open(args.scene)
    if args.action != "list":
        with scene.locked():
            scene = Scene.open(args.scene)  # as it is now that nobody else changes it
            change(scene, args.action, words)
    rows = [describe(scene, number, entry) for number, entry in enumerate(scene.layers, 1)]
    return {"scene": str(args.scene), "layers": rows}, _table(
        rows
    ) if rows else f"{args.scene} has no layers."


def _word(word: str, kind: str) -> Any:
    try:
        return word if kind == "NAME" else whole(1)(word)
    except argparse.ArgumentTypeError as error:
        raise InputError(f"argument {kind}: {error}") from None


def change(scene: Scene, action: str, words: list[Any]) -> None:
    if action in ("enable", "disable"):
        scene.enable(words[0], action == "enable")
    elif action in ("remove", "move", "rename"):
        getattr(scene, action)(*words)
    else:
        scene.undo()


def describe(scene: Scene, number: int, entry: LayerEntry) -> dict[str, Any]:
    """What there is to say about a layer without loading it."""
    from nerf_insert.scene.recipe import Recipe

    folder = scene.layer_folder(entry)
    row: dict[str, Any] = {"number": number, "name": entry.name, "enabled": entry.enabled}
    try:
        recipe = Recipe.load(folder / "recipe.yaml")
    except InputError as error:
        row |= {"region": None, "inpainter": None, "seed": None, "problem": str(error)}
    else:
        kind = recipe.region.keyword
        row |= {"region": kind, "inpainter": recipe.inpainter, "seed": recipe.seed}
    row["bytes"] = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    row["folder"] = str(folder)
    return row


def _table(rows: list[dict[str, Any]]) -> str:
    head = ["", "name", "", "region", "inpainter", "seed", "on disk"]
    cells = [
        [
            str(row["number"]),
            row["name"],
            "on" if row["enabled"] else "off",
            row["region"] or "damaged",
            row["inpainter"] or "",
            "" if row["seed"] is None else str(row["seed"]),
            f"{row['bytes'] / 1e6:.1f} MB",
        ]
        for row in rows
    ]
    return table(head, cells, right=(0, 5, 6))
