"""Photographs of any camera, made into those of a capture: upright, sRGB, not too large."""

from __future__ import annotations

import hashlib
import io
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from PIL import Image, UnidentifiedImageError

from nerf_insert.errors import InputError, first_few
from nerf_insert.io import decoding
from nerf_insert.io.files import atomic_write
from nerf_insert.reconstruction import exif
from nerf_insert.reconstruction.sources import FEWEST, Source
from nerf_insert.reconstruction.working_size import fit_size, pixel_limit
from nerf_insert.runtime.progress import Progress

QUALITY = 95  # of JPEG
WIDEST = 2.4  # width to height of a photograph of one lens; a wider one was stitched
SMALLEST = 64  # pixels along a side


@dataclass(frozen=True)
class Photograph:
    """One photograph of a capture.

    Attributes:
        name: Its path in the capture, such as "images/IMG_0815.jpg".
        source: What it was made from, such as "IMG_0815.HEIC" or "walk.mp4 at 12.3 s".
        size: (width, height) in pixels.
        lens: Equal for photographs that share their intrinsics.
        group: Equal for photographs that were taken in a row: frames of one video. "" where that is not
            known.
        focal: The focal length in pixels, where the metadata says it.
        gravity: Where down was, where the metadata says it: in the camera's axes, or in the sensor's where it
            is a frame of a video.
        sharpness: Variance of the Laplacian.
        blurred: Whether it is much less sharp than its neighbors.
    """

    name: str
    source: str
    size: tuple[int, int]
    lens: str
    group: str = ""
    focal: float | None = None
    gravity: tuple[float, float, float] | None = None
    sharpness: float = 0.0
    blurred: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Return the photograph as plain data."""
        return asdict(self)

    @staticmethod
    def from_dict(data: dict[str, Any]) -> Photograph:
        """Return the photograph of plain data."""
        return Photograph(
            **data | {"size": tuple(data["size"]), "gravity": data["gravity"] and tuple(data["gravity"])}
        )


def import_photographs(
    source: Source, folder: Path, megapixels: float | None, progress: Progress
) -> list[Photograph]:
    """Write all photographs of a source into a capture's folder.

    Photographs that cannot be used are left out with a warning: damaged ones, panoramas, exact copies.

    Args:
        source: The source.
        folder: The capture's folder.
        megapixels: How large a photograph may be; 0: as it is; None: what the machine can train on.
        progress: Where progress and warnings go.

    Raises:
        InputError: Fewer than FEWEST can be used.
    """
    limit = pixel_limit(len(source.files), megapixels)
    found: list[Photograph] = []
    seen: dict[str, Path] = {}
    left_out: list[str] = []
    largest = (0, 0)
    with progress.task("Reading the photographs", len(source.files)) as task:
        for file in source.files:
            try:
                digest = hashlib.sha256(file.read_bytes()).hexdigest()
                if digest in seen:
                    raise InputError(f"{file.name} is a copy of {seen[digest].name}")
                seen[digest] = file
                taken = {Path(photograph.name).stem for photograph in found}
                photograph, size = import_photograph(file, folder, limit, taken)
                largest = max(largest, size, key=lambda s: s[0] * s[1])
                found.append(photograph)
            except InputError as problem:
                left_out.append(str(problem))
            except OSError as problem:
                left_out.append(f"{file.name} cannot be read: {problem.strerror}")
            task.advance()
    if len(found) < FEWEST:
        raise InputError(
            f"{source.path} has {len(found)} photographs that can be used, at least {FEWEST} are needed"
            + (f" (left out: {'; '.join(left_out[:3])})" if left_out else "")
        )
    if left_out:
        progress.warn(f"{len(left_out)} photographs are left out: {first_few(left_out)}")
    shown = max((photograph.size for photograph in found), key=lambda s: s[0] * s[1])
    if shown != largest:
        progress.say(scaled_note("photographs", largest, shown, megapixels is not None))
    return found


def scaled_note(what: str, before: tuple[int, int], after: tuple[int, int], asked: bool) -> str:
    """Return the sentence that says that pictures were scaled down, and why unless it was asked for."""
    said = f"the {what} are scaled from {before[0]}x{before[1]} to {after[0]}x{after[1]} pixels"
    return (
        said
        if asked
        else said + ", which this machine can train on in good time; --megapixels 0 keeps their size"
    )


def import_photograph(
    file: Path, folder: Path, limit: float, taken: set[str]
) -> tuple[Photograph, tuple[int, int]]:
    """Write one photograph into a capture's folder.

    Returns:
        The photograph, and the upright (width, height) of the file.

    Raises:
        InputError: It cannot be used.
    """
    try:
        with decoding.open_picture(file) as opened:
            metadata, xmp = opened.getexif(), _xmp(opened)
            turned = decoding.upright(opened)
            size = turned.size
            _check(file, size, xmp)
            image = _to_srgb(turned)
    except Image.DecompressionBombError:
        raise InputError(f"{file.name} has more pixels than can be read: make it smaller") from None
    except UnidentifiedImageError:
        raise InputError(
            f"{file.name} is no picture, or not one that can be read: {decoding.NAMES}"
        ) from None
    except decoding.UNREADABLE as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{file.name} cannot be read ({str(reason)[:80]})") from None
    small = fit_size(size, limit)
    if small != size:
        image = image.resize(small, Image.Resampling.LANCZOS, reducing_gap=3.0)
    name = _free_name(file, taken) + (".png" if image.mode == "RGBA" else ".jpg")
    write_picture(folder / "images" / name, image)
    focal = exif.focal_length(metadata, small)
    photograph = Photograph(
        name=f"images/{name}",
        source=file.name,
        size=small,
        lens=exif.lens_key(metadata, size),
        focal=focal,
        gravity=exif.gravity(metadata, xmp),
        sharpness=_sharpness(image),
    )
    return photograph, size


def write_picture(path: Path, image: Image.Image) -> None:
    """Write a photograph of a capture atomically, without metadata: JPEG, or PNG where its name says so."""
    data = io.BytesIO()
    if path.suffix == ".png":
        image.save(data, "PNG")
    else:
        image.save(data, "JPEG", quality=QUALITY, subsampling=0)
    atomic_write(path, data.getvalue())


def _check(file: Path, size: tuple[int, int], xmp: str) -> None:
    if exif.is_panorama(xmp) or max(size) > WIDEST * min(size):
        raise InputError(
            f"{file.name} is a panorama ({size[0]}x{size[1]}), which has no single camera position: "
            "photographs of an "
            "ordinary lens are needed"
        )
    if min(size) < SMALLEST:
        raise InputError(f"{file.name} is too small ({size[0]}x{size[1]})")


def _to_srgb(image: Image.Image) -> Image.Image:
    """Convert to 8-bit sRGB; what is transparent stays so."""
    flat = decoding.eight_bits(decoding.in_srgb(image))
    if flat.mode == "RGBA" and flat.getchannel("A").getextrema()[0] == 255:
        return flat.convert("RGB")
    return flat


def _xmp(image: Image.Image) -> str:
    data = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp") or b""
    return data.decode(errors="replace") if isinstance(data, bytes) else str(data)


def _free_name(file: Path, taken: set[str]) -> str:
    """A name without characters that trouble a shell or a browser, and that no other photograph has."""
    stem = (
        "".join(c if c.isascii() and (c.isalnum() or c in "-_") else "_" for c in file.stem)[:80]
        or "photograph"
    )
    name, number = stem, 1
    while name in taken:
        number += 1
        name = f"{stem}_{number}"
    return name


def _sharpness(image: Image.Image) -> float:
    import numpy as np

    from nerf_insert.reconstruction.motion import sharpness

    return sharpness(np.asarray(image.convert("L")))
