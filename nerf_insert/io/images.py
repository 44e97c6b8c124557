"""Pictures that people bring and pictures that are written for them.

A picture is a float32 tensor [H, W, 3] of sRGB values in 0..1, a mask a bool tensor [H, W]; rows run
from the top. The orientation stored in a photograph's EXIF data is not applied, as in nerfstudio:
the intrinsics of a capture belong to the pixels as they are stored.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from PIL import Image, ImageDraw, ImageFont, UnidentifiedImageError
from torch import Tensor

from nerf_insert.errors import InputError
from nerf_insert.io.files import atomic_write

UNREADABLE = (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError)


def open_picture(path: str | Path) -> Image.Image:
    """The picture's header, not yet its pixels. Raises InputError naming the file."""
    try:
        return Image.open(path)
    except FileNotFoundError:
        raise InputError(f"there is no picture {path}") from None
    except UnidentifiedImageError:
        raise InputError(f"{path} is not a picture in a known format (PNG, JPEG, ...)") from None
    except UNREADABLE as error:
        raise unreadable(path, error) from None


def unreadable(path: str | Path, error: Exception) -> InputError:
    reason = getattr(error, "strerror", None) or error
    return InputError(f"cannot read the picture {path}: {reason}; save it again or replace it")


def image_size(path: str | Path) -> tuple[int, int]:
    """(width, height) from the header alone. Raises InputError."""
    with open_picture(path) as picture:
        return picture.size


def read_array(path: str | Path) -> np.ndarray:
    """Decoded pixels, float32 [H, W, C] in 0..1: C is 1 or 3 for color, one more with transparency."""
    with open_picture(path) as picture:
        try:
            if picture.mode in ("P", "PA") or "transparency" in picture.info:
                opaque = picture.mode != "PA" and "transparency" not in picture.info
                picture = picture.convert("RGB" if opaque else "RGBA")
            elif picture.mode in ("CMYK", "YCbCr", "LAB", "HSV", "RGBX"):
                picture = picture.convert("RGB")
            elif picture.mode in ("1", "La", "RGBa"):
                picture = picture.convert({"1": "L", "La": "LA", "RGBa": "RGBA"}[picture.mode])
            array = np.asarray(picture)
        except UNREADABLE as error:
            raise unreadable(path, error) from None
    array = array if array.ndim == 3 else array[..., None]
    if array.dtype == np.uint8:
        return array.astype(np.float32) / 255
    if array.dtype.kind == "f":
        return np.nan_to_num(array.astype(np.float32)).clip(0, 1)
    return (array.astype(np.float64) / 65535).clip(0, 1).astype(np.float32)  # 16 bits, kept in 16 or 32


def read_image(path: str | Path) -> tuple[Float[Tensor, "H W 3"], Float[Tensor, "H W"] | None]:
    """(sRGB in 0..1, opacity in 0..1 or None when the picture has none), colors not premultiplied.

    Reads 1, 8 and 16 bits a channel, gray, palette and color. Raises InputError naming the file when
    it is missing, not a picture, cut off or larger than Pillow's limit.
    """
    array = read_array(path)
    channels = array.shape[2]
    color = array[..., :1].repeat(3, axis=2) if channels < 3 else array[..., :3]
    alpha = torch.from_numpy(array[..., -1].copy()) if channels in (2, 4) else None
    return torch.from_numpy(np.ascontiguousarray(color)), alpha


def read_mask(path: str | Path, size: tuple[int, int]) -> Bool[Tensor, "H W"]:
    """The marked pixels of a mask that a person drew: white, or whatever was painted on transparency.

    `size` is (width, height) of the photograph that it belongs to. The threshold lies at half. Where
    everything visible has one color and the rest is transparent, the opacity is the mask; otherwise
    brightness times opacity. Raises InputError when the file is missing or unreadable, has another
    size, or marks nothing or everything.
    """
    found = image_size(path)
    if found != size:
        raise InputError(
            f"the mask {path} is {found[0]}x{found[1]} pixels but its photograph is {size[0]}x{size[1]}: "
            "draw it on the photograph in its own size"
        )
    color, alpha = read_image(path)
    bright = color @ torch.tensor([0.299, 0.587, 0.114])  # Rec. 601 luma, as Pillow's gray
    if alpha is not None and alpha.min() < alpha.max():
        visible = color[alpha > 0.5]
        one_color = visible.numel() > 0 and bool((visible.amax(0) - visible.amin(0) < 0.02).all())
        bright = alpha if one_color else bright * alpha
    elif alpha is not None:
        bright = bright * alpha
    mask = bright > 0.5
    if not mask.any():
        brightest = round(float(bright.max()) * 255)
        raise InputError(
            f"the mask {path} is empty: nothing in it is white (its brightest value is {brightest} of 255); "
            "paint what is to be edited white on black"
        )
    if mask.all():
        raise InputError(f"the mask {path} covers the whole picture: leave black what must stay as it is")
    return mask


def to_uint8(image: Tensor) -> UInt8[Tensor, "..."]:
    """Convert values in 0..1, or a mask, to 0..255, rounded to the nearest (ties to even).

    Values outside 0..1 are clamped, NaN becomes 0.
    """
    return (image.detach().float().nan_to_num().clamp(0, 1) * 255).round().to(torch.uint8)


def encode_png(picture: Tensor) -> bytes:
    """The bytes of an 8-bit PNG of a picture [H, W, 3], [H, W, 4] or [H, W] in 0..1, or a mask."""
    buffer = io.BytesIO()
    Image.fromarray(to_uint8(picture).cpu().numpy()).save(buffer, "PNG")
    return buffer.getvalue()


def write_image(path: str | Path, picture: Float[Tensor, "H W *C"] | Bool[Tensor, "H W"]) -> None:
    """Write an 8-bit PNG: color [H, W, 3], with opacity [H, W, 4], gray or mask [H, W]; at once or not
    at all. Values outside 0..1 are clamped. Raises RunError when it cannot be written."""
    atomic_write(path, encode_png(picture))


def resize(picture: Tensor, size: tuple[int, int]) -> Tensor:
    """A picture [H, W, C] or [H, W] at `size` = (width, height): bilinear, low-passed when it shrinks."""
    if (picture.shape[1], picture.shape[0]) == tuple(size):
        return picture
    planes = picture.movedim(-1, 0) if picture.ndim == 3 else picture[None]
    planes = torch.nn.functional.interpolate(
        planes[None].float(), size=(size[1], size[0]), mode="bilinear", align_corners=False, antialias=True
    )[0]
    return planes.movedim(0, -1).contiguous() if picture.ndim == 3 else planes[0]


def contact_sheet(
    rows: Sequence[Sequence[tuple[str, Tensor]]], width: int | None = None, gap: int = 6
) -> Float[Tensor, "H W 3"]:
    """Pictures in rows, each with its label above it, on white.

    `rows` holds (label, picture [h, w, 3] or [h, w]) pairs. With `width` every picture is resized to it.
    """
    cells = [[(label, _cell(picture, width)) for label, picture in row] for row in rows]
    if not any(cells):
        raise ValueError("a contact sheet needs at least one picture")
    columns = max(len(row) for row in cells)
    widths = [max((row[k][1].shape[1] for row in cells if k < len(row)), default=0) for k in range(columns)]
    text = max(11, min(widths) // 16)
    font = ImageFont.load_default(size=text)
    heights = [max((cell.shape[0] for _, cell in row), default=0) + text + gap for row in cells]
    sheet = Image.new(
        "RGB", (sum(widths) + gap * (columns + 1), sum(heights) + gap * (len(cells) + 1)), "white"
    )
    draw = ImageDraw.Draw(sheet)
    top = gap
    for row, height in zip(cells, heights, strict=True):
        left = gap
        for (label, cell), column in zip(row, widths, strict=False):
            while label and draw.textlength(label, font=font) > column:
                label = label[:-1]
            draw.text((left, top), label, fill="black", font=font)
            sheet.paste(Image.fromarray(cell), (left, top + text + gap))
            left += column + gap
        top += height + gap
    return torch.from_numpy(np.asarray(sheet).astype(np.float32) / 255)


def _cell(picture: Tensor, width: int | None) -> np.ndarray:
    picture = picture.detach().cpu().float()
    if width is not None:
        picture = resize(picture, (width, max(1, round(picture.shape[0] * width / picture.shape[1]))))
    picture = picture if picture.ndim == 3 else picture[..., None].expand(-1, -1, 3)
    return to_uint8(picture).numpy()
