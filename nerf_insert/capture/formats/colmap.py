"""A COLMAP reconstruction beside its photographs, wherever people keep it; nerfstudio's z-up coordinates."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath

import numpy as np

from nerf_insert.capture.formats.colmap_model import camera_to_world, count_images, read_model
from nerf_insert.capture.formats.content import OPENCV_TO_OPENGL, Content, frame
from nerf_insert.capture.photo_files import PhotoFinder, common_tail, folders_below, split_name
from nerf_insert.capture.reading import FIRST
from nerf_insert.errors import InputError

USUAL = ("colmap/sparse/0", "sparse/0", "colmap/sparse", "sparse", "colmap")  # nerfstudio's first
ALWAYS_BESIDE = ("images", "input", "rgb", "color", ".")  # where photographs are, beside or above the model
Z_UP = np.array([[1, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, 0], [0, 0, 0, 1.0]])  # COLMAP's y-down to nerfstudio
LISTS = (("train", "train_list.txt"), ("val", "validation_list.txt"), ("test", "test_list.txt"))


def models_in(folder: Path) -> list[Path]:
    """Return the folders of all reconstructions of a capture, those in the usual places first."""

    def is_model(path: Path) -> bool:
        return any((path / f"cameras.{end}").exists() for end in ("bin", "txt"))

    usual = [folder / name for name in USUAL if is_model(folder / name)]
    others = [path for path in folders_below(folder) if path not in usual and is_model(path)]
    return usual + [path for path in others if has_images(path) and not belongs_to_another(path, folder)]


def has_images(model: Path) -> bool:
    """Whether a reconstruction has poses."""
    return any((model / f"images.{end}").exists() for end in ("bin", "txt"))


def belongs_to_another(model: Path, folder: Path) -> bool:
    """Whether a reconstruction lies in another capture, below this one."""
    between = [path for path in model.parents if path != folder and path.is_relative_to(folder)]
    return any((path / "transforms.json").exists() for path in between)


def find(folder: Path) -> Path | None:
    """Return the reconstruction with the most photographs, None if there is none."""
    models = models_in(folder)
    return max(models, key=count_images) if models else None  # the first of several equal ones


def read(model: Path, folder: Path, chosen: str | None = None) -> Content:
    """Read a reconstruction.

    Args:
        model: The one that `find` returned.
        folder: The capture.
        chosen: Another one, relative to the capture, or FIRST for the first in the usual places.

    Raises:
        InputError: It cannot be read.
    """
    models = models_in(folder)
    if chosen is not None:
        model = models[0] if chosen == FIRST else folder / chosen
    cameras, images = read_model(model)
    notes = []
    counts = {other: count_images(other) for other in models if other != model}
    smaller = [f"{other.relative_to(folder)} has {count}" for other, count in counts.items() if count]
    if smaller and chosen is None:
        notes.append(
            f"there are {1 + len(smaller)} COLMAP reconstructions: read was {model.relative_to(folder)} with "
            f"{len(images)} photographs; {', '.join(smaller)}"
        )
    home = photographs_home(model, folder, [image.name for image in images])
    prefix = "" if home == folder else home.relative_to(folder).as_posix() + "/"
    frames = []
    for image in images:
        if image.camera not in cameras:
            raise InputError(f"the COLMAP reconstruction {model} has no camera {image.camera} ({image.name})")
        c2w = Z_UP @ camera_to_world(image) @ OPENCV_TO_OPENGL
        frames.append(frame(prefix + image.name, c2w, dict(cameras[image.camera].lens())))
    meta = {"frames": frames}
    for split, file in LISTS:
        if (folder / file).exists():
            lines = (folder / file).read_text().splitlines()
            meta[f"{split}_filenames"] = [prefix + line.strip() for line in lines if line.strip()]
    return Content(meta, folder, model, notes, default_split="interval")


def photographs_home(model: Path, folder: Path, names: list[str]) -> Path:
    """Return the folder that a reconstruction's names of photographs are relative to."""
    if not names or os.path.isabs(names[0]):
        return folder
    levels = [path for path in (model, *model.parents) if path.is_relative_to(folder)]
    for level in levels:
        for name in ALWAYS_BESIDE:
            home = level / name if name != "." else level
            if home.is_dir() and any((home / photograph).is_file() for photograph in names[:50]):
                return home
    found = PhotoFinder(folder, names[:1]).path(names[0])
    if not found.is_file():
        return folder / "images"
    listed = PurePosixPath(split_name(names[0])[0]).parts
    kept = common_tail(found.parent.parts, listed) == len(listed)  # their folders are as listed
    home = found.parents[len(listed)] if kept else folder
    return home if home.is_relative_to(folder) else folder
