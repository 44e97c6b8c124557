"""Masks that lie beside the photographs under other programs' names.

COLMAP: masks/IMAGE.jpg.png, zero is ignored. instant-ngp: dynamic_mask_IMAGE.png beside the photograph, what
is not zero is ignored. Masks of COLMAP's naming are used where every photograph has one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Bool
from torch import Tensor

from nerf_insert.capture.view import View
from nerf_insert.io.decoding import SUFFIXES

MASKS_READ = 8  # to see how much they leave out
FOLDERS = ("masks", "mask")
NGP_PREFIX = "dynamic_mask_"


def with_masks_beside(views: Sequence[View], root: Path) -> tuple[list[View], list[str]]:
    """Give views without a mask those that come along.

    Args:
        views: The views.
        root: The capture's folder.

    Returns:
        The views, and for people what was used and what was not.
    """
    if any(view.mask_path for view in views):
        return list(views), []
    inverse = {view.name: mask for view in views if (mask := instant_ngp_mask(view)) is not None}
    if inverse:
        masked = [
            replace(view, mask_path=inverse[view.name], mask_marks_ignored=True)
            if view.name in inverse
            else view
            for view in views
        ]
        return masked, [f"instant-ngp's masks of {len(inverse)} photographs are used: white is ignored"]
    for folder in (root / name for name in FOLDERS):
        named = {view.name: mask for view in views if (mask := colmap_mask(view, folder)) is not None}
        if len(named) == len(views):
            masked = [replace(view, mask_path=named[view.name]) for view in views]
            return masked, [f"the masks in {folder.name}/ are used: black is ignored"]
    return list(views), unused_masks(views, root)


def unused_masks(views: Sequence[View], root: Path) -> list[str]:
    """Say which files of most photographs look like masks, but have names that are not read."""
    notes = []
    for place, folders in (
        *((f"in {name}/", [root / name] * len(views)) for name in FOLDERS),
        ("beside the photographs", [view.path.parent for view in views]),
    ):
        names = {folder: _image_stems(folder) for folder in set(folders)}
        own = []
        for view, folder in zip(views, folders, strict=True):
            beside = folder == view.path.parent
            stems = _mask_stems(view.path, beside)
            own.append(
                any(s in names[folder] for s in stems) or (not beside and bool(colmap_mask(view, folder)))
            )
        if sum(own) > len(own) / 2:
            notes.append(
                f"the masks {place}, of {sum(own)} of {len(own)} photographs, are not used: name them in "
                "mask_path of a transforms.json, or as COLMAP does (masks/IMAGE.jpg.png, for all photographs)"
            )
    return notes


def _image_stems(folder: Path) -> set[str]:
    """The names of images in a folder, in lower case and without their last suffix."""
    files = (path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES) if folder.is_dir() else ()
    return {path.stem.lower() for path in files}


def _mask_stems(photograph: Path, beside: bool) -> list[str]:
    """The names, as `_image_stems` has them, that programs give to a photograph's mask."""
    stem, name = photograph.stem.lower(), photograph.name.lower()
    marked = [f"{stem}_mask", f"{stem}-mask", f"{stem}.mask", f"{name}.mask", f"mask_{stem}"]
    return marked if beside else [stem, name, *marked]


def share_note(views: Sequence[View]) -> str | None:
    """Say how much masks leave out, where it is most of the photographs; None where it is not.

    A few masks are read. Polarity cannot be told from a file: masks that are the other way round look like
    those of one object.
    """
    masked = [view for view in views if view.mask_path is not None]
    if not masked:
        return None
    some = masked[:: -(-len(masked) // MASKS_READ)]
    left_out = float(np.mean([float((~_valid(view)).float().mean()) for view in some]))
    if left_out <= 0.5:
        return None
    what = "white" if some[0].mask_marks_ignored else "black"
    return (
        f"the masks leave out {left_out:.0%} of the photographs' pixels, those that are {what}: if that is "
        "what was to be kept, invert them"
    )


def _valid(view: View) -> Bool[Tensor, "H W"]:
    valid = view.valid()
    assert valid is not None
    return valid


def instant_ngp_mask(view: View) -> Path | None:
    """Return the mask beside a photograph that instant-ngp would use."""
    path = view.path.with_name(f"{NGP_PREFIX}{view.path.stem}.png")
    return path if path.is_file() else None


def colmap_mask(view: View, folder: Path) -> Path | None:
    """Return the mask of a photograph that COLMAP would use: of its path below the folder of photographs."""
    parts = [part for part in view.name.replace("\\", "/").split("/") if part not in ("", ".", "..")]
    for first in range(len(parts)):
        path = folder.joinpath(*parts[first:-1], f"{parts[-1]}.png")
        if path.is_file():
            return path
    return None
