"""Check a capture: does it open, do its poses fit its photographs, how much memory will training take?

What a few pairs of photographs have in common is compared with where the poses and lenses say it is. A usual
mistake (other camera axes, photographs turned or paired in another order, focal lengths of another size) is
named; `train` mends it by itself. The exit code is 1 if the poses do not fit.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

from nerf_insert.cli.argument_types import path
from nerf_insert.cli.console import Console, text_table

SUMMARY = "check whether the poses of a capture fit its photographs"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "capture", type=path, metavar="CAPTURE", help="folder of the capture, its transforms.json, or a zip"
    )
    parser.add_argument(
        "--dataparser", metavar="NAME", help="how to read it (default: the format that fits the folder)"
    )
    add_axes(parser)


def add_axes(parser: argparse._ActionsContainer) -> None:
    """Add --axes."""
    parser.add_argument(
        "--axes",
        metavar="AXES",
        help="where the cameras' x, y and z axes point in the capture's matrices: opengl, opencv, or three "
        "letters such as RDF (R or L: right, left; U or D: up, down; B or F: back, forward), with w2c- in "
        "front for world-to-camera matrices (default: as the format says, or what the check finds)",
    )


def run(args: argparse.Namespace, console: Console) -> tuple[dict[str, Any], str]:
    """Check the capture; return what was found."""
    from nerf_insert.capture.capture import Capture
    from nerf_insert.capture.masks_beside import share_note
    from nerf_insert.capture.pose_check.check import check_poses
    from nerf_insert.capture.reading import Reading
    from nerf_insert.reconstruction.zipped_capture import is_zip, unpack_capture
    from nerf_insert.scene.create import memory_needed

    if is_zip(args.capture):
        with tempfile.TemporaryDirectory(prefix="nerf-insert-") as home:
            given = args.capture
            args.capture = unpack_capture(given, Path(home) / given.stem)
            data, _ = run(args, console)
            data["capture"] = str(given)
            return data, report(data)
    capture = Capture.load(args.capture, dataparser=args.dataparser, reading=Reading(axes=args.axes))
    for warning in (*capture.warnings, share_note(capture.views)):
        if warning:
            console.progress.warn(warning)
    with console.progress.task("Comparing photographs", total=1) as task:
        check = check_poses(capture, args.dataparser)
        task.advance(1)
    if check.verdict == "mended":
        capture = Capture.load(args.capture, dataparser=args.dataparser, reading=check.reading)
    data: dict[str, Any] = {
        "ok": check.verdict != "wrong",
        "capture": str(capture.path),
        "photographs": len(capture.views),
        "train_views": len(capture.train),
        "test_views": len(capture.test),
        "sizes": sizes_of(capture.views),
        "lenses": len({(v.camera.fx, v.camera.fy, v.camera.cx, v.camera.distortion) for v in capture.views}),
        "masks": sum(view.mask_path is not None for view in capture.views),
        "up": [round(value, 3) for value in capture.up.tolist()],
        "origin": list(capture.origin),
        "memory_gb": round(sum(memory_needed(capture)) / 1e9, 1),
        "verdict": check.verdict,
        "summary": check.summary,
        "reading": check.reading.to_dict(),
        "compared": check.photographs,
        "pairs": check.pairs,
        "error_pixels": check.error,
        "mended_error_pixels": check.mended_error,
        "misfits": list(check.misfits),
        "exposure_stops": check.exposure,
        "seconds": check.seconds,
    }
    return data, report(data)


def sizes_of(views: Any) -> dict[str, int]:
    """Return the number of photographs of each size, the most frequent first."""
    counts: dict[str, int] = {}
    for view in views:
        name = "x".join(map(str, view.size))
        counts[name] = counts.get(name, 0) + 1
    return dict(sorted(counts.items(), key=lambda item: -item[1]))


def report(data: dict[str, Any]) -> str:
    """Return the findings as text."""
    sizes = ", ".join(f"{count} of {size}" for size, count in data["sizes"].items())
    rows = [
        ["capture", data["capture"]],
        ["photographs", f"{data['photographs']}: {sizes}"],
        ["split", f"{data['train_views']} to train, {data['test_views']} to test"],
        ["lenses, masks", f"{data['lenses']}, {data['masks']}"],
        ["up", ", ".join(f"{value:g}" for value in data["up"])],
    ]
    if any(data["origin"]):
        rows.append(["origin", ", ".join(f"{value:.12g}" for value in data["origin"]) + " (far from zero)"])
    rows.append(["memory to train", f"about {data['memory_gb']} GB"])
    if data["exposure_stops"] is not None:
        rows.append(["exposure", f"differs by {data['exposure_stops']} stops"])
    table = text_table(["", ""], rows).strip("\n")
    return f"{table}\n\n{data['verdict']}: {data['summary']}"
