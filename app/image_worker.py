"""Decodes uploaded images in a process with bounded memory; image_sandbox.py bounds its time.

It reads requests from stdin, one JSON object per line, and answers each with one: the result or
{"error": sentence}. It ends when stdin does.

    {"check": file}                                  decode all of it: {}
    {"convert": file, "to": file, "side": pixels}    write it as a PNG no larger than that, upright and in
                                                     sRGB: {"frames": number of pictures in the file}
    {"photograph": file, "size": [w, h], "background": [r, g, b], "turned": whether EXIF data is applied}
                                                     resize it: {"jpeg": base64}
    {"mask": base64, "size": [w, h]}                 white where a PNG is opaque: {"png": base64}
"""

from __future__ import annotations

import base64
import io
import json
import resource
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from nerf_insert.io.decoding import (
    NAMES,
    UNREADABLE,
    as_stored,
    eight_bits,
    frames,
    in_srgb,
    open_picture,
    upright,
)

MAX_MEMORY = 2 << 30  # bytes of address space
MAX_PIXELS = 100_000_000
MAX_MASK_SIDE = 8192  # pixels
JPEG_QUALITY = 88


class Refused(Exception):
    """An image that cannot be used; the message is for people."""


def main() -> None:
    """Answer requests until stdin ends."""
    resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY, MAX_MEMORY))
    for line in sys.stdin:
        try:
            reply = answer(json.loads(line))
        except Refused as refused:
            reply = {"error": str(refused)}
        print(json.dumps(reply), flush=True)


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """Carry out one request.

    Raises:
        Refused: The image cannot be used.
    """
    if "mask" in request:
        return {"png": encode(mask(request["mask"], tuple(request["size"])), "PNG")}
    file = request.get("check") or request.get("convert") or request["photograph"]
    try:
        if "check" in request:
            open_image(file).load()
        elif "convert" in request:
            image = open_image(file)
            count = frames(image)
            image.thumbnail((request["side"], request["side"]))
            image = eight_bits(in_srgb(upright(image)))
            image.info.clear()  # a PNG would keep its profile and its EXIF data, which are applied
            image.save(request["to"], "PNG")
            return {"frames": count}
        else:
            size, background = tuple(request["size"]), request["background"]
            image = open_image(file)
            image.draft("RGB", (max(size), max(size)))
            image = upright(image) if request.get("turned") else as_stored(image)
            return {"jpeg": encode(photograph(image, size, background), "JPEG")}
    except (*UNREADABLE, MemoryError) as error:
        reason = str(error) or "it takes too much memory"
        raise Refused(f"{Path(file).name} cannot be read: {reason}; save it again") from None
    return {}


def open_image(file: str) -> Image.Image:
    """Open an image without decoding it.

    Raises:
        Refused: It is not an image of one of the formats that can be read, or is too large.
    """
    name = Path(file).name
    try:
        image = open_picture(file)
    except Image.DecompressionBombError:
        raise Refused(f"{name} has too many pixels: save it smaller") from None
    except UNREADABLE:
        raise Refused(f"{name} is not an image ({NAMES}), or it is damaged: save it again") from None
    if image.width * image.height > MAX_PIXELS:
        raise Refused(f"{name} is too large ({image.width}x{image.height} pixels): save it smaller")
    return image


def photograph(image: Image.Image, size: tuple[int, int], background: Sequence[float]) -> Image.Image:
    """Return an image as `View.photograph` does: 8-bit RGB on its background, of this (width, height)."""
    image = eight_bits(image)
    if image.mode == "RGBA":
        behind = Image.new("RGBA", image.size, tuple(round(255 * value) for value in background))
        image = Image.alpha_composite(behind, image)
    return image.convert("RGB").resize(size, Image.Resampling.BILINEAR)


def mask(data: str, size: tuple[int, int]) -> Image.Image:
    """Return a mask that is white where a PNG (in base64) is opaque, of this (width, height).

    Raises:
        Refused: It is not a PNG, is too large or empty.
    """
    try:
        image = Image.open(io.BytesIO(base64.b64decode(data, validate=True)), formats=("PNG",))
        if max(image.size) > MAX_MASK_SIDE:
            raise Refused("the mask is larger than any photograph: paint again")
        alpha = image.convert("RGBA").getchannel("A").resize(size, Image.Resampling.BILINEAR)
    except (OSError, ValueError, SyntaxError, EOFError, MemoryError, Image.DecompressionBombError):
        raise Refused("the mask did not arrive complete: paint again") from None
    binary = alpha.point([255 if value > 127 else 0 for value in range(256)])
    if binary.getbbox() is None:
        raise Refused("the mask is empty: paint over the object")
    return binary


def encode(image: Image.Image, kind: str) -> str:
    """Encode an image as base64 of this format (PNG or JPEG)."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **({"quality": JPEG_QUALITY} if kind == "JPEG" else {}))
    return base64.b64encode(buffer.getvalue()).decode()


if __name__ == "__main__":
    main()
