"""Frames of a video, upright and in order of time, decoded by FFmpeg's libraries.

Colors are sRGB: the matrix is the one that the video names, else BT.709 from 720 lines on and BT.601 below.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import UInt8

from nerf_insert.errors import InputError

if TYPE_CHECKING:
    from av import VideoFrame

HDR_CURVES = {16: "PQ", 18: "HLG"}  # transfer curves, by their numbers in ITU-T H.273
UNSPECIFIED = 2  # color matrix
BT709, BT601 = 1, 5
HD_LINES = 720
WIDE_GAMUT = 9  # BT.2020 primaries


@dataclass(frozen=True)
class VideoInfo:
    """What the container says.

    Attributes:
        size: (width, height) of the upright picture.
        seconds: The length, 0 where the container does not say.
        fps: Frames per second, on average.
        curve: "PQ" or "HLG" of a high dynamic range video, else "".
        spherical: The container says that this is a 360-degree video.
    """

    size: tuple[int, int]
    seconds: float
    fps: float
    curve: str
    spherical: bool


def video_info(path: Path) -> VideoInfo:
    """Read the header and the first picture of a video.

    Raises:
        InputError: It is no video that can be decoded.
    """
    import av
    import av.error

    _, first = next(iter(decode(path)), (0.0, None))
    if first is None:
        raise InputError(
            f"{path} holds no picture that can be decoded: it is cut off or empty, copy it again"
        )
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        seconds = float(container.duration or 0) / 1e6
        fps = float(stream.average_rate or 0) or 30.0
        metadata = " ".join([*container.metadata.values(), *stream.metadata.values()]).lower()
    width, height = first.width, first.height
    if _quarter_turns(first) % 2:
        width, height = height, width
    kinds = {str(getattr(data, "type", "")).lower() for data in first.side_data}
    spherical = "equirectangular" in metadata or any("spherical" in kind for kind in kinds)
    return VideoInfo((width, height), seconds, fps, HDR_CURVES.get(int(first.color_trc or 0), ""), spherical)


def decode(path: Path) -> Iterator[tuple[float, VideoFrame]]:
    """Decode a video.

    Yields:
        (time in seconds since the first frame, the frame as it is stored). Damaged frames are left out.

    Raises:
        InputError: It is no video that can be decoded.
    """
    import av
    import av.error

    try:
        container = av.open(str(path))
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path} is not a video that can be read ({_reason(error)}): is it complete?"
        ) from None
    with container:
        if not container.streams.video:
            raise InputError(
                f"{path} has no picture, only {', '.join(s.type for s in container.streams) or 'nothing'}"
            )
        stream = container.streams.video[0]
        if stream.codec_context is None:
            raise InputError(f"{path} is in a format for which there is no decoder: export it as H.264")
        stream.thread_type = "AUTO"
        start, index, rate = None, 0, float(stream.average_rate or 30)
        try:
            for packet in container.demux(stream):
                try:
                    frames = packet.decode()
                except av.error.InvalidDataError:  # a damaged stretch: the next key frame is whole again
                    continue
                for frame in frames:
                    time = index / rate if frame.time is None else frame.time
                    start = time if start is None else start
                    index += 1
                    yield time - start, frame
        except av.error.FFmpegError as error:
            if not index:
                raise InputError(f"{path} cannot be decoded ({_reason(error)}): export it as H.264") from None


def upright_gray(frame: VideoFrame, longest: int) -> UInt8[np.ndarray, "h w"]:
    """Return a frame's luma, at most `longest` pixels along a side."""
    scale = min(1.0, longest / max(frame.width, frame.height))
    size = (max(1, round(frame.width * scale)), max(1, round(frame.height * scale)))
    gray = frame.reformat(width=size[0], height=size[1], format="gray", interpolation="AREA").to_ndarray()
    return np.ascontiguousarray(np.rot90(gray, _quarter_turns(frame)))


def upright_rgb(frame: VideoFrame, size: tuple[int, int]) -> UInt8[np.ndarray, "H W 3"]:
    """Return a frame in sRGB, resized to the upright (width, height)."""
    turns = _quarter_turns(frame)
    width, height = size if turns % 2 == 0 else size[::-1]
    matrix = int(frame.colorspace)
    if matrix == UNSPECIFIED:
        matrix = BT709 if frame.height >= HD_LINES else BT601
    rgb = frame.reformat(
        width=width, height=height, format="rgb24", src_colorspace=matrix, interpolation="AREA"
    ).to_ndarray()
    return np.ascontiguousarray(np.rot90(rgb, turns))


def _quarter_turns(frame: VideoFrame) -> int:
    """Counterclockwise quarter turns that bring a stored frame upright."""
    return round(frame.rotation / 90) % 4


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error).split(":")[-1].strip() or type(error).__name__
