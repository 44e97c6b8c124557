"""Estimate the light of a scene at a place, and show it on a ball.

Prints each key light (sun, lamp, window) with its direction, softness, strength and color, the light of the
sky, and how sure the estimate is. An edit with `--inpainter mesh` estimates the same light at its own place,
unless an earlier edit there has kept one; to change it by hand, give the printed option to `edit`.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from nerf_insert.cli.argument_types import number, numbers, path
from nerf_insert.cli.console import Console, text_table

SUMMARY = "estimate the light at a place of a scene"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("scene", type=path, metavar="SCENE", help="scene folder")
    parser.add_argument(
        "--at",
        type=numbers(3),
        metavar="X,Y,Z",
        help="the place, world coordinates (default: what the photographs look at)",
    )
    parser.add_argument(
        "--size",
        type=number(0, above=0),
        metavar="D",
        help="diagonal of what will stand there, world units (default: a quarter of the cameras' distance)",
    )
    parser.add_argument(
        "--out",
        type=path,
        metavar="PNG",
        help="write a photograph that shows the place, with a gray ball in the estimated light beside it",
    )


def run(args: argparse.Namespace, console: Console) -> tuple[dict[str, Any], str]:
    """Estimate the light; return it as data and as a table."""
    from nerf_insert.editing.light_probe import probe_light
    from nerf_insert.scene.scene import Scene

    probe = probe_light(Scene.open(args.scene), args.at, args.size, console.progress)
    if args.out is not None:
        probe.write_picture(Path(args.out))
    data = probe.to_dict()
    return {"scene": str(args.scene), **data}, _report(data)


def _report(data: dict[str, Any]) -> str:
    rows = [
        [
            str(number),
            ", ".join(f"{value:.2f}" for value in key["direction"]),
            "far" if key["distance"] is None else f"{key['distance']:.3g}",
            f"{key['angle']:.1f}",
            ", ".join(f"{value:.2f}" for value in key["color"]),
            f"{key['doubt']:.0f}",
        ]
        for number, key in enumerate(data["keys"], 1)
    ]
    head = ["light", "direction", "distance", "half angle", "white shows", "doubt"]
    at = ", ".join(f"{value:.3g}" for value in data["at"])
    lines = [
        f"Light at {at} (world coordinates; angles in degrees):",
        text_table(head, rows, right=(0, 2, 3, 5)),
        f"The sky alone: {', '.join(f'{value:.2f}' for value in data['sky'])}",
        f"{data['verdict'].capitalize()}.",
        f"To change it: nerf-insert edit ... --inpainter-option 'light={data['option']}'",
    ]
    return "\n".join(lines)
