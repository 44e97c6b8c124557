"""Reading a capture in whatever format it comes, in the capture's own coordinates.

transforms.json and the formats of `nerf_insert.capture.formats` are read here; others by nerfstudio's own
dataparsers, which are told not to orient, center or scale. `applied_transform`, which the poses of a
transforms.json already include, is not applied again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from nerf_insert.capture import transforms_json
from nerf_insert.capture.axes import reorient
from nerf_insert.capture.formats import (
    colmap,
    llff,
    meshroom,
    metashape,
    odm,
    polycam,
    reality_capture,
    record3d,
)
from nerf_insert.capture.formats.content import Content, folders_of_photographs
from nerf_insert.capture.photo_files import SMALLER_COPY, folders_below, natural_key
from nerf_insert.capture.placement import choose_origin
from nerf_insert.capture.reading import Reading
from nerf_insert.capture.view import View
from nerf_insert.errors import InputError, first_few
from nerf_insert.geometry.cameras import Camera

if TYPE_CHECKING:
    from nerfstudio.data.dataparsers.base_dataparser import DataParserConfig

LAYOUTS = (
    "a transforms.json (nerfstudio, instant-ngp), a transforms_train.json (Blender), a COLMAP "
    "reconstruction, LLFF's poses_bounds.npy, or an export of Polycam, Record3D, Metashape (XML), "
    "RealityCapture (CSV), Meshroom (.sfm) or OpenDroneMap (reconstruction.json)"
)
IN_WORLD = {"orientation_method": "none", "center_method": "none", "auto_scale_poses": False}
NO_POINTS = {"load_3D_points": False}  # reading them imports open3d, which needs system libraries
# nerfstudio's dataparsers that read JSON, text, COLMAP's files and images, none of which can hold code.
HARMLESS = (
    *("nerfstudio", "blender", "colmap", "instant-ngp", "dnerf", "dycheck", "phototourism", "nerfosr"),
    *("arkit", "scannet", "scannetpp", "sdfstudio", "sitcoms3d"),
)
UNPICKLES = "minimal-parser"
Find = Callable[[Path], "Path | None"]
# formats beside transforms.json, by name: what tells them, and their readers
FORMATS: dict[str, tuple[Find, Callable[[Path, Path, Reading], Content]]] = {
    "colmap": (colmap.find, lambda file, folder, reading: colmap.read(file, folder, reading.model)),
    "llff": (llff.find, lambda file, folder, _: llff.read(file, folder)),
    "polycam": (polycam.find, lambda file, folder, _: polycam.read(file, folder)),
    "record3d": (record3d.find, lambda file, folder, _: record3d.read(file, folder)),
    "meshroom": (meshroom.find, lambda file, folder, _: meshroom.read(file, folder)),
    "odm": (odm.find, lambda file, folder, _: odm.read(file, folder)),
    "metashape": (metashape.find, lambda file, folder, _: metashape.read(file, folder)),
    "realitycapture": (reality_capture.find, lambda file, folder, _: reality_capture.read(file, folder)),
}
TRANSFORMS = ("transforms.json", "transforms_train.json")
TELLING = (*TRANSFORMS, "poses_bounds.npy", "sparse", "colmap")  # in a capture
COLMAP_FILES = ("cameras.bin", "cameras.txt")
DATA_SUFFIXES = (".json", ".bin", ".txt", ".npy", ".xml", ".csv", ".sfm")  # of all formats' own files


@dataclass
class ParsedCapture:
    """The views that were found, before images and cameras are compared."""

    views: list[View]
    splits: dict[str, set[str]] = field(default_factory=dict)  # "train", "val", "test": names of views
    missing: list[str] = field(default_factory=list)  # listed photographs that do not exist
    default_split: str = "fraction"  # the dataparser's own eval_mode
    origin: tuple[float, float, float] = (0.0, 0.0, 0.0)  # of the views' coordinates, in the capture's
    notes: list[str] = field(default_factory=list)  # for people: what was mended
    up: tuple[float, float, float] | None = None  # as the files say


def read(path: Path, name: str | None = None, reading: Reading | None = None) -> ParsedCapture:
    """Read the views of a capture.

    Args:
        path: The capture's folder or file.
        name: The name of a format here or of a dataparser of nerfstudio (default: the one that fits).
        reading: How what the files leave open is taken.

    Raises:
        InputError: The message names the file and the frame at fault.
    """
    kind = (name or guess(path)).removesuffix("-data")
    reading = reading or Reading()
    upright = reading.pixels == "upright"
    if kind in ("nerfstudio", "instant-ngp"):
        file = path / "transforms.json" if path.is_dir() else path
        return place(transforms_json.read_transforms(file, upright), reading)
    if kind == "blender":
        return place(transforms_json.read_blender(path, upright), reading)
    if kind in FORMATS:
        find, translate = FORMATS[kind]
        file = find(path)
        if file is None:
            what = (
                "COLMAP reconstruction: cameras.bin or cameras.txt" if kind == "colmap" else f"{kind} export"
            )
            raise InputError(f"{path} has no {what}")
        content = translate(file, path, reading)
        listing = transforms_json.list_frames(content.meta, content.folder, content.source, upright)
        listing = replace(listing, notes=content.notes + listing.notes)
        return place(listing, reading, content.default_split)
    return read_other(path, name or kind)


def is_ours(path: Path, name: str | None) -> bool:
    """Whether a capture is read here, and not by another dataparser, which knows no `Reading`."""
    kind = (name or guess(path)).removesuffix("-data")
    return kind in ("nerfstudio", "instant-ngp", "blender", *FORMATS)


def guess(path: Path) -> str:
    """Return the name of the format of what lies at `path`.

    Raises:
        InputError: None fits; the message lists what can be read.
    """
    if path.is_file():
        if path.suffix == ".json" or path.name == "transforms.json":
            return "nerfstudio"
        raise InputError(f"{path} is not a capture: give its folder or its transforms.json")
    kind = kind_of(path)
    if kind is None:
        raise InputError(
            f"{path} is not a capture that can be read: it needs {LAYOUTS}, beside its images. From "
            "photographs or a video without camera positions `nerf-insert capture` makes one"
        )
    return kind


def kind_of(folder: Path) -> str | None:
    """Return the name of the format of a folder, None if it is no capture."""
    if (folder / "transforms.json").exists():
        return "nerfstudio"
    if (folder / "transforms_train.json").exists():
        return "blender"
    return next((kind for kind, (find, _) in FORMATS.items() if find(folder)), None)


def capture_folder(path: Path) -> tuple[Path, str | None]:
    """Return the capture that a path means: itself, the one that it is a part of, or the only one in it.

    Returns:
        The folder or file, and for people why it is another one.

    Raises:
        InputError: There are several captures below it.
    """
    if not path.is_dir():
        return path, None
    kind = kind_of(path)
    own = any((path / name).exists() for name in TRANSFORMS)
    if not own and (not kind or not folders_of_photographs(path)):
        for parent in path.resolve().parents[:3]:
            if is_part(path, parent):
                return parent, f"{path} is a part of the capture {parent}, which was read"
    told = any((path / name).exists() for name in (*TELLING, *COLMAP_FILES))
    if kind and told:
        return path, None
    found = captures_below(path)
    if kind:  # by files below, which may be those of captures of their own
        found = [folder for folder in found if folders_of_photographs(folder)]
    if len(found) > 1:
        names = first_few([str(folder.relative_to(path)) for folder in found])
        raise InputError(f"{path} holds several captures: give one of {names}")
    return (found[0], f"the capture is in {found[0]}") if found and not kind else (path, None)


def is_part(folder: Path, capture: Path) -> bool:
    """Whether a folder belongs to a capture above it: it holds photographs of it, or only poses."""
    told = any((capture / name).exists() for name in (*TELLING, *COLMAP_FILES))
    if not folders_of_photographs(folder):
        return told and kind_of(folder) is not None and kind_of(capture) is not None
    others = [
        find(capture) for kind, (find, _) in FORMATS.items() if kind != "colmap"
    ]  # which looks everywhere
    if not (told or any(others)) or kind_of(capture) is None:
        return False
    own = told or any(file is not None and file.parent == capture for file in others)
    try:
        views = read(capture).views
    except InputError:
        return own and folder.parent == capture  # whoever reads the capture will say what is wrong with it
    if any(view.path.is_relative_to(folder.resolve()) for view in views):
        return True
    return own and folder.parent == capture and SMALLER_COPY.match(folder.name) is not None


def captures_below(path: Path) -> list[Path]:
    """Return the captures below a folder that is none, not those that lie in another one."""
    holding = folders_below(path)
    inside = {p for f in holding for p in (f, *f.parents) if p != path and p.is_relative_to(path)}
    found: list[Path] = []
    for folder in sorted(inside, key=lambda folder: (len(folder.parts), folder)):
        if not any(other in folder.parents for other in found) and kind_of(folder):
            found.append(folder)
    return found


def place(
    listing: transforms_json.Listing, reading: Reading, default_split: str = "fraction"
) -> ParsedCapture:
    """Make views of a listing, in coordinates that float32 can hold.

    Raises:
        InputError: None of its photographs exists.
    """
    if not listing.frames:
        raise InputError(
            f"none of the {len(listing.missing)} photographs that {listing.source} lists exists, such as "
            f"{listing.missing[0]}: is this the right folder, were the images copied with it?"
        )
    frames = reassigned(listing.frames, reading.order)
    poses = reorient(np.stack([frame.c2w for frame in frames]), reading.axes)
    x, y, z = choose_origin(poses[:, :3, 3]) if reading.origin is None else reading.origin
    origin = (float(x), float(y), float(z))
    poses[:, :3, 3] -= origin
    views = [
        View(frame.name, frame.path, camera_of(frame, pose, reading.lens_scale), frame.mask)
        for frame, pose in zip(frames, poses, strict=True)
    ]
    return ParsedCapture(
        views, listing.splits, listing.missing, default_split, origin, listing.notes, listing.up
    )


def reassigned(frames: list[transforms_json.Frame], order: str | None) -> list[transforms_json.Frame]:
    """Return the frames with poses and lenses given to the photographs in another order of their names."""
    if order is None:
        return frames
    by_text = sorted(frames, key=lambda frame: frame.path.name)
    by_number = sorted(frames, key=lambda frame: natural_key(frame.path))
    takers, givers = (by_number, by_text) if order == "natural" else (by_text, by_number)
    return [
        replace(giver, name=taker.name, path=taker.path, mask=taker.mask)
        for taker, giver in zip(takers, givers, strict=True)
    ]


def camera_of(frame: transforms_json.Frame, c2w: np.ndarray, lens_scale: float | None) -> Camera:
    """Return a frame's camera; numbers are rounded to float32, as nerfstudio has them."""
    lens = {key: float(np.float32(value)) for key, value in frame.intrinsics.items()}
    camera = Camera(
        c2w=torch.from_numpy(c2w[:3]).float(),
        fx=lens["fl_x"],
        fy=lens["fl_y"],
        cx=lens["cx"],
        cy=lens["cy"],
        width=int(lens["w"]),
        height=int(lens["h"]),
        distortion=tuple(float(np.float32(value)) for value in frame.distortion),
        model="FISHEYE" if frame.camera_model in transforms_json.FISHEYE else "PERSPECTIVE",
    )
    return camera if lens_scale is None else camera.refocused(float(lens_scale))


def read_other(path: Path, name: str) -> ParsedCapture:
    """Read views with any other dataparser of nerfstudio or of an installed plugin.

    Raises:
        InputError: There is no dataparser of that name, or it fails.
    """
    config = other_dataparser(name)
    config.data = path
    for key, value in (IN_WORLD | NO_POINTS).items():
        if hasattr(config, key):
            setattr(config, key, value)
    views: dict[str, View] = {}
    splits: dict[str, set[str]] = {}
    try:
        with quiet():
            parser = config.setup()
            for split in ("train", "test"):
                outputs = parser.get_dataparser_outputs(split=split)
                masks = outputs.mask_filenames or [None] * len(outputs.image_filenames)
                for index, (file, mask) in enumerate(zip(outputs.image_filenames, masks, strict=True)):
                    file = Path(file)
                    label = file.relative_to(path).as_posix() if file.is_relative_to(path) else str(file)
                    views[label] = View(label, file, Camera.of(outputs.cameras, index), mask and Path(mask))
                    splits.setdefault(split, set()).add(label)
    except (Exception, SystemExit) as error:
        raise InputError(f"nerfstudio's dataparser {name} cannot read {path}: {error!r}") from error
    return ParsedCapture(list(views.values()), splits)


def other_dataparser(name: str) -> DataParserConfig:
    """Return a copy of the configuration of a dataparser.

    Raises:
        InputError: There is none of that name, or it can run code that a capture holds.
    """
    from copy import deepcopy

    from nerfstudio.configs.dataparser_configs import all_dataparsers

    known = {key.removesuffix("-data"): value for key, value in all_dataparsers.items()} | all_dataparsers
    if name not in known:
        raise InputError(f"there is no dataparser {name}; there are {', '.join(sorted(all_dataparsers))}")
    if name == UNPICKLES:  # with every opening of the scene, whoever made the capture
        raise InputError(
            f"the dataparser {name} runs whatever code a capture's .npz files hold: it is refused, and "
            "nothing was run. Write the capture as a transforms.json"
        )
    return deepcopy(known[name])


@contextmanager
def quiet() -> Iterator[None]:
    """Silence nerfstudio's console; a question there, which nobody would see, raises EOFError."""
    from nerfstudio.utils.rich_utils import CONSOLE

    def ask(*_: object, **__: object) -> str:
        raise EOFError("it has a question (COLMAP's: whether to make smaller copies): let ns-train ask it")

    before, CONSOLE.quiet = CONSOLE.quiet, True
    CONSOLE.input = ask  # type: ignore[method-assign]
    try:
        yield
    finally:
        CONSOLE.quiet = before
        del CONSOLE.input
