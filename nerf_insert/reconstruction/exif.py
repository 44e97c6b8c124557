"""What a photograph's metadata says that helps: its lens, its focal length, and where down was.

Gravity is a unit vector in the axes of the upright photograph's camera: OpenGL's, +x right, +y up, looking
along -z.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from PIL import Image
from PIL.ExifTags import IFD, Base

ORIENTATIONS = {  # EXIF value -> matrix from (right, up) of the stored picture to those of the upright one
    1: ((1, 0), (0, 1)),
    3: ((-1, 0), (0, -1)),
    6: ((0, 1), (-1, 0)),
    8: ((0, -1), (1, 0)),
}
APPLE, APPLE_ACCELERATION = b"Apple iOS\0", 0x0008
SIGNED_RATIONAL = 10
FULL_FRAME = 36.0  # millimeters, the width for which "35 mm equivalent" focal lengths are given
PANORAMAS = ("equirectangular", "cylindrical")


def lens_key(exif: Image.Exif, size: tuple[int, int]) -> str:
    """Return a text that is equal for photographs of the same camera, lens, zoom and upright size."""
    details = exif.get_ifd(IFD.Exif)
    parts = [
        exif.get(Base.Make),
        exif.get(Base.Model),
        details.get(Base.LensModel),
        details.get(Base.FocalLength),
    ]
    parts += [
        details.get(Base.FocalLengthIn35mmFilm),
        details.get(Base.DigitalZoomRatio),
        f"{size[0]}x{size[1]}",
    ]
    return " ".join(str(part).strip(" \0") for part in parts if part)


def focal_length(exif: Image.Exif, size: tuple[int, int]) -> float | None:
    """Return the focal length in pixels of the size, from its 35 mm equivalent; None if that is not known."""
    value = exif.get_ifd(IFD.Exif).get(Base.FocalLengthIn35mmFilm)
    with suppress(TypeError, ValueError, ZeroDivisionError):
        equivalent = float(value)  # type: ignore[arg-type]
        if 5 <= equivalent <= 600:
            diagonal = math.hypot(FULL_FRAME, 24.0)  # the standard's equivalence is that of the diagonals
            return equivalent / diagonal * math.hypot(*size)
    return None


def gravity(exif: Image.Exif, xmp: str) -> tuple[float, float, float] | None:
    """Return where down was, from Apple's accelerometer or a drone's gimbal; None if neither is there."""
    turn = ORIENTATIONS.get(int(exif.get(Base.Orientation) or 1))
    with suppress(KeyError, TypeError, ValueError, struct.error, ZeroDivisionError, IndexError):
        maker = exif.get_ifd(IFD.Exif).get(Base.MakerNote)
        if isinstance(maker, bytes) and maker.startswith(APPLE) and turn is not None:
            x, y, z = _apple_acceleration(maker)
            # Of the phone held upright: x to its right, y to its top, z out of its face. The
            # picture of its back camera is stored as if its top were turned to the left.
            right, up, back = -y, x, z
            (a, b), (c, d) = turn
            return _unit((a * right + b * up, c * right + d * up, back))
    return _gimbal(xmp)


def is_panorama(xmp: str) -> bool:
    """Return whether the metadata says that this is a panorama."""
    found = re.search(r"ProjectionType\W+(\w+)", xmp)
    return found is not None and found[1].lower() in PANORAMAS


def _apple_acceleration(maker: bytes) -> tuple[float, float, float]:
    """The value of AccelerationVector, in units of g."""
    order = ">" if maker[12:14] == b"MM" else "<"
    (count,) = struct.unpack_from(order + "H", maker, 14)
    for k in range(count):
        tag, kind, number, offset = struct.unpack_from(order + "HHII", maker, 16 + 12 * k)
        if tag == APPLE_ACCELERATION and kind == SIGNED_RATIONAL and number == 3:
            values = struct.unpack_from(order + "6i", maker, offset)
            return (values[0] / values[1], values[2] / values[3], values[4] / values[5])
    raise KeyError("AccelerationVector")


def _gimbal(xmp: str) -> tuple[float, float, float] | None:
    """Down from DJI's gimbal angles: pitch is negative when the camera looks down."""
    angles: Mapping[str, Any] = {
        name: match[1]
        for name in ("Pitch", "Roll")
        if (match := re.search(rf"Gimbal{name}Degree[^-+0-9]+([-+]?\d+(?:\.\d+)?)", xmp))
    }
    if len(angles) < 2:
        return None
    pitch, roll = (math.radians(float(angles[name])) for name in ("Pitch", "Roll"))
    down, back = -math.cos(pitch), math.sin(pitch)
    return _unit((down * math.sin(roll), down * math.cos(roll), back))


def _unit(vector: tuple[float, float, float]) -> tuple[float, float, float] | None:
    length = math.sqrt(sum(value * value for value in vector))
    x, y, z = vector
    return (x / length, y / length, z / length) if 0.5 < length < 2 else None
