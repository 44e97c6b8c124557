"""Data sets for removal with truth: the same place photographed with a thing and without it.

    spin-nerf   images_N/*.png, images_N/label/*.png (the thing, in the photographs that show it), sparse/0;
                photographs without a label show the place without the thing; images_N/test_label/*.png
                (optional) say where it was. Mirzaei et al., "SPIn-NeRF", CVPR 2023
    360-usid    images/ (with the thing), test_images/ (without it), object_masks/, sparse/0. Wu et al.,
                "AuraFusion360", CVPR 2025

Poses are COLMAP's, of all photographs together. A data set's scene becomes a capture that is trained on the
photographs with the thing and tested on those without it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from nerf_insert.capture.formats import colmap
from nerf_insert.capture.formats.content import photographs_in
from nerf_insert.errors import InputError, first_few
from nerf_insert.io.files import write_json
from nerf_insert.io.images import image_size, read_image, write_image

LENGTHS = ("fl_x", "fl_y", "cx", "cy")  # of a lens, in pixels
HIDDEN_IN = "photographs"  # folder of the capture


@dataclass(frozen=True)
class RemovalData:
    """One scene of a data set. Files are found by their photographs' stems.

    Attributes:
        folder: The scene.
        shown: Photographs with the thing.
        removed: Photographs without it.
        masks: Where the thing is in photographs that show it.
        places: Where it was in photographs without it; may lack any.
    """

    folder: Path
    shown: Mapping[str, Path]
    removed: Mapping[str, Path]
    masks: Mapping[str, Path]
    places: Mapping[str, Path]


def read_data(protocol: str, folder: Path) -> RemovalData:
    """Find the files of a data set's scene.

    Args:
        protocol: A key of PROTOCOLS.
        folder: The scene.

    Raises:
        InputError: The folder has another layout; the message says what is missing.
    """
    if not folder.is_dir():
        raise InputError(f"there is no folder {folder}")
    data = PROTOCOLS[protocol](folder)
    what = {"photographs with the thing": data.shown, "photographs without it": data.removed}
    for name, found in {**what, "masks of it": data.masks}.items():
        if not found:
            raise InputError(f"{folder} has no {name}, as {protocol} has them: {LAYOUTS[protocol]}")
    if colmap.find(folder) is None:
        raise InputError(f"{folder} has no COLMAP reconstruction: {LAYOUTS[protocol]}")
    return data


def _spin_nerf(folder: Path) -> RemovalData:
    labeled = [path.parent for path in folder.glob("images*/label") if path.is_dir()]
    if not labeled:
        raise InputError(f"{folder} has no masks: {LAYOUTS['spin-nerf']}")
    home = min(labeled, key=_factor)
    photographs, masks = _by_stem(home), _by_stem(home / "label")
    shown = {stem: file for stem, file in photographs.items() if stem in masks}
    removed = {stem: file for stem, file in photographs.items() if stem not in masks}
    return RemovalData(folder, shown, removed, masks, _by_stem(home / "test_label"))


def _usid_360(folder: Path) -> RemovalData:
    shown, removed = _by_stem(folder / "images"), _by_stem(folder / "test_images")
    return RemovalData(folder, shown, removed, _by_stem(folder / "object_masks"), {})


LAYOUTS = {
    "spin-nerf": "images_N/ with photographs, images_N/label/ with masks where the thing is shown, sparse/0/",
    "360-usid": "images/ and test_images/ with photographs, object_masks/ with masks, sparse/0/",
}
PROTOCOLS: dict[str, Callable[[Path], RemovalData]] = {"spin-nerf": _spin_nerf, "360-usid": _usid_360}


def _factor(folder: Path) -> int:
    """By how much the photographs of images_N are smaller; the finest that has labels is used."""
    found = re.fullmatch(r"images_(\d+)", folder.name)
    return int(found.group(1)) if found else 1


def _by_stem(folder: Path) -> dict[str, Path]:
    return {path.stem: path for path in photographs_in(folder)}


def write_capture(data: RemovalData, out: Path) -> Path:
    """Write a capture of a data set's scene; photographs are linked, masks become black and white.

    OUT/transforms.json, OUT/photographs/, OUT/masks/, OUT/places/

    Args:
        data: The files.
        out: The capture's folder.

    Returns:
        `out`.

    Raises:
        InputError: A photograph that is needed has no pose, or a file cannot be read.
        RunError: The disk cannot be written.
    """
    model = colmap.find(data.folder)
    assert model is not None, "checked by read_data"
    poses = {Path(frame["file_path"]).stem: frame for frame in colmap.read(model, data.folder).meta["frames"]}
    frames, split = [], {}
    for part, files in (("train", data.shown), ("test", data.removed)):
        posed = {stem: file for stem, file in files.items() if stem in poses}
        if not posed:
            lost = first_few([file.name for file in files.values()])
            raise InputError(f"COLMAP's reconstruction {model} has no poses of the photographs {lost}")
        names = {stem: f"{HIDDEN_IN}/{file.name}" for stem, file in posed.items()}
        for stem, file in posed.items():
            _link(file, out / names[stem])
            frames.append({**_resized(poses[stem], image_size(file)), "file_path": names[stem]})
        split[part] = list(names.values())
    for kind, files in (("masks", data.masks), ("places", data.places)):
        for stem, file in files.items():
            write_image(out / kind / f"{stem}.png", _mask(file))
    names = {"train_filenames": split["train"], "test_filenames": split["test"]}
    write_json(out / "transforms.json", {**names, "val_filenames": split["test"], "frames": frames})
    return out


def _resized(frame: Mapping, size: tuple[int, int]) -> dict:
    """A frame with the lens of a photograph of another size."""
    across, down = size[0] / frame["w"], size[1] / frame["h"]
    scales = {"fl_x": across, "cx": across, "fl_y": down, "cy": down}
    lens = {key: frame[key] * scales[key] for key in LENGTHS if key in frame}
    return {**frame, **lens, "w": size[0], "h": size[1]}


def _mask(file: Path) -> Tensor:
    """A mask whose white may be 1 of 255."""
    gray = read_image(file)[0].amax(-1)
    return gray > 0.5 * gray.max() if float(gray.max()) > 0 else torch.zeros_like(gray, dtype=torch.bool)


def _link(file: Path, to: Path) -> None:
    to.parent.mkdir(parents=True, exist_ok=True)
    if not to.exists():
        to.symlink_to(file.resolve())
