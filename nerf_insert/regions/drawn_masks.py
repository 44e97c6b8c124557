"""Masks that a person drew on photographs, and the visual hull that they make."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from nerf_insert.capture.capture import Capture, View
from nerf_insert.errors import InputError
from nerf_insert.geometry.cameras import Camera
from nerf_insert.io.images import image_size, orient, read_mask
from nerf_insert.regions.visual_hull import VisualHull

INVERSE = {5: 5, 6: 8, 7: 7, 8: 6}  # the EXIF orientation that undoes another


def hull_of_masks(
    masks: Mapping[str, str | Path], capture: Capture, within: Float[Tensor, "2 3"] | None = None
) -> VisualHull:
    """Return the visual hull of mask files, in world coordinates.

    Args:
        masks: The mask's file for each photograph, by the photograph's name in the capture.
        capture: Provides the photographs' cameras, and where its trained base ends if it has one.
        within: A box that bounds what the hull is used for, lowest and highest corner.

    Raises:
        InputError: The capture has no such photograph, a photograph has two masks, a file cannot be used,
            or the masks have no point in common (see `VisualHull`).
    """
    views = {}
    for name, file in masks.items():
        view = capture.view(name)
        if view.name in views:
            raise InputError(f"there are two masks for {view.name}: give one per photograph")
        views[view.name] = drawn_mask(view, file)
    return VisualHull(list(views.values()), names=list(views), within=within, reach=capture.reach)


def drawn_mask(view: View, file: str | Path) -> tuple[Camera, Bool[Tensor, "H W"]]:
    """Read the mask that was drawn on a view's photograph.

    Returns:
        The view's camera in the mask's size, and the mask. That is the size of the view or, where the
        capture is used scaled down, of the photograph itself, so that no detail of the mask is lost. A mask
        may also be painted on the photograph as it is seen upright, or as it is stored.

    Raises:
        InputError: The mask has another size, or is no image (see `read_mask`).
    """
    size = image_size(file)
    back = INVERSE[view.stored_orientation] if view.stored_orientation >= 5 else view.orientation
    if back >= 5 and size != view.full_size and size in (view.size[::-1], view.full_size[::-1]):
        mask = torch.from_numpy(orient(read_mask(file, size).numpy(), back).copy())
    else:
        mask = read_mask(file, size if size == view.size else view.full_size)
    camera = view.camera
    return camera if mask.shape == view.size[::-1] else camera.resized(*view.full_size), mask
