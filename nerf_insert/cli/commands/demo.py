"""Edit the bundled sample capture, end to end, on any machine: train a base, insert a mesh, remove an object,
report how close both come to the true pictures, and leave a video and a contact sheet."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from nerf_insert.cli.argument_types import path
from nerf_insert.cli.console import Console

SUMMARY = "edit the bundled sample capture, end to end"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--out",
        type=path,
        default=Path("nerf-insert-demo"),
        metavar="DIR",
        help="folder for the scene and the results (default: %(default)s)",
    )


def run(args: argparse.Namespace, console: Console) -> tuple[dict[str, Any], str]:
    from nerf_insert.cli.demo_pipeline import run_demo
    from nerf_insert.rendering.outputs import check_folder

    check_folder(args.out)
    console.if_stopped = "give the same command again and it goes on where it was"
    return run_demo(args.out, console.progress)
