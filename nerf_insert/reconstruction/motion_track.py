"""Where down was while a video was filmed, from the motion track in its container.

Read are GoPro's GPMF (GRAV, else ACCL; big-endian key-length-values) and Google's CAMM (acceleration;
little-endian). Axes are those of the sensor, which devices order in different ways: `up_direction` finds
them.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

GPMF_NESTED = ("DEVC", "STRM")
GPMF_TYPES = {"s": ">i2", "l": ">i4", "f": ">f4", "b": ">i1", "S": ">u2", "L": ">u4", "d": ">f8"}
GPMF_KEYS = ("GRAV", "ACCL")  # the better one first
CAMM_ACCELERATION = struct.Struct("<HHfff")  # reserved, type, m/s^2
CAMM_ACCELERATION_TYPE = 3
AROUND = 0.25  # seconds that are averaged, for a hand shakes
LONGEST_PACKET = 5.0  # seconds
STILL = 0.5  # shortest mean, of the values' median length: less is a camera that is thrown about


@dataclass(frozen=True, eq=False)
class MotionTrack:
    """What a sensor measured: gravity, or acceleration, which is gravity on average.

    Attributes:
        times: Seconds since the first frame, ascending.
        values: In the sensor's axes and unit.
    """

    times: Float[np.ndarray, " T"]
    values: Float[np.ndarray, "T 3"]

    def gravity(self, time: float) -> tuple[float, float, float] | None:
        """Return the unit mean around a time; None where nothing was measured, or nothing steady."""
        near = self.values[np.abs(self.times - time) < AROUND]
        if not len(near):
            return None
        mean, usual = near.mean(0), float(np.median(np.linalg.norm(near, axis=1)))
        length = float(np.linalg.norm(mean))
        if not length > STILL * usual > 0:
            return None
        x, y, z = (mean / length).tolist()
        return x, y, z


def read_motion_track(path: Path) -> MotionTrack | None:
    """Return the motion track of a video; None if it has none that is known.

    Args:
        path: A video that can be opened.
    """
    import av
    import av.error

    found: dict[str, list[tuple[float, np.ndarray]]] = {}
    with suppress(av.error.FFmpegError, OSError, ValueError), av.open(str(path)) as container:
        streams = [stream for stream in container.streams if stream.type == "data"]
        video = container.streams.video[0]
        start = float((video.start_time or 0) * video.time_base) if video.time_base else 0.0
        for packet in container.demux(streams) if streams else ():
            if not packet.size or packet.pts is None or packet.time_base is None:
                continue
            began = float(packet.pts * packet.time_base) - start
            seconds = min(float((packet.duration or 0) * packet.time_base), LONGEST_PACKET)
            for key, values in _samples(bytes(packet)):
                times = began + seconds * (np.arange(len(values)) + 0.5) / len(values)
                found.setdefault(key, []).extend(zip(times.tolist(), values, strict=True))
    for key in (*GPMF_KEYS, "CAMM"):
        rows = sorted(found.get(key, []), key=lambda row: row[0])
        if rows:
            return MotionTrack(np.array([row[0] for row in rows]), np.stack([row[1] for row in rows]))
    return None


def _samples(data: bytes) -> Iterator[tuple[str, Float[np.ndarray, "n 3"]]]:
    """The values in one packet, of either kind; nothing where it is of another."""
    if data[:4] == b"DEVC":
        with suppress(struct.error, ValueError, IndexError):
            yield from _gpmf(data)
    elif len(data) == CAMM_ACCELERATION.size:
        reserved, kind, *values = CAMM_ACCELERATION.unpack(data)
        if reserved == 0 and kind == CAMM_ACCELERATION_TYPE and np.isfinite(values).all():
            yield "CAMM", np.array([values])


def _gpmf(data: bytes) -> Iterator[tuple[str, Float[np.ndarray, "n 3"]]]:
    at, scale = 0, 1.0
    while at + 8 <= len(data):
        key = data[at : at + 4].decode("latin-1")
        kind, size, count = struct.unpack_from(">cBH", data, at + 4)
        content = data[at + 8 : at + 8 + size * count]
        at += 8 + -(-size * count // 4) * 4
        numbers = GPMF_TYPES.get(kind.decode("latin-1"))
        if key in GPMF_NESTED:
            yield from _gpmf(content)
        elif key == "SCAL" and numbers:
            scale = float(np.frombuffer(content, numbers)[0]) or 1.0
        elif key in GPMF_KEYS and numbers and size == 3 * np.dtype(numbers).itemsize:
            values = np.frombuffer(content, numbers).reshape(-1, 3).astype(float) / scale
            if len(values) and np.isfinite(values).all():
                yield key, values
