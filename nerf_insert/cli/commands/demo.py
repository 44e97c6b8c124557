"""Edit the bundled sample capture, end to end, on any machine.

Train a scene, insert a mesh, remove an object, measure both against ground truth, and write a video and a
contact sheet. Run again, it does only what is not done yet.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from nerf_insert.cli.argument_types import path
from nerf_insert.cli.console import Console

SUMMARY = "edit the bundled sample capture, end to end"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "--out",
        type=path,
        default=Path("nerf-insert-demo"),
        metavar="DIR",
        help="folder for the scene and the results (default: %(default)s)",
    )


def run(args: argparse.Namespace, console: Console) -> tuple[dict[str, Any], str]:
    """Run the demo; return its metrics."""
    from nerf_insert.cli.demo_pipeline import run_demo
    from nerf_insert.rendering.outputs import check_folder

    check_folder(args.out)
    console.if_stopped = "run the same command again to resume"
    return run_demo(args.out, console.progress)
