"""Render a scene from its photographs' cameras, from those of a file, or on an orbit around the topmost
edit. A name that ends in .mp4 gives a video, any other a folder with one picture per camera, under the
photograph's own name."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nerf_insert.cli.argument_types import number, numbers, path, whole_numbers
from nerf_insert.cli.console import Console
from nerf_insert.errors import InputError
from nerf_insert.io.files import read_json

if TYPE_CHECKING:
    from nerf_insert.capture.capture import Capture
    from nerf_insert.geometry.cameras import Camera
    from nerf_insert.rendering.stack import LayerStack
    from nerf_insert.scene.scene import Scene

SUMMARY = "render pictures or a video"
FPS, MIN_FPS, MAX_FPS, SECONDS = 24.0, 0.1, 240.0, 6.0
LARGEST = 1 << 27  # pixels of one picture
ORBIT_SIDE = 1280  # pixels along the longer side of an orbit's pictures, at most
NOT_FOLDERS = (".mov", ".avi", ".mkv", ".webm", ".gif", ".png", ".jpg", ".jpeg")
IN_PICTURES = ("depth", "accumulation")


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("scene", type=path, metavar="SCENE", help="the scene folder")
    cameras = parser.add_mutually_exclusive_group(required=True)
    cameras.add_argument("--split", choices=("train", "test", "all"), help="the cameras of these photographs")
    cameras.add_argument(
        "--cameras",
        type=path,
        metavar="FILE",
        help="a camera path of nerfstudio's viewer, or a transforms.json",
    )
    cameras.add_argument(
        "--orbit", action="store_true", help="circle the topmost layer's region, or the scene"
    )
    parser.add_argument(
        "--nerfstudio",
        type=path,
        metavar="CONFIG",
        help="with --cameras: config.yml of the run of nerfstudio in whose viewer, and so in whose "
        "coordinates, they were placed (default: they are in the capture's own)",
    )
    parser.add_argument(
        "--trust",
        action="store_true",
        help="with --nerfstudio: open the run with nerfstudio's own loader, which runs what code it holds",
    )
    parser.add_argument(
        "--out", type=path, required=True, metavar="DIR_OR_MP4", help="folder or video to write"
    )
    what = parser.add_argument_group("what")
    what.add_argument("--before", action="store_true", help="render without layers")
    what.add_argument("--layers", type=whole_numbers, metavar="N,N", help="render with these layers only")
    what.add_argument("--depth", action="store_true", help="write depth pictures as well, to DIR/depth")
    what.add_argument(
        "--accumulation", action="store_true", help="write opacity as well, to DIR/accumulation"
    )
    what.add_argument("--scale", type=number(0.01, 8), metavar="F", help="size of the pictures (default: 1)")
    what.add_argument("--format", choices=("png", "jpg"), default="png", help="of pictures (default: png)")
    what.add_argument(
        "--fps", type=number(MIN_FPS, MAX_FPS), metavar="N", help=f"frames per second (default: {FPS:g})"
    )
    orbit = parser.add_argument_group("orbit")
    orbit.add_argument(
        "--seconds", type=number(0.04, 3600), metavar="S", help=f"length of a turn (default: {SECONDS:g})"
    )
    orbit.add_argument(
        "--radius",
        type=number(above=0),
        metavar="R",
        help="in world units (default: as far as the photographs)",
    )
    orbit.add_argument(
        "--elevation", type=number(-89.9, 89.9), metavar="DEG", help="(default: as high as the photographs)"
    )
    orbit.add_argument(
        "--target", type=numbers(3), metavar="X,Y,Z", help="what to circle, in world coordinates"
    )


def run(args: argparse.Namespace, console: Console) -> tuple[dict[str, Any], str]:
    check_flags(args)

    from nerf_insert.rendering import outputs
    from nerf_insert.scene.scene import Scene

    as_video = is_video(args.out)
    scene = Scene.open(args.scene)
    stack = chosen_stack(scene, args)
    cameras, fps = chosen_cameras(scene, args)
    if args.scale:
        cameras = [(name, camera.scaled(args.scale)) for name, camera in cameras]
    check_sizes(cameras)
    outputs.check_folder(args.out.parent if as_video else args.out)
    console.if_stopped = "what was rendered so far is kept" if not as_video else "no video was written"
    if as_video:
        if len({(camera.width, camera.height) for _, camera in cameras}) > 1:
            console.progress.warn("the pictures differ in size: all are rendered in the size of the first")
        outputs.render_video(stack, cameras, args.out, args.fps or fps, console.progress)
    else:
        if scene.capture_path:
            spare_photographs(scene.capture, args.out, cameras, f".{args.format}")
        unit = outputs.depth_unit(1 / stack.base.scale) if args.depth else None
        folder = outputs.PictureFolder(args.out, unit, args.accumulation, f".{args.format}")
        outputs.render_pictures(stack, cameras, folder, console.progress)
    data = {
        "scene": str(args.scene),
        "out": str(args.out),
        "pictures": len(cameras),
        "layers": len(stack.layers),
    }
    what = f"a video of {len(cameras)} frames" if as_video else f"{len(cameras)} pictures"
    shown = "1 layer" if len(stack.layers) == 1 else f"{len(stack.layers) or 'no'} layers"
    return data, f"{args.out}: {what}, {shown} shown"


def is_video(out: Path) -> bool:
    return out.suffix.lower() == ".mp4"


def check_flags(args: argparse.Namespace) -> None:
    if args.before and args.layers:
        raise InputError("--before shows no layers and --layers some: give one of the two")
    for name in ("seconds", "radius", "elevation", "target"):
        if getattr(args, name) is not None and not args.orbit:
            raise InputError(f"--{name} is for --orbit")
    if args.nerfstudio and not args.cameras:
        raise InputError("--nerfstudio is for --cameras, those of a file")
    if args.trust and not args.nerfstudio:
        raise InputError("--trust is for --nerfstudio")
    if args.out.suffix.lower() in NOT_FOLDERS:
        raise InputError(f"--out {args.out}: videos are written as .mp4, pictures into a folder")
    if is_video(args.out):
        if args.out.is_dir():
            raise InputError(f"--out {args.out} is a folder: choose another name for the video")
        for name in IN_PICTURES:
            if getattr(args, name):
                raise InputError(f"--{name} is written as pictures: give a folder as --out")


def check_sizes(cameras: list[tuple[str, Camera]]) -> None:
    """Raises InputError for pictures that no memory holds."""
    for name, camera in cameras:
        if camera.width * camera.height > LARGEST:
            raise InputError(
                f"the picture of the camera {name} would be {camera.width}x{camera.height} pixels large, "
                f"more than the {LARGEST:,} that can be rendered: give a smaller --scale"
            )


def chosen_stack(scene: Scene, args: argparse.Namespace) -> LayerStack:
    if not args.layers:
        return scene.stack(with_layers=not args.before)
    from nerf_insert.rendering.stack import LayerStack

    chosen = sorted(set(args.layers))
    if chosen[-1] > len(scene.layers):
        raise InputError(f"{args.scene} has no layer {chosen[-1]}: it has {len(scene.layers) or 'none'}")
    return LayerStack(scene.base, tuple(scene.load_layer(scene.layers[k - 1]) for k in chosen))


def chosen_cameras(scene: Scene, args: argparse.Namespace) -> tuple[list[tuple[str, Camera]], float]:
    """(name, camera) pairs, and the frames per second that go with them unless the person says otherwise."""
    if args.split:
        views = scene.capture.part(args.split)
        # by the name of the file, which may have a suffix that the capture's list leaves out
        named = [(view.name.removesuffix(view.path.suffix) + view.path.suffix, view.camera) for view in views]
        return named, FPS
    if args.cameras:
        from nerf_insert.capture.camera_paths import read_cameras

        named, fps = read_cameras(args.cameras), path_fps(args.cameras)
        if args.nerfstudio:
            from nerf_insert.plugin.import_run import cameras_in_world

            named = cameras_in_world(named, scene.capture_as_found, args.nerfstudio, args.trust)
        return named, fps
    return cameras_around(scene, args), args.fps or FPS


def path_fps(path: Path) -> float:
    """The frames per second of a camera path that says how long it is."""
    data = read_json(path) if path.is_file() else {}
    seconds = data.get("seconds")
    frames = len(data.get("camera_path", ()))
    if not frames or not isinstance(seconds, int | float) or not 0 < seconds < float("inf"):
        return FPS
    return min(max(frames / seconds, MIN_FPS), MAX_FPS)


def cameras_around(scene: Scene, args: argparse.Namespace) -> list[tuple[str, Camera]]:
    """Circle the target that was asked for, else the topmost layer's region, else what the views look at."""
    import torch

    from nerf_insert.capture.camera_paths import orbit_cameras

    target = None
    if args.target:
        target = torch.tensor(args.target)
    elif scene.layers:
        target = scene.load_layer(scene.layers[-1]).region.bounds.mean(0)
    cameras = orbit_cameras(
        scene.capture,
        max(1, round((args.seconds or SECONDS) * (args.fps or FPS))),
        target=target,
        radius=args.radius,
        elevation_degrees=args.elevation,
        max_side=ORBIT_SIDE,
    )
    return [(f"{k:05d}", camera) for k, camera in enumerate(cameras)]


def spare_photographs(capture: Capture, out: Path, cameras: list[tuple[str, Camera]], suffix: str) -> None:
    """Raises InputError if a picture would be written over a photograph or a mask of the capture."""
    from nerf_insert.rendering.outputs import file_stems

    kept = {path.resolve() for view in capture.views for path in (view.path, view.mask_path) if path}
    for stem in file_stems(name for name, _ in cameras):
        file = (out / f"{stem}{suffix}").resolve()
        if file in kept:
            raise InputError(
                f"--out {out} would write over {file}, a part of the capture: choose another folder"
            )
