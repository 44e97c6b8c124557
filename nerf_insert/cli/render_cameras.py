"""The cameras that `render` renders from."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from nerf_insert.io.files import read_json
from nerf_insert.runtime.extras import require
from nerf_insert.scene.renders import DEFAULT_FPS, DEFAULT_SECONDS

if TYPE_CHECKING:
    from nerf_insert.capture.camera_crop import Crop
    from nerf_insert.geometry.cameras import Camera
    from nerf_insert.scene.scene import Scene

MIN_FPS, MAX_FPS = 0.1, 240.0


def choose_cameras(
    scene: Scene, args: argparse.Namespace
) -> tuple[list[tuple[str, Camera]], float, Crop | None]:
    """Make the cameras that the flags of `render` ask for.

    Returns:
        (name, camera) pairs in world coordinates, the frames per second for a video of them, and what the
        camera path shows alone, if it has a crop.

    Raises:
        InputError: The file of --cameras or the run of --nerfstudio cannot be used.
    """
    if args.split:
        views = scene.capture.part(args.split)
        # named as the file, whose suffix the capture's file_path may leave out
        named = [(view.name.removesuffix(view.path.suffix) + view.path.suffix, view.camera) for view in views]
        return named, DEFAULT_FPS, None
    if args.cameras:
        named, crop = _cameras_of_file(scene, args)
        return named, path_fps(args.cameras), crop
    return _orbit(scene, args), args.fps or DEFAULT_FPS, None


def _cameras_of_file(scene: Scene, args: argparse.Namespace) -> tuple[list[tuple[str, Camera]], Crop | None]:
    """Read the cameras of a file, in world coordinates, and what they show alone."""
    from nerf_insert.capture.camera_crop import read_crop
    from nerf_insert.capture.camera_paths import read_cameras

    if not args.nerfstudio:
        origin = scene.origin
        return read_cameras(args.cameras, origin=origin), read_crop(args.cameras, origin=origin)
    named, crop = read_cameras(args.cameras), read_crop(args.cameras)
    require("nerfstudio", "nerfstudio")
    from nerf_insert.plugin.coordinates import cameras_in_world, model_to_world

    back = model_to_world(scene.capture_as_found, args.nerfstudio, args.trust)
    return cameras_in_world(named, back), crop and crop.moved(back)


def path_fps(path: Path) -> float:
    """Return the frames per second of a camera path that gives its duration; else the default."""
    data = read_json(path) if path.is_file() else {}
    seconds = data.get("seconds")
    frames = len(data.get("camera_path", ()))
    if not frames or not isinstance(seconds, int | float) or not 0 < seconds < float("inf"):
        return DEFAULT_FPS
    return min(max(frames / seconds, MIN_FPS), MAX_FPS)


def _orbit(scene: Scene, args: argparse.Namespace) -> list[tuple[str, Camera]]:
    """Circle --target, else the topmost layer's region, else what the photographs look at."""
    from nerf_insert.scene.renders import orbit_cameras

    frames = max(1, round((args.seconds or DEFAULT_SECONDS) * (args.fps or DEFAULT_FPS)))
    cameras = orbit_cameras(scene, frames, target=args.target, radius=args.radius, elevation=args.elevation)
    return [(f"{k:05d}", camera) for k, camera in enumerate(cameras)]
