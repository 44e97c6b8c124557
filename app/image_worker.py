"""Looks at pictures that strangers brought, in a process with bounded memory (bounded.py bounds its time).

Reads requests from stdin, one line of JSON each, and answers each with one: what it made or {"error":
sentence}. It ends when stdin does.

    {"check": file}                                  is all of this a picture? {}
    {"convert": file, "to": file, "side": pixels}    write it again as PNG, no larger than that: {}
    {"photograph": file, "size": [w, h], "background": [r, g, b]}    in that size: {"jpeg": base64}
    {"mask": base64, "size": [w, h]}                 white where a PNG is opaque: {"png": base64}
"""

from __future__ import annotations

import base64
import io
import json
import resource
import sys
from pathlib import Path

from PIL import Image

MEMORY = 2 << 30  # bytes of address space
MAX_PIXELS = 100_000_000
KINDS = ("PNG", "JPEG", "WEBP", "BMP")  # that are taken from strangers
LARGEST_MASK = 8192  # pixels along a side
QUALITY = 88


def main() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    for line in sys.stdin:
        try:
            said = answer(json.loads(line))
        except Refused as refused:
            said = {"error": str(refused)}
        print(json.dumps(said), flush=True)


class Refused(Exception):
    """A picture that cannot be used."""


def answer(request: dict) -> dict:
    if "mask" in request:
        return {"png": text(mask(request["mask"], tuple(request["size"])), "PNG")}
    file = request.get("check") or request.get("convert") or request["photograph"]
    try:
        if "check" in request:
            opened(file).load()
        elif "convert" in request:
            picture = opened(file)
            picture.thumbnail((request["side"], request["side"]))
            picture.convert("RGBA" if see_through(picture) else "RGB").save(request["to"], "PNG")
        else:
            size, background = tuple(request["size"]), request["background"]
            return {"jpeg": text(photograph(opened(file, None), size, background), "JPEG")}
    except (OSError, ValueError, SyntaxError, EOFError, MemoryError) as error:
        reason = str(error) or "it takes too much memory"
        raise Refused(f"{Path(file).name} cannot be read: {reason}; save it again") from None
    return {}


def opened(file: str, kinds: tuple[str, ...] | None = KINDS) -> Image.Image:
    name = Path(file).name
    try:
        picture = Image.open(file, formats=kinds)
    except Image.DecompressionBombError:
        raise Refused(f"{name} has too many pixels: save it smaller") from None
    except (OSError, ValueError, SyntaxError):
        raise Refused(f"{name} is not a picture, or it is damaged: save it again as PNG or JPEG") from None
    if picture.width * picture.height > MAX_PIXELS:
        raise Refused(f"{name} is {picture.width}x{picture.height} pixels large: save it smaller")
    return picture


def photograph(picture: Image.Image, size: tuple[int, int], background: list[float]) -> Image.Image:
    """As `View.photograph` shows it."""
    picture.draft("RGB", size)
    if picture.mode.startswith("I"):  # sixteen bits
        picture = picture.convert("I").point(lambda value: value * (1 / 257)).convert("L")
    if see_through(picture):
        behind = Image.new("RGBA", picture.size, tuple(round(255 * value) for value in background))
        picture = Image.alpha_composite(behind, picture.convert("RGBA"))
    return picture.convert("RGB").resize(size, Image.Resampling.BILINEAR)


def mask(data: str, size: tuple[int, int]) -> Image.Image:
    try:
        picture = Image.open(io.BytesIO(base64.b64decode(data, validate=True)), formats=("PNG",))
        if max(picture.size) > LARGEST_MASK:
            raise Refused("what was painted is larger than any photograph: paint again")
        alpha = picture.convert("RGBA").getchannel("A").resize(size, Image.Resampling.BILINEAR)
    except (OSError, ValueError, SyntaxError, EOFError, MemoryError, Image.DecompressionBombError):
        raise Refused("what was painted did not arrive whole: paint again") from None
    made = alpha.point(lambda value: 255 if value > 127 else 0)
    if made.getbbox() is None:
        raise Refused("nothing is painted")
    return made


def see_through(picture: Image.Image) -> bool:
    return "A" in picture.getbands() or "transparency" in picture.info


def text(picture: Image.Image, kind: str) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **({"quality": QUALITY} if kind == "JPEG" else {}))
    return base64.b64encode(buffer.getvalue()).decode()


if __name__ == "__main__":
    main()
