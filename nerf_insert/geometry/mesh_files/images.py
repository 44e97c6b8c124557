"""Decode the images of materials, whatever their mode, to 8-bit RGB or RGBA."""

from __future__ import annotations

import io

import numpy as np
from jaxtyping import UInt8

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TGA", "TIFF", "GIF", "DDS", "PPM")
SUFFIXES = (".tga", ".dds", ".ktx2")  # beside those of photographs; KTX2 is named and not read
MAX_PIXELS = 1 << 27
KTX2_START = b"\xabKTX 2"


class Unreadable(Exception):
    """An image cannot be read; the message says why."""


def decode(data: bytes, max_side: int) -> UInt8[np.ndarray, "h w c"]:
    """Decode an image to sRGB as it is stored, with alpha only where the image has it.

    Args:
        data: The content of an image file.
        max_side: Larger images are scaled down to this many pixels along the longer side.

    Raises:
        Unreadable: The data is no image, or one that is too large.
    """
    from PIL import Image

    if data.startswith(KTX2_START):
        raise Unreadable("it is a KTX2 image: export the mesh with PNG or JPEG textures")
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
        if image.width * image.height > MAX_PIXELS:
            raise Unreadable(f"it has {image.width}x{image.height} pixels, too many")
        image.draft("RGB", (max_side, max_side))  # a large JPEG is decoded at a smaller size
        image.load()
        image = _eight_bits(image)
        has_alpha = image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info
        image = image.convert("RGBA" if has_alpha else "RGB")
        if max(image.size) > max_side:
            image.thumbnail((max_side, max_side))
    except Unreadable:
        raise
    except MemoryError:
        raise
    except Exception as error:  # whatever decoders do with damaged data
        raise Unreadable(" ".join(str(error).split())[:100] or type(error).__name__) from None
    return np.asarray(image)


def _eight_bits(image):
    """Scale images of 16 or 32 bits, which PIL would clip."""
    from PIL import Image

    if image.mode.startswith("I") or image.mode == "F":
        values = np.asarray(image).astype(np.float64)
        largest = 65535 if image.mode.startswith("I") else 1
        return Image.fromarray(np.rint(np.clip(values / largest, 0, 1) * 255).astype(np.uint8))
    return image
