"""Which pixels a camera belongs to: those of the file as they are stored, or turned as its EXIF data says.

COLMAP, ARKit and nerfstudio mostly work on stored pixels, Metashape, RealityCapture and ffmpeg on upright
ones. The size that the intrinsics are for decides where it can; where both fit, the pixels are taken as
stored unless `Reading.pixels` says otherwise, which the check of the poses finds out.
"""

from __future__ import annotations

from dataclasses import replace

from nerf_insert.capture.view import View
from nerf_insert.errors import InputError
from nerf_insert.io.images import exif_orientation, image_size


def fit_camera(view: View, pixels: str | None = None) -> View:
    """Bring a view's camera to the size of its image, and find out how the image is turned.

    Args:
        view: The view as it was read.
        pixels: "stored" or "upright" where that is known.

    Raises:
        InputError: The image has another aspect ratio, however it is turned.
    """
    stored, tag = image_size(view.path), exif_orientation(view.path)
    upright = (stored[1], stored[0]) if tag >= 5 else stored
    if (
        tag != 1
        and pixels != "stored"
        and fits(view, upright)
        and (pixels == "upright" or not fits(view, stored))
    ):
        return replace(resized(view, upright), orientation=tag)
    if fits(view, stored):
        return replace(resized(view, stored), stored_orientation=tag)
    camera = view.camera
    turned = (camera.height, camera.width) == stored
    raise InputError(
        f"the photograph {view.path} is {stored[0]}x{stored[1]} pixels but its intrinsics are for "
        f"{camera.width}x{camera.height}: "
        + (
            "it was turned, and has no EXIF orientation that says how; store it as the camera took it"
            if turned
            else "it was cropped or is another one"
        )
    )


def fits(view: View, size: tuple[int, int]) -> bool:
    """Whether an image of this (width, height) can be that of the view's camera: it has its aspect ratio."""
    scale = size[0] / view.camera.width
    return abs(view.camera.height * scale - size[1]) <= 1 + scale / 2  # one pixel of rounding in either image


def resized(view: View, size: tuple[int, int]) -> View:
    """Return the view with a camera of this (width, height)."""
    return view if view.size == size else replace(view, camera=view.camera.resized(*size))


def ambiguous(view: View) -> bool:
    """Whether the size leaves open if the camera belongs to the stored or to the upright pixels."""
    tag = view.orientation if view.orientation != 1 else view.stored_orientation
    if tag == 1:
        return False
    width, height = image_size(view.path)
    return fits(view, (width, height)) and fits(view, (height, width) if tag >= 5 else (width, height))
