"""The frames of videos that become the photographs of a capture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from nerf_insert.errors import InputError, first_few
from nerf_insert.reconstruction.frame_choice import Choice, check_motion, choose_frames, share_frames
from nerf_insert.reconstruction.motion import Motion, measure_motion
from nerf_insert.reconstruction.motion_track import read_motion_track
from nerf_insert.reconstruction.photographs import Photograph, scaled_note, write_picture
from nerf_insert.reconstruction.sources import Source
from nerf_insert.reconstruction.video_reader import VideoInfo, decode, upright_gray, upright_rgb, video_info
from nerf_insert.reconstruction.working_size import fit_size, pixel_limit
from nerf_insert.runtime.progress import Progress

SHARPNESS_SIDE = 1280  # pixels of the longest side of the copies whose sharpness is measured
PANORAMA = 2.0  # width to height of an equirectangular picture
SEAM = 6.0  # difference, of 255, between its left and right edges
LONGEST = 30 * 60  # seconds


def measure_video(file: Path, progress: Progress) -> tuple[VideoInfo, Motion]:
    """Look through a video.

    Raises:
        InputError: It cannot be decoded, is a panorama, or shows nothing that can be reconstructed.
    """
    info = video_info(file)
    if info.seconds > LONGEST:
        raise InputError(
            f"{file} is {info.seconds / 60:.0f} minutes long: cut out one scene, of a few minutes at most"
        )
    _check_panorama(file, info)
    with progress.task(f"Looking through {file.name}", info.seconds or 1) as task:
        frames = (
            (time, lambda frame=frame: upright_gray(frame, SHARPNESS_SIDE)) for time, frame in decode(file)
        )
        motion = measure_motion(frames, lambda time: task.update(time))
        task.update(task.total)
    check_motion(motion, file)
    if info.curve:
        progress.warn(
            f"{file.name} is a high dynamic range video ({info.curve}): its colors will look flat. Film "
            "with HDR off"
        )
    return info, motion


def import_frames(
    source: Source,
    measured: list[tuple[VideoInfo, Motion]],
    folder: Path,
    count: int | None,
    megapixels: float | None,
    progress: Progress,
) -> list[Photograph]:
    """Choose frames and write them into a capture's folder.

    Args:
        source: The videos.
        measured: What `measure_video` found in each.
        folder: The capture's folder.
        count: How many frames (default: what the motion needs).
        megapixels: How large a frame may be; 0: as it is; None: what the machine can train on.
        progress: Where progress and warnings go.
    """
    shares = share_frames([motion for _, motion in measured], count)
    choices = [choose_frames(motion, share) for (_, motion), share in zip(measured, shares, strict=True)]
    limit = pixel_limit(sum(len(choice.indices) for choice in choices), megapixels)
    found: list[Photograph] = []
    with progress.task("Taking frames", sum(len(choice.indices) for choice in choices)) as task:
        for number, (file, (info, motion), choice) in enumerate(
            zip(source.files, measured, choices, strict=True)
        ):
            size = fit_size(info.size, limit)
            if size != info.size:
                progress.say(scaled_note("frames", info.size, size, megapixels is not None))
            track = read_motion_track(file)
            times = [motion.times[index] for index in choice.indices]
            wanted = dict(zip(times, choice.indices, strict=True))
            prefix = f"{chr(ord('a') + number % 26)}_" if len(measured) > 1 else ""
            for time, frame in decode(file):
                index = wanted.pop(round(time, 4), None)
                if index is None:
                    continue
                name = f"images/{prefix}{int(time * 100):06d}.jpg"
                write_picture(folder / name, Image.fromarray(upright_rgb(frame, size)))
                found.append(
                    Photograph(
                        name=name,
                        source=f"{file.name} at {clock(time)}",
                        size=size,
                        lens=f"video {number}",
                        group=f"video {number}",
                        gravity=track.gravity(time) if track else None,
                        sharpness=motion.sharpness[index],
                        blurred=index in choice.blurred,
                    )
                )
                task.advance()
                if not wanted:
                    break
            _warn_of_exposure(file, motion, choice, progress)
    return found


def clock(seconds: float) -> str:
    """Format a time in a video: 0:07.3, 12:45.0."""
    return f"{int(seconds // 60)}:{seconds % 60:04.1f}"


def _warn_of_exposure(file: Path, motion: Motion, choice: Choice, progress: Progress) -> None:
    if choice.jumps:
        places = [clock(motion.times[index]) for index in choice.jumps]
        progress.warn(
            f"the exposure of {file.name} jumps {len(places)} times, at {first_few(places)}: lock it when "
            "you film, "
            "or colors will differ from frame to frame"
        )


def _check_panorama(file: Path, info: VideoInfo) -> None:
    width, height = info.size
    seamless = False
    if abs(width / height - PANORAMA) < 0.01:
        _, frame = next(iter(decode(file)))
        gray = upright_gray(frame, width).astype(float)
        left, right = gray[:, 0], gray[:, -1]
        seamless = bool(np.abs(left - right).mean() < SEAM < min(left.std(), right.std()))
    if info.spherical or seamless:
        raise InputError(
            f"{file} is a 360-degree video: export an ordinary (flat) view from it with the camera's program"
        )
