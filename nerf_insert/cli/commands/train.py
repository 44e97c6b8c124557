"""Train the base field of a scene on a capture and make a scene folder.

A capture is a folder of posed photographs as nerfstudio, COLMAP, LLFF, Polycam, Record3D, Metashape,
RealityCapture, Meshroom or OpenDroneMap leave it, or a zip of one, which is unpacked in the scene folder.
From a video, or a folder or zip of photographs without camera positions, a capture is made first, as
`nerf-insert capture` does. Whether the poses fit the photographs is checked before training. If training was
interrupted, run the same command again to resume it. With --nerfstudio or --splat nothing is trained: a model
trained in nerfstudio, or a file of Gaussian splats, becomes the base.
"""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING, Any

from nerf_insert.cli.argument_types import integer, number, numbers, path
from nerf_insert.cli.commands.capture import SOURCE_FLAGS, add_source_arguments, options_of
from nerf_insert.cli.commands.check import add_axes
from nerf_insert.cli.console import Console
from nerf_insert.errors import InputError
from nerf_insert.runtime.extras import require

if TYPE_CHECKING:
    from nerf_insert.capture.capture import Capture

SUMMARY = "train a scene on the photographs of a capture"
TRAINING_FLAGS = (
    "steps",
    "downscale",
    "dataparser",
    "axes",
    "seed",
    "samples",
)  # without effect on --nerfstudio
SPLAT_FLAGS = ("cameras", "background", "antialiased")
LOW_PSNR = 12.0  # dB, below which splats and photographs do not show the same
COMPARE_SIDE = 1024  # pixels along the longer side, at most, of test photographs that are compared with
CHECK_VIEWS, CHECK_SIDE = 4, 128  # photographs, and their pixels, for the quick PSNR of an imported run


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "capture",
        type=path,
        nargs="?",
        metavar="CAPTURE",
        help="folder of the capture, a zip of it, or its transforms.json (with --nerfstudio: no zip, only if "
        "it was moved; with --splat: if there are photographs); or a video, or a folder or zip of "
        "photographs",
    )
    parser.add_argument("--out", type=path, required=True, metavar="SCENE", help="scene folder to make")
    group = parser.add_argument_group("training")
    group.add_argument("--steps", type=integer(1), metavar="N", help="training steps")
    group.add_argument(
        "--downscale",
        type=number(1, 64),
        metavar="F",
        help="factor to shrink the photographs by, also for edits and renders; recommended above about one "
        "megapixel",
    )
    group.add_argument(
        "--dataparser",
        metavar="NAME",
        help="name of a nerfstudio dataparser, built in or of an installed plugin (default: the one that "
        "fits the folder); minimal-parser, which can execute code embedded in a capture, is refused",
    )
    add_axes(group)
    group.add_argument("--seed", type=integer(0, 2**31 - 1), metavar="N", help="random seed (default: 0)")
    group.add_argument(
        "--samples",
        type=integer(1 << 10, 1 << 24),
        metavar="N",
        help="samples along rays per step; fewer need less memory",
    )
    add_source_arguments(parser.add_argument_group("video and photographs"))
    group = parser.add_argument_group("import from nerfstudio")
    group.add_argument(
        "--nerfstudio",
        type=path,
        metavar="CONFIG",
        help="config.yml of a nerfacto, nerfacto-big, nerfacto-huge, depth-nerfacto, nerf-insert-base or "
        "splatfacto run, or its folder: use its model as the base",
    )
    group.add_argument(
        "--appearance",
        metavar="VIEW",
        help="render with the appearance embedding of this training photograph (default: as nerfstudio "
        "renders)",
    )
    group.add_argument(
        "--trust",
        action="store_true",
        help="load with nerfstudio's own loader, which can execute code embedded in the files; without it "
        "such a run is refused",
    )
    group = parser.add_argument_group("Gaussian splats")
    group.add_argument(
        "--splat",
        type=path,
        metavar="FILE",
        help="a .ply, .splat, .spz or .sog file of Gaussian splats: use it as the base, with the photographs "
        "of CAPTURE, whose cameras are in the splats' coordinates, or with its own renders as photographs",
    )
    group.add_argument(
        "--cameras",
        type=path,
        metavar="FILE",
        help="transforms.json or camera path to render the splats' photographs from (default: cameras around "
        "the content; --up says what is up there, by default 0,1,0 for .spz and else 0,-1,0)",
    )
    group.add_argument(
        "--background",
        type=numbers(3),
        metavar="R,G,B",
        help="color behind the splats, 0 to 1 each (default: 0,0,0)",
    )
    group.add_argument(
        "--antialiased",
        action="store_true",
        help="the splats were trained with antialiasing (splatfacto's rasterize-mode antialiased; default: "
        "as an .spz file says)",
    )


def run(args: argparse.Namespace, console: Console) -> tuple[dict[str, Any], str]:
    """Train or import a base; return the scene and its PSNR on held-out photographs."""
    if args.splat:
        return run_splat(args, console)
    for name in SPLAT_FLAGS:
        if getattr(args, name):
            raise InputError(f"--{name} is for --splat")
    if args.nerfstudio:
        return run_import(args, console)
    for name in ("appearance", "trust"):
        if getattr(args, name):
            raise InputError(f"--{name} is for --nerfstudio")
    if args.capture is None:
        raise InputError(
            "give the capture to train on, --nerfstudio or --splat; see `nerf-insert train --help`"
        )

    from nerf_insert.evaluation.scene_psnr import mean_psnr
    from nerf_insert.scene.create import train_scene

    start = time.monotonic()
    console.if_stopped = "run the same command again to resume"
    scene = train_scene(
        args.capture,
        args.out,
        steps=args.steps,
        samples=args.samples,
        seed=args.seed or 0,
        downscale=args.downscale,
        dataparser=args.dataparser,
        making=options_of(args) if any(getattr(args, name) is not None for name in SOURCE_FLAGS) else None,
        axes=args.axes,
        progress=console.progress,
    )
    console.if_stopped = f"the scene {args.out} is complete, only its PSNR was not measured"
    capture = scene.capture
    psnr = mean_psnr(
        scene.base,
        capture.test,
        console.progress,
        longest_side=COMPARE_SIDE,
        description="Comparing with the test photographs",
    )
    data = _result(args, capture, psnr) | {"seconds": round(time.monotonic() - start, 1)}
    quality = (
        f"trained on all {len(capture.train)} photographs, none was held out to measure the PSNR"
        if psnr is None
        else f"PSNR {psnr:.2f} dB on {len(capture.test)} held-out photographs"
    )
    return data, _text(args, quality)


def run_import(args: argparse.Namespace, console: Console) -> tuple[dict[str, Any], str]:
    """Make a scene from a nerfstudio run; return it with its PSNR on a few photographs."""
    for name in (*TRAINING_FLAGS, *SOURCE_FLAGS):
        if getattr(args, name) is not None:
            raise InputError(f"--{name} is for training, but --nerfstudio trains nothing: leave it out")
    require("nerfstudio", "nerfstudio")

    from nerf_insert.evaluation.scene_psnr import mean_psnr
    from nerf_insert.plugin.import_run import import_scene

    scene = import_scene(
        args.nerfstudio,
        args.out,
        capture=args.capture,
        appearance=args.appearance,
        trust=args.trust,
        progress=console.progress,
    )
    console.if_stopped = f"the scene {args.out} is complete, only its PSNR was not measured"
    capture = scene.capture
    views = (capture.test or capture.train)[:CHECK_VIEWS]
    psnr = mean_psnr(scene.base, views, console.progress, longest_side=CHECK_SIDE)
    data = _result(args, capture, psnr) | {"adopted": str(args.nerfstudio)}
    return data, _text(args, f"PSNR {psnr:.2f} dB on small copies of {len(views)} photographs")


def run_splat(args: argparse.Namespace, console: Console) -> tuple[dict[str, Any], str]:
    """Make a scene from a splat file; return it with its PSNR on photographs, if there are some."""
    for name in ("nerfstudio", "appearance", "trust"):
        if getattr(args, name):
            raise InputError(f"--{name} and --splat exclude each other")
    for name in ("steps", "samples", "seed", "axes", *SOURCE_FLAGS):
        if name != "up" and getattr(args, name) is not None:
            flag = name.replace("_", "-")
            raise InputError(f"--{flag} is for training, but --splat trains nothing: leave it out")
    for name in ("dataparser", "downscale"):
        if getattr(args, name) is not None and args.capture is None:
            raise InputError(f"--{name} is for the photographs of a capture: give one, or leave it out")
    if args.background and not all(0 <= value <= 1 for value in args.background):
        raise InputError("--background: the three numbers must lie between 0 and 1")

    from nerf_insert.evaluation.scene_psnr import mean_psnr
    from nerf_insert.fields.splat_field import SplatField
    from nerf_insert.scene.adopt_splats import adopt_splats

    scene = adopt_splats(
        args.splat,
        args.out,
        capture=args.capture,
        cameras=args.cameras,
        up=args.up,
        background=args.background or (0.0, 0.0, 0.0),
        antialiased=args.antialiased or None,
        dataparser=args.dataparser,
        downscale=args.downscale,
        progress=console.progress,
    )
    console.if_stopped = f"the scene {args.out} is complete, only its PSNR was not measured"
    capture = scene.capture
    psnr = None
    if args.capture is not None:
        views = (capture.test or capture.train)[:CHECK_VIEWS]
        psnr = mean_psnr(scene.base, views, console.progress, longest_side=CHECK_SIDE)
    assert isinstance(scene.base, SplatField)
    splats = len(scene.base.means)
    data = _result(args, capture, psnr) | {"adopted": str(args.splat), "splats": splats}
    quality = f"{splats:,} splats, {len(capture.views)} photographs rendered from them"
    if psnr is not None:
        quality = f"{splats:,} splats, PSNR {psnr:.2f} dB on small copies of {len(views)} photographs"
        if psnr < LOW_PSNR:
            console.progress.warn(
                f"the splats do not look like the photographs ({psnr:.1f} dB): their coordinates may not be "
                "those of the capture's cameras, as after an export from nerfstudio"
            )
    return data, _text(args, quality)


def _result(args: argparse.Namespace, capture: Capture, psnr: float | None) -> dict[str, Any]:
    return {
        "scene": str(args.out),
        "train_views": len(capture.train),
        "test_views": len(capture.test),
        "psnr": psnr,
    }


def _text(args: argparse.Namespace, quality: str) -> str:
    return f"{args.out}: {quality}.\nView it:  nerf-insert render {args.out} --orbit --out orbit.mp4"
