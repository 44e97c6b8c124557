"""Reading and writing images and masks.

An image is a float32 tensor [H, W, 3] of sRGB values in 0..1, a mask a bool tensor [H, W]; rows run from the
top. The orientation in a photograph's EXIF data is applied where it is asked for: the intrinsics of a capture
mostly belong to the pixels as they are stored, see `nerf_insert.capture.orientation`.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, UInt8
from PIL import Image, ImageDraw, ImageFont, UnidentifiedImageError
from torch import Tensor

from nerf_insert.errors import InputError, warn
from nerf_insert.io import decoding
from nerf_insert.io.decoding import UNREADABLE
from nerf_insert.io.files import atomic_write

GROUND = 0.5  # sRGB gray behind a reference image's transparency
CROP_MARGIN = 0.04  # of its longer side, left around what is opaque of a reference image


def open_image(path: str | Path) -> Image.Image:
    """Open an image file and read its header, not yet its pixels.

    Raises:
        InputError: The file is missing, unreadable, or in no known format.
    """
    try:
        return decoding.open_picture(path)
    except FileNotFoundError:
        raise InputError(f"there is no image {path}") from None
    except UnidentifiedImageError:
        raise InputError(f"{path} is not an image, or not one that can be read: {decoding.NAMES}") from None
    except UNREADABLE as error:
        raise unreadable(path, error) from None


def unreadable(path: str | Path, error: Exception) -> InputError:
    """Return the error to raise for an image that cannot be decoded."""
    reason = getattr(error, "strerror", None) or error
    return InputError(f"cannot read the image {path}: {reason}; save it again or replace it")


def image_size(path: str | Path) -> tuple[int, int]:
    """Return (width, height) of an image as it is stored, from the header alone.

    Raises:
        InputError: The file is missing, unreadable, or not an image.
    """
    with open_image(path) as image:
        return decoding.stored_size(image)


def exif_orientation(path: str | Path) -> int:
    """Return the EXIF orientation of an image, 1 (as stored) to 8, from the header alone.

    Raises:
        InputError: The file is missing, unreadable, or not an image.
    """
    with open_image(path) as image:
        return decoding.orientation(image)


def may_be_transparent(path: str | Path) -> bool:
    """Tell whether an image has an alpha channel, from the header alone.

    Raises:
        InputError: The file is missing, unreadable, or not an image.
    """
    with open_image(path) as image:
        return image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info


def oriented_size(path: str | Path) -> tuple[int, int]:
    """Return (width, height) of an image that is turned as its EXIF data says.

    Raises:
        InputError: The file is missing, unreadable, or not an image.
    """
    with open_image(path) as image:
        return decoding.upright_size(image)


def orient(array: np.ndarray, orientation: int) -> np.ndarray:
    """Turn an image [H, W, ...] from how it is stored to how an EXIF orientation, 1 to 8, says it is seen."""
    if orientation >= 5:
        array = array.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        array = array[:, ::-1]
    if orientation in (3, 4, 7, 8):
        array = array[::-1]
    return array


def read_array(path: str | Path) -> np.ndarray:
    """Decode an image file, as it is stored, to float32 [H, W, C] in 0..1.

    C is 1 or 3, and one more with transparency.

    Raises:
        InputError: The file is missing, unreadable, or not an image.
    """
    with open_image(path) as image:
        try:
            return decoding.pixels(decoding.as_stored(image))
        except UNREADABLE as error:
            raise unreadable(path, error) from None


def read_image(
    path: str | Path, orientation: int = 1
) -> tuple[Float[Tensor, "H W 3"], Float[Tensor, "H W"] | None]:
    """Read an image of 1, 8 or 16 bits a channel: gray, palette or color.

    Args:
        path: The file.
        orientation: The EXIF orientation to apply; 1: none.

    Returns:
        sRGB in 0..1, not premultiplied, and opacity in 0..1, or None where the image has none.

    Raises:
        InputError: The file is missing, not an image, cut off, or larger than Pillow's limit.
    """
    return _color_and_alpha(orient(read_array(path), orientation))


def _color_and_alpha(
    array: Float32[np.ndarray, "H W C"],
) -> tuple[Float[Tensor, "H W 3"], Float[Tensor, "H W"] | None]:
    channels = array.shape[2]
    color = array[..., :1].repeat(3, axis=2) if channels < 3 else array[..., :3]
    alpha = torch.from_numpy(array[..., -1].copy()) if channels in (2, 4) else None
    return torch.from_numpy(np.ascontiguousarray(color)), alpha


def read_upright(path: str | Path) -> tuple[Float[Tensor, "H W 3"], Float[Tensor, "H W"] | None]:
    """Read a picture as people see it: turned as its EXIF data says, in sRGB whatever profile it carries.

    Returns:
        As `read_image`.

    Raises:
        InputError: As `read_image`.
    """
    with open_image(path) as image:
        try:
            if (count := decoding.frames(image)) > 1:
                warn(f"{path} holds {count} images, an animation or pages: the first is used")
            array = decoding.pixels(decoding.in_srgb(decoding.upright(image)))
        except UNREADABLE as error:
            raise unreadable(path, error) from None
    return _color_and_alpha(array)


def read_reference(path: str | Path) -> Float[Tensor, "H W 3"]:
    """Read a reference image: upright, cropped to what is opaque of it, on neutral gray.

    What a file holds under its transparency is arbitrary, and never seen by a model.

    Raises:
        InputError: As `read_image`, or nothing of the image is opaque.
    """
    color, alpha = read_upright(path)
    if alpha is None or bool((alpha == 1).all()):
        return color
    rows, columns = (alpha > 0.5).any(1).nonzero()[:, 0], (alpha > 0.5).any(0).nonzero()[:, 0]
    if not len(rows):
        raise InputError(
            f"the reference image {path} is transparent all over: cut out the object and keep it"
        )
    spans = [(int(found[0]), int(found[-1]) + 1) for found in (rows, columns)]
    margin = round(CROP_MARGIN * max(end - start for start, end in spans))
    top, left = (
        slice(max(0, start - margin), min(size, end + margin))
        for (start, end), size in zip(spans, alpha.shape, strict=True)
    )
    seen = alpha[top, left, None]
    return color[top, left] * seen + GROUND * (1 - seen)


def read_mask(path: str | Path, size: tuple[int, int]) -> Bool[Tensor, "H W"]:
    """Read a mask that the user drew: true where it is white, or painted on transparency.

    The mask is turned as its own EXIF data says, if it has the photograph's size then. The threshold lies at
    half. Where some of it is transparent, the opacity is the mask, unless what is opaque is black and white:
    then brightness times opacity.

    Args:
        path: The mask.
        size: (width, height) of the photograph that it belongs to.

    Raises:
        InputError: The file is missing or unreadable, has another size, or marks nothing or everything.
    """
    with open_image(path) as image:
        stored, found = decoding.stored_size(image), decoding.upright_size(image)
    if size not in (found, stored):
        raise InputError(
            f"the mask {path} is {found[0]}x{found[1]} pixels but its photograph is {size[0]}x{size[1]}: "
            "draw it on the photograph in its own size"
        )
    color, alpha = read_upright(path) if found == size else read_image(path)
    bright = color @ torch.tensor([0.299, 0.587, 0.114])  # Rec. 601 luma, as Pillow's gray
    bright, picture = _marked(bright, color, alpha)
    if picture:
        warn(f"the mask {path} is a picture that is partly transparent: all that is opaque of it is marked")
    mask = bright > 0.5
    if not mask.any():
        brightest = round(float(bright.max()) * 255)
        raise InputError(
            f"the mask {path} is empty: nothing in it is white (its brightest value is {brightest} of 255); "
            "paint what is to be edited white on black"
        )
    if mask.all():
        raise InputError(f"the mask {path} covers the whole image: leave black what must stay as it is")
    return mask


def _marked(
    bright: Float[Tensor, "H W"], color: Float[Tensor, "H W 3"], alpha: Float[Tensor, "H W"] | None
) -> tuple[Float[Tensor, "H W"], bool]:
    """Return how strongly a mask marks each pixel, and whether it is a picture that is partly transparent.

    That is its brightness times its opacity; where the opacity varies, and what is opaque is not black and
    white but paint of one color or a picture, the opacity.
    """
    if alpha is None:
        return bright, False
    visible = color[alpha > 0.5]
    one_color = not len(visible) or bool((visible.amax(0) - visible.amin(0) < 0.02).all())
    extreme = (visible < 0.1).all(-1) | (visible > 0.9).all(-1)
    if bool(alpha.min() == alpha.max()) or (not one_color and float(extreme.float().mean()) > 0.9):
        return bright * alpha, False
    return alpha, not one_color


def read_kept(path: str | Path) -> Bool[np.ndarray, "H W"]:
    """Read a mask that a capture comes with, as it is stored: false where it is zero.

    Of a palette the indices count, which are labels; of color all channels; and opacity as in `read_mask`.

    Raises:
        InputError: The file is missing, unreadable, or not an image.
    """
    with open_image(path) as image:
        if image.mode in ("P", "PA"):
            try:
                return np.atleast_3d(np.asarray(decoding.as_stored(image)))[..., 0] != 0
            except UNREADABLE as error:
                raise unreadable(path, error) from None
    color, alpha = read_image(path)
    return _marked(color.amax(-1), color, alpha)[0].numpy() != 0


def to_uint8(image: Tensor) -> UInt8[Tensor, "..."]:
    """Convert values in 0..1, or a mask, to 0..255, rounded to the nearest (ties to even).

    Values outside 0..1 are clamped, NaN becomes 0.
    """
    return (image.detach().float().nan_to_num().clamp(0, 1) * 255).round().to(torch.uint8)


def encode_png(image: Tensor) -> bytes:
    """Encode an image [H, W, 3], [H, W, 4] or [H, W] in 0..1, or a mask, as an 8-bit PNG."""
    buffer = io.BytesIO()
    Image.fromarray(to_uint8(image).cpu().numpy()).save(buffer, "PNG")
    return buffer.getvalue()


def write_image(path: str | Path, image: Float[Tensor, "H W *C"] | Bool[Tensor, "H W"]) -> None:
    """Write an 8-bit PNG atomically.

    Args:
        path: The file.
        image: Color [H, W, 3], with opacity [H, W, 4], gray or mask [H, W]; values are clamped to 0..1.

    Raises:
        RunError: The file cannot be written.
    """
    atomic_write(path, encode_png(image))


def resize(image: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize an image [H, W, C] or [H, W] to (width, height): bilinear, low-passed when it shrinks."""
    if (image.shape[1], image.shape[0]) == tuple(size):
        return image
    planes = image.movedim(-1, 0) if image.ndim == 3 else image[None]
    planes = torch.nn.functional.interpolate(
        planes[None].float(), size=(size[1], size[0]), mode="bilinear", align_corners=False, antialias=True
    )[0]
    return planes.movedim(0, -1).contiguous() if image.ndim == 3 else planes[0]


def contact_sheet(
    rows: Sequence[Sequence[tuple[str, Tensor]]], width: int | None = None, gap: int = 6
) -> Float[Tensor, "H W 3"]:
    """Arrange labeled images in rows on white.

    Args:
        rows: Rows of (label, image [h, w, 3] or [h, w]) pairs.
        width: The width that every image is resized to (default: its own).
        gap: Pixels between the images.

    Raises:
        ValueError: There is no image.
    """
    cells = [[(label, _cell(image, width)) for label, image in row] for row in rows]
    if not any(cells):
        raise ValueError("a contact sheet needs at least one image")
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


def _cell(image: Tensor, width: int | None) -> np.ndarray:
    """An image as uint8 [h, w, 3] of the given width."""
    image = image.detach().cpu().float()
    if width is not None:
        image = resize(image, (width, max(1, round(image.shape[0] * width / image.shape[1]))))
    image = image if image.ndim == 3 else image[..., None].expand(-1, -1, 3)
    return to_uint8(image).numpy()
