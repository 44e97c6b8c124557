"""Make a capture from a video or photographs: choose frames, find camera positions, align the world.

SOURCE is a video (H.264, HEVC, AV1), or a folder or zip of photographs (JPEG, PNG, WebP, TIFF, HEIC, MPO) or
videos. The capture holds the photographs, transforms.json, the points, and report.html, which says what to
photograph next. If the work was interrupted, run the same command again to resume it. On a finished capture,
--up, --floor and --scale only move the cameras.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from nerf_insert.cli.argument_types import integer, number, numbers, path
from nerf_insert.cli.console import Console
from nerf_insert.errors import InputError

if TYPE_CHECKING:
    from nerf_insert.reconstruction.options import CaptureOptions

SUMMARY = "make a capture from a video or photographs"
LENSES = ("auto", "pinhole", "radial", "opencv", "fisheye")
SOURCE_FLAGS = ("frames", "megapixels", "lens", "up", "floor", "scale")  # of `train` as well


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("source", type=path, metavar="SOURCE", help="video, or folder or zip of photographs")
    parser.add_argument(
        "--out", type=path, required=True, metavar="CAPTURE", help="folder of the capture to make"
    )
    parser.add_argument(
        "--seed", type=integer(0, 2**31 - 1), default=0, metavar="N", help="random seed (default: 0)"
    )
    add_source_arguments(parser.add_argument_group("video and photographs"))


def add_source_arguments(group: argparse._ArgumentGroup) -> None:
    """Add the arguments of a source, which `train` takes as well."""
    group.add_argument(
        "--frames",
        type=integer(3, 2000),
        metavar="N",
        help="frames to take from a video (default: 60 to 150, as it moves)",
    )
    group.add_argument(
        "--megapixels",
        type=number(0, 1000),
        metavar="M",
        help="size of the photographs, at most; 0 keeps theirs (default: what this machine can train on)",
    )
    group.add_argument("--lens", choices=LENSES, metavar="MODEL", help=f"lens model: {', '.join(LENSES)}")
    group.add_argument(
        "--up",
        type=numbers(3),
        metavar="X,Y,Z",
        help="direction that is up, in the coordinates that the capture has without this option",
    )
    group.add_argument(
        "--floor",
        action="append",
        metavar="VIEW=X,Y",
        help="pixel of a photograph that shows the floor, which becomes z = 0; give three that are far "
        "apart, or one where the floor has texture",
    )
    group.add_argument(
        "--scale",
        nargs=3,
        metavar=("A", "B", "DISTANCE"),
        help="two places, each VIEW=X,Y, and the distance between them: the unit of length becomes yours",
    )


def options_of(args: argparse.Namespace) -> CaptureOptions:
    """Return what the flags say.

    Raises:
        InputError: A flag is not of its form.
    """
    from nerf_insert.reconstruction.options import CaptureOptions

    scale = None
    if args.scale:
        start, end, distance = args.scale
        try:
            scale = (start, end, number(above=0)(distance))
        except argparse.ArgumentTypeError as problem:
            raise InputError(f"the DISTANCE of --scale: {problem}") from None
    return CaptureOptions(
        frames=args.frames,
        megapixels=args.megapixels,
        lens=args.lens or "auto",
        up=tuple(args.up) if args.up else None,
        floor=tuple(args.floor or ()),
        scale=scale,
    )


def run(args: argparse.Namespace, console: Console) -> tuple[dict[str, Any], str]:
    """Make the capture; return how many photographs were placed, and the report."""
    from nerf_insert.reconstruction.make import make_capture

    console.if_stopped = "run the same command again to resume"
    made = make_capture(args.source, args.out, options_of(args), seed=args.seed, progress=console.progress)
    diagnosis = made.diagnosis
    data = {
        "capture": str(args.out),
        "photographs": len(diagnosis.findings),
        "placed": diagnosis.placed,
        "reprojection_error": round(diagnosis.error, 3),
        "lens": diagnosis.lens,
        "report": str(made.report),
        "left_out": [{"photograph": f.source, "why": f.why} for f in diagnosis.findings if not f.placed],
    }
    text = (
        f"{args.out}: {diagnosis.placed} of {len(diagnosis.findings)} photographs have a camera position, "
        "with an error "
        f"of {diagnosis.error:.2f} px.\nReport:    {made.report}\n"
        f"Train it:  nerf-insert train {args.out} --out SCENE"
    )
    return data, text
