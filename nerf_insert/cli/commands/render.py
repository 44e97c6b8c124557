"""Render images or a video of a scene.

The cameras are those of the photographs (--split), of a file (--cameras), or on an orbit around the topmost
edit (--orbit). An --out that ends in .mp4 gives a video; any other is a folder with one image per camera,
named as the photograph.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nerf_insert.cli.argument_types import integers, number, numbers, part, path
from nerf_insert.cli.console import Console
from nerf_insert.cli.render_cameras import MAX_FPS, MIN_FPS, choose_cameras
from nerf_insert.errors import InputError
from nerf_insert.scene.renders import DEFAULT_FPS, DEFAULT_SECONDS, MAX_ORBIT_SIDE

if TYPE_CHECKING:
    from nerf_insert.capture.camera_crop import Crop
    from nerf_insert.geometry.cameras import Camera
    from nerf_insert.scene.scene import Scene

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
    _add_part_flags(parser)
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


def _add_part_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group(
        "parts",
        "To render a video by several processes or machines at the same time: the parts, then --join.",
    )
    parts = group.add_mutually_exclusive_group()
    parts.add_argument(
        "--part",
        type=part,
        metavar="K/N",
        help="render every N-th image only, beginning with the K-th; the frames of a video are kept beside "
        "it, in MP4.parts, until they are joined",
    )
    parts.add_argument("--join", action="store_true", help="write the video of the frames of all parts")


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
    if as_video and (args.part or args.join):
        return _render_in_parts(scene, cameras, fps, crop, args, console)
    if args.part:
        cameras = keep_part(cameras, args.part)
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


def _render_in_parts(
    scene: Scene,
    cameras: list[tuple[str, Camera]],
    fps: float,
    crop: Crop | None,
    args: argparse.Namespace,
    console: Console,
) -> tuple[dict[str, Any], str]:
    """Render a part of a video's frames, or join all parts."""
    from nerf_insert.scene.video_parts import join_parts, render_part

    layers = args.layers or not args.before
    data: dict[str, Any] = {"scene": str(args.scene), "out": str(args.out)}
    if args.join:
        join_parts(
            scene, cameras, args.out, layers=layers, fps=args.fps or fps, crop=crop, progress=console.progress
        )
        return {**data, "images": len(cameras)}, f"{args.out}: a video of {len(cameras)} frames"
    console.if_stopped = "the frames rendered so far are kept"
    count = render_part(
        scene, cameras, args.out, args.part, layers=layers, crop=crop, progress=console.progress
    )
    number, parts = args.part
    return {**data, "images": count}, f"{args.out}: part {number} of {parts}, {count} frames"


def keep_part(cameras: list[tuple[str, Camera]], chosen: tuple[int, int]) -> list[tuple[str, Camera]]:
    """Return every N-th camera, named as its image would be among all of them.

    Raises:
        InputError: The part has no camera.
    """
    from nerf_insert.rendering.outputs import file_stems

    number, count = chosen
    stems = file_stems(name for name, _ in cameras)
    kept = [(stem, camera) for stem, (_, camera) in zip(stems, cameras, strict=True)][number - 1 :: count]
    if not kept:
        raise InputError(f"part {number} of {count} is empty: there are {len(cameras)} cameras")
    return kept


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
    if args.join and not is_video(args.out):
        raise InputError("--join is for videos: images of several parts are complete as they are")
    if is_video(args.out):
        if args.out.is_dir():
            raise InputError(f"--out {args.out} is a folder: choose another name for the video")
        for name in IMAGES_ONLY:
            if getattr(args, name):
                raise InputError(f"--{name} is written as images: give a folder as --out")
