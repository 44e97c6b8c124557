"""Render images or a video of a scene.

The cameras are those of the photographs (--split), of a file (--cameras), or on an orbit around the topmost
edit (--orbit). An --out that ends in .mp4 gives a video; any other is a folder with one image per camera,
named as the photograph.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from nerf_insert.cli.argument_types import integers, number, numbers, path
from nerf_insert.cli.console import Console
from nerf_insert.cli.render_cameras import MAX_FPS, MIN_FPS, choose_cameras
from nerf_insert.errors import InputError
from nerf_insert.scene.renders import DEFAULT_FPS, DEFAULT_SECONDS, MAX_ORBIT_SIDE

SUMMARY = "render images or a video"
OTHER_FILES = (".mov", ".avi", ".mkv", ".webm", ".gif", ".png", ".jpg", ".jpeg")  # not what --out can be
IMAGES_ONLY = ("depth", "accumulation")  # flags without effect on a video


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("scene", type=path, metavar="SCENE", help="scene folder")
    parser.add_argument(
        "--out", type=path, required=True, metavar="DIR_OR_MP4", help="folder or video to write"
    )
    _add_camera_flags(parser)
    _add_image_flags(parser)
    group = parser.add_argument_group("orbit")
    group.add_argument(
        "--seconds",
        type=number(0.04, 3600),
        metavar="S",
        help=f"duration of one turn (default: {DEFAULT_SECONDS:g})",
    )
    group.add_argument(
        "--radius",
        type=number(above=0),
        metavar="R",
        help="distance from the target, in world units (default: the mean of the photographs)",
    )
    group.add_argument(
        "--elevation",
        type=number(-89.9, 89.9),
        metavar="DEG",
        help="angle above the target, in degrees (default: the mean of the photographs)",
    )
    group.add_argument(
        "--target", type=numbers(3), metavar="X,Y,Z", help="center of the orbit, in world coordinates"
    )


def _add_camera_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("cameras", "Give one of --split, --cameras and --orbit.")
    cameras = group.add_mutually_exclusive_group(required=True)
    cameras.add_argument(
        "--split",
        choices=("train", "test", "all"),
        help="cameras of these photographs, at their full size",
    )
    cameras.add_argument(
        "--cameras",
        type=path,
        metavar="FILE",
        help="cameras of a camera path exported by nerfstudio's viewer, whose crop is honored, or of a "
        "transforms.json, whose images need not exist",
    )
    cameras.add_argument(
        "--orbit",
        action="store_true",
        help="one turn around the topmost layer's region, or around what the photographs look at, or to and "
        f"fro where photographs are from some sides only; at most {MAX_ORBIT_SIDE} pixels wide and high, "
        "without lens distortion",
    )
    group.add_argument(
        "--nerfstudio",
        type=path,
        metavar="CONFIG",
        help="with --cameras: config.yml of the nerfstudio run in whose viewer the path was made; nerfstudio "
        "rotates, moves and scales a capture, and its paths are in those coordinates (default: the path is "
        "in world coordinates)",
    )
    group.add_argument(
        "--trust",
        action="store_true",
        help="with --nerfstudio: load with nerfstudio's own loader, which can execute code embedded in the "
        "files",
    )


def _add_image_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("images")
    group.add_argument("--before", action="store_true", help="render without layers")
    group.add_argument(
        "--layers", type=integers(1), metavar="N,N", help="render only these layers, enabled or not"
    )
    group.add_argument(
        "--depth",
        action="store_true",
        help="also write DIR/depth/NAME.png, 16 bits: distance along the pixel's ray in the unit given by "
        "DIR/depth/units.json, 0: nothing, 65535: farther; and a colored version in DIR/depth/preview",
    )
    group.add_argument(
        "--accumulation", action="store_true", help="also write the opacity to DIR/accumulation/NAME.png"
    )
    group.add_argument(
        "--scale", type=number(0.01, 8), metavar="F", help="scale factor for the image size (default: 1)"
    )
    group.add_argument(
        "--format", choices=("png", "jpg"), default="png", help="file format of images (default: png)"
    )
    group.add_argument(
        "--fps",
        type=number(MIN_FPS, MAX_FPS),
        metavar="N",
        help=f"frames per second of a video (default: those of the camera path, else {DEFAULT_FPS:g})",
    )


def run(args: argparse.Namespace, console: Console) -> tuple[dict[str, Any], str]:
    """Render; return where the images or the video are."""
    check_flags(args)

    from nerf_insert.scene.renders import render_path
    from nerf_insert.scene.scene import Scene

    as_video = is_video(args.out)
    scene = Scene.open(args.scene)
    cameras, fps, crop = choose_cameras(scene, args)
    if args.scale:
        cameras = [(name, camera.scaled(args.scale)) for name, camera in cameras]
    console.if_stopped = "no video was written" if as_video else "the images rendered so far are kept"
    render_path(
        scene,
        cameras,
        args.out,
        layers=args.layers or not args.before,
        fps=args.fps or fps,
        depth=args.depth,
        accumulation=args.accumulation,
        image_format=args.format,
        crop=crop,
        progress=console.progress,
    )
    enabled = [] if args.before else [entry.folder for entry in scene.layers if entry.enabled]
    layers = len(set(args.layers or enabled))
    data = {
        "scene": str(args.scene),
        "out": str(args.out),
        "images": len(cameras),
        "pictures": len(cameras),  # the name of "images" in 0.1.0
        "layers": layers,
    }
    written = f"a video of {len(cameras)} frames" if as_video else f"{len(cameras)} images"
    shown = "1 layer" if layers == 1 else f"{layers or 'no'} layers"
    return data, f"{args.out}: {written}, with {shown}"


def is_video(out: Path) -> bool:
    """Tell whether --out names a video."""
    return out.suffix.lower() == ".mp4"


def check_flags(args: argparse.Namespace) -> None:
    """Check that the flags go together.

    Raises:
        InputError: They do not.
    """
    if args.before and args.layers:
        raise InputError("--before and --layers contradict each other: give one of them")
    for name in ("seconds", "radius", "elevation", "target"):
        if getattr(args, name) is not None and not args.orbit:
            raise InputError(f"--{name} is for --orbit")
    if args.nerfstudio and not args.cameras:
        raise InputError("--nerfstudio is for --cameras FILE")
    if args.trust and not args.nerfstudio:
        raise InputError("--trust is for --nerfstudio")
    if args.out.suffix.lower() in OTHER_FILES:
        raise InputError(f"--out {args.out}: videos are written as .mp4, images to a folder")
    if is_video(args.out):
        if args.out.is_dir():
            raise InputError(f"--out {args.out} is a folder: choose another name for the video")
        for name in IMAGES_ONLY:
            if getattr(args, name):
                raise InputError(f"--{name} is written as images: give a folder as --out")
