"""Decoding picture files of every common kind: PNG, JPEG, WebP, TIFF, BMP, GIF, PPM, JPEG 2000, HEIC, AVIF.

Only these formats are tried, whatever a file's suffix says: Pillow knows others that run programs (EPS) or
take almost any bytes for a picture (TGA). Imports no torch, because the page decodes uploads in a process of
its own with little memory.
"""

from __future__ import annotations

import io
import os
import struct
from functools import lru_cache
from pathlib import Path

import numpy as np
from jaxtyping import Float32
from PIL import Image, ImageCms, ImageOps, TiffImagePlugin, UnidentifiedImageError

FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "DIB", "GIF", "PPM", "JPEG2000", "HEIF", "AVIF")
SUFFIXES = (
    ".png", ".jpg", ".jpeg", ".jpe", ".mpo", ".webp", ".tif", ".tiff", ".bmp", ".dib", ".gif", ".ppm", ".pgm",
    ".pnm", ".jp2", ".heic", ".heif", ".hif", ".avif",
)  # fmt: skip
NAMES = "PNG, JPEG, WebP, TIFF, BMP, GIF, PPM, JPEG 2000, HEIC or AVIF"  # for messages
# What Pillow and its plugins raise on damaged files.
UNREADABLE = (
    OSError, ValueError, SyntaxError, EOFError, LookupError, TypeError, ArithmeticError, RuntimeError,
    AttributeError, struct.error, Image.DecompressionBombError,
)  # fmt: skip
ORIENTATION = 0x0112  # EXIF's tag
# how an upright picture is turned to how it is stored, by EXIF orientation
STORED = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
WITH_PARTS = ("MPO", "HEIF", "AVIF")  # whose further pictures belong to the first: depth, thumbnails, bursts


def open_picture(path: str | Path) -> Image.Image:
    """Open a picture file and read its header, not yet its pixels.

    Raises:
        UnidentifiedImageError: It is in none of `FORMATS`.
        OSError, ValueError, SyntaxError, EOFError: It cannot be read, or is damaged.
    """
    if os.path.exists(path) and not (os.path.isfile(path) or os.path.isdir(path)):
        raise OSError("it is a pipe or a device, not a file")  # reading one may never end
    with open(path, "rb") as file:
        start = file.read(12)
    if not start:
        raise UnidentifiedImageError("the file is empty")
    return Image.open(path, formats=_known_formats(start[4:8] == b"ftyp"))


@lru_cache(maxsize=2)
def _known_formats(heif: bool) -> tuple[str, ...]:
    """The formats that this Pillow can read; HEIC through pillow-heif, which is loaded when it is needed."""
    if heif:
        import pillow_heif

        pillow_heif.register_heif_opener()
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def upright(image: Image.Image) -> Image.Image:
    """Turn a picture as its EXIF data says it is seen."""
    try:
        return ImageOps.exif_transpose(image)
    except UNREADABLE:  # damaged EXIF data says nothing
        return image


def orientation(image: Image.Image) -> int:
    """Return the EXIF orientation, 1 (as stored) to 8, of a picture whose pixels are not read yet."""
    try:
        value = image.getexif().get(ORIENTATION, 1)
    except UNREADABLE:  # damaged EXIF data
        value = 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def as_stored(image: Image.Image) -> Image.Image:
    """Return a picture, whose pixels are not read yet, not turned: Pillow turns TIFFs when it reads them."""
    tag = orientation(image)
    if image.format != "TIFF" or tag == 1:
        return image
    image.load()
    return image.transpose(STORED[tag])


def stored_size(image: Image.Image) -> tuple[int, int]:
    """Return (width, height) of a picture as it is stored, from the header alone."""
    if isinstance(image, TiffImagePlugin.TiffImageFile):  # whose size is the upright one since Pillow 11
        return image.tag_v2[TiffImagePlugin.IMAGEWIDTH], image.tag_v2[TiffImagePlugin.IMAGELENGTH]
    return image.size


def upright_size(image: Image.Image) -> tuple[int, int]:
    """Return (width, height) of a picture that is turned as its EXIF data says, from the header alone."""
    width, height = stored_size(image)
    return (height, width) if orientation(image) >= 5 else (width, height)


def in_srgb(image: Image.Image) -> Image.Image:
    """Convert the colors from the profile that the file carries, such as Display P3 or one for CMYK."""
    profile = image.info.get("icc_profile")
    if not profile or image.mode not in ("RGB", "RGBA", "CMYK", "L"):
        return image
    try:
        made = ImageCms.profileToProfile(
            image if image.mode != "RGBA" else image.convert("RGB"),
            ImageCms.ImageCmsProfile(io.BytesIO(profile)),
            ImageCms.createProfile("sRGB"),
            outputMode="RGB",
        )
    except (ImageCms.PyCMSError, *UNREADABLE):  # a damaged profile, or one for another kind of picture
        return image
    if made is None:
        return image
    if image.mode == "RGBA":
        made.putalpha(image.getchannel("A"))
    return made


def has_alpha(image: Image.Image) -> bool:
    """Return whether a picture can be transparent."""
    return "A" in image.getbands() or "a" in image.getbands() or "transparency" in image.info


def frames(image: Image.Image) -> int:
    """Return how many pictures a file holds that are meant to be seen: an animation's, or pages."""
    return 1 if image.format in WITH_PARTS else int(getattr(image, "n_frames", 1))


def pixels(image: Image.Image) -> Float32[np.ndarray, "H W C"]:
    """Decode a picture to values in 0..1: C is 1 or 3, and one more with transparency, not premultiplied.

    Raises:
        OSError, ValueError, SyntaxError, EOFError: It is damaged.
    """
    if image.mode in ("P", "PA") or "transparency" in image.info:
        opaque = image.mode != "PA" and "transparency" not in image.info
        array = np.asarray(image.convert("RGB" if opaque else "RGBA"))
    elif image.mode in ("CMYK", "YCbCr", "LAB", "HSV", "RGBX"):
        array = np.asarray(image.convert("RGB"))
    elif image.mode in ("1", "La", "RGBa"):
        array = np.asarray(image.convert({"1": "L", "La": "LA", "RGBa": "RGBA"}[image.mode]))
    else:
        array = np.asarray(image)
    array = array if array.ndim == 3 else array[..., None]
    if array.dtype == np.uint8:
        return array.astype(np.float32) / 255
    if array.dtype.kind == "f":
        return np.nan_to_num(array.astype(np.float32)).clip(0, 1)
    return (array.astype(np.float64) / 65535).clip(0, 1).astype(np.float32)  # 16 bits, kept in 16 or 32


def eight_bits(image: Image.Image) -> Image.Image:
    """Convert a picture of any mode to RGB, or to RGBA where it can be transparent, of 8 bits a channel."""
    if image.mode.startswith(("I", "F")):
        gray = (pixels(image)[..., 0] * 255).round().astype(np.uint8)
        return Image.fromarray(gray).convert("RGB")
    return image.convert("RGBA" if has_alpha(image) else "RGB")
