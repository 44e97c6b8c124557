"""Render images or a video of a scene.

The cameras are those of the photographs (--split), of a file (--cameras), or on an orbit around the topmost
edit (--orbit). An --out that ends in .mp4 gives a video; any other is a folder with one image per camera,
named as the photograph.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nerf_insert.cli.argument_types import integers, number, numbers, path
from nerf_insert.cli.console import Console
from nerf_insert.cli.render_cameras import (
    DEFAULT_FPS,
    DEFAULT_SECONDS,
    MAX_FPS,
    MAX_ORBIT_SIDE,
    MIN_FPS,
    choose_cameras,
)
from nerf_insert.errors import InputError

if TYPE_CHECKING:
    from nerf_insert.capture.capture import Capture
    from nerf_insert.geometry.cameras import Camera
    from nerf_insert.rendering.stack import LayerStack
    from nerf_insert.scene.scene import Scene

SUMMARY = "render images or a video"
MAX_PIXELS = 1 << 27  # of one image
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
        help="cameras of a camera path exported by nerfstudio's viewer, or of a transforms.json, whose "
        "images need not exist",
    )
    cameras.add_argument(
        "--orbit",
        action="store_true",
        help="one turn around the topmost layer's region, or around what the photographs look at, at most "
        f"{MAX_ORBIT_SIDE} pixels wide and high, without lens distortion",
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

    from nerf_insert.rendering import outputs
    from nerf_insert.scene.scene import Scene

    as_video = is_video(args.out)
    scene = Scene.open(args.scene)
    stack = choose_layers(scene, args)
    cameras, fps = choose_cameras(scene, args)
    if args.scale:
        cameras = [(name, camera.scaled(args.scale)) for name, camera in cameras]
    check_sizes(cameras)
    outputs.check_folder(args.out.parent if as_video else args.out)
    console.if_stopped = "no video was written" if as_video else "the images rendered so far are kept"
    if as_video:
        if len({(camera.width, camera.height) for _, camera in cameras}) > 1:
            console.progress.warn("the cameras differ in image size: all frames get the size of the first")
        outputs.render_video(stack, cameras, args.out, args.fps or fps, console.progress)
    else:
        if scene.capture_path:
            check_photographs_are_safe(scene.capture, args.out, cameras, f".{args.format}")
        unit = outputs.depth_unit(1 / stack.base.scale) if args.depth else None
        folder = outputs.ImageFolder(args.out, unit, args.accumulation, f".{args.format}")
        outputs.render_images(stack, cameras, folder, console.progress)
    data = {
        "scene": str(args.scene),
        "out": str(args.out),
        "images": len(cameras),
        "pictures": len(cameras),  # the name of "images" in 0.1.0
        "layers": len(stack.layers),
    }
    written = f"a video of {len(cameras)} frames" if as_video else f"{len(cameras)} images"
    shown = "1 layer" if len(stack.layers) == 1 else f"{len(stack.layers) or 'no'} layers"
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


def check_sizes(cameras: list[tuple[str, Camera]]) -> None:
    """Check that the images fit into memory.

    Raises:
        InputError: An image has more than MAX_PIXELS.
    """
    for name, camera in cameras:
        if camera.width * camera.height > MAX_PIXELS:
            raise InputError(
                f"the image of camera {name} would be {camera.width}x{camera.height} pixels large, more than "
                f"the {MAX_PIXELS:,} that can be rendered: give a smaller --scale"
            )


def choose_layers(scene: Scene, args: argparse.Namespace) -> LayerStack:
    """Build the stack of the layers to render.

    Raises:
        InputError: --layers names a layer that does not exist.
    """
    if not args.layers:
        return scene.stack(with_layers=not args.before)
    from nerf_insert.rendering.stack import LayerStack

    chosen = sorted(set(args.layers))
    if chosen[-1] > len(scene.layers):
        raise InputError(f"{args.scene} has no layer {chosen[-1]}: it has {len(scene.layers) or 'none'}")
    return LayerStack(scene.base, tuple(scene.load_layer(scene.layers[k - 1]) for k in chosen))


def check_photographs_are_safe(
    capture: Capture, out: Path, cameras: list[tuple[str, Camera]], suffix: str
) -> None:
    """Check that no image would be written over a photograph or mask of the capture.

    Raises:
        InputError: One would.
    """
    from nerf_insert.rendering.outputs import file_stems

    protected = {path.resolve() for view in capture.views for path in (view.path, view.mask_path) if path}
    for stem in file_stems(name for name, _ in cameras):
        file = (out / f"{stem}{suffix}").resolve()
        if file in protected:
            raise InputError(
                f"--out {out} would overwrite {file}, a part of the capture: choose another folder"
            )
