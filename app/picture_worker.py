"""Looks at pictures that strangers uploaded, in a process with bounded memory and time.

Reads one request as JSON from stdin, answers with one line of JSON: {} or {"error": sentence}.

    {"check": [file, ...]}                          are these pictures?
    {"convert": file, "to": file, "side": pixels}   write it again as PNG, no larger than that
"""

from __future__ import annotations

import json
import resource
import sys
from pathlib import Path

from PIL import Image

MEMORY, SECONDS = 2 << 30, 50  # bytes of address space, seconds of CPU
MAX_PIXELS = 100_000_000
KINDS = ("PNG", "JPEG", "WEBP", "BMP")


def main() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    request = json.loads(sys.stdin.read())
    try:
        answer(request)
        print(json.dumps({}))
    except Refused as refused:
        print(json.dumps({"error": str(refused)}))


class Refused(Exception):
    """A picture that cannot be used."""


def answer(request: dict) -> None:
    if "check" in request:
        for file in request["check"]:
            opened(file).close()
        return
    picture = opened(request["convert"])
    try:
        picture.thumbnail((request["side"], request["side"]))
        picture.convert(
            "RGBA" if "A" in picture.getbands() or "transparency" in picture.info else "RGB"
        ).save(request["to"], "PNG")
    except (OSError, ValueError, SyntaxError, MemoryError) as error:
        raise Refused(f"{Path(request['convert']).name} cannot be read: {error}; save it again") from None


def opened(file: str) -> Image.Image:
    name = Path(file).name
    try:
        picture = Image.open(file, formats=KINDS)
    except Image.DecompressionBombError:
        raise Refused(f"{name} has too many pixels: save it smaller") from None
    except (OSError, ValueError, SyntaxError):
        raise Refused(f"{name} is not a picture, or it is damaged: save it again as PNG or JPEG") from None
    if picture.width * picture.height > MAX_PIXELS:
        raise Refused(f"{name} is {picture.width}x{picture.height} pixels large: save it smaller")
    return picture


if __name__ == "__main__":
    main()
