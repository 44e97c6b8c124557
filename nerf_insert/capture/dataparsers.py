"""Reading a capture through nerfstudio's own dataparsers, in the capture's own coordinates.

nerfstudio is told not to orient, center or scale, and `applied_transform`, which the poses of a
transforms.json already include, is not applied again.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from nerf_insert.capture import transforms_json
from nerf_insert.capture.view import View
from nerf_insert.errors import InputError
from nerf_insert.geometry.cameras import Camera
from nerf_insert.io.files import write_json

if TYPE_CHECKING:
    from nerfstudio.data.dataparsers.base_dataparser import DataParserConfig

LAYOUTS = "a transforms.json (nerfstudio, instant-ngp), a transforms_train.json (Blender), colmap/ or sparse/"
SPARSE = ("colmap/sparse/0", "sparse/0", "colmap/sparse", "sparse", "colmap")
IN_WORLD = {"orientation_method": "none", "center_method": "none", "auto_scale_poses": False}
NO_POINTS = {"load_3D_points": False}  # reading them imports open3d, which needs system libraries
# nerfstudio's dataparsers that read JSON, text, COLMAP's files and images, none of which can hold code.
HARMLESS = (
    *("nerfstudio", "blender", "colmap", "instant-ngp", "dnerf", "dycheck", "phototourism", "nerfosr"),
    *("arkit", "scannet", "scannetpp", "sdfstudio", "sitcoms3d"),
)
UNPICKLES = "minimal-parser"


@dataclass
class ParsedCapture:
    """The views that a dataparser found, before images and cameras are compared."""

    views: list[View]
    splits: dict[str, set[str]] = field(default_factory=dict)  # "train", "val", "test": names of views
    missing: list[str] = field(default_factory=list)  # listed photographs that do not exist
    default_split: str = "fraction"  # the dataparser's own eval_mode


def read(path: Path, name: str | None = None) -> ParsedCapture:
    """Read the views of a capture.

    Args:
        path: The capture's folder or file.
        name: The name of a dataparser (default: the one that fits).

    Raises:
        InputError: The message names the file and the frame at fault.
    """
    kind = (name or guess(path)).removesuffix("-data")
    if kind in ("nerfstudio", "instant-ngp"):
        return read_views(
            transforms_json.read_transforms(path / "transforms.json" if path.is_dir() else path)
        )
    if kind == "blender":
        return read_views(transforms_json.read_blender(path))
    if kind == "colmap":
        return read_views(read_colmap(path), default_split="interval")
    return read_other(path, name or kind)


def guess(path: Path) -> str:
    """Return the name of the dataparser for what lies at `path`.

    Raises:
        InputError: None fits; the message lists what can be read.
    """
    if path.is_file():
        if path.suffix == ".json":
            return "nerfstudio"
        raise InputError(f"{path} is not a capture: give its folder or its transforms.json")
    if (path / "transforms.json").exists():
        return "nerfstudio"
    if (path / "transforms_train.json").exists():
        return "blender"
    if sparse_model(path):
        return "colmap"
    raise InputError(f"{path} is not a capture that can be read: it needs {LAYOUTS}, beside its images")


def sparse_model(path: Path) -> Path | None:
    """Return the folder of a capture's COLMAP reconstruction, None if it has none."""
    folders = [path / name for name in SPARSE]
    return next((f for f in folders if any((f / f"cameras.{end}").exists() for end in ("bin", "txt"))), None)


def read_views(listing: transforms_json.Listing, default_split: str = "fraction") -> ParsedCapture:
    """Read the views of a cleaned listing, through nerfstudio's dataparser.

    Raises:
        InputError: None of its photographs exists.
    """
    from nerfstudio.data.dataparsers.nerfstudio_dataparser import NerfstudioDataParserConfig

    if not listing.frames:
        raise InputError(
            f"none of the {len(listing.missing)} photographs that {listing.source} lists exists, such as "
            f"{listing.missing[0]}: is this the right folder, were the images copied with it?"
        )
    with tempfile.TemporaryDirectory() as folder:
        cleaned = Path(folder) / "transforms.json"
        write_json(cleaned, listing.to_dict())
        config = NerfstudioDataParserConfig(data=cleaned, downscale_factor=1, eval_mode="all", **IN_WORLD)
        with quiet():
            outputs = config.setup().get_dataparser_outputs(split="train")
    by_path = {frame.path: frame for frame in listing.frames}
    frames = [by_path[path] for path in outputs.image_filenames]
    views = [
        View(frame.name, frame.path, Camera.of(outputs.cameras, index), frame.mask)
        for index, frame in enumerate(frames)
    ]
    return ParsedCapture(views, listing.splits, listing.missing, default_split)


def read_colmap(path: Path) -> transforms_json.Listing:
    """Read a COLMAP reconstruction with nerfstudio's reader, in nerfstudio's z-up coordinates.

    Raises:
        InputError: There is none, or it cannot be read.
    """
    from nerfstudio.data.dataparsers.colmap_dataparser import ColmapDataParserConfig

    model = sparse_model(path)
    if model is None:
        raise InputError(
            f"{path} has no COLMAP reconstruction: cameras.bin or cameras.txt under {' or '.join(SPARSE)}"
        )
    try:
        parser = ColmapDataParserConfig(data=path).setup()
        meta = parser._get_all_images_and_cameras(model)
    except Exception as error:
        raise InputError(f"the COLMAP reconstruction {model} cannot be read: {error!r}") from error
    for frame in meta["frames"]:
        frame["file_path"] = Path(frame["file_path"]).relative_to(path).as_posix()
        frame["transform_matrix"] = frame["transform_matrix"].tolist()
    for split, name in (
        ("train", "train_list.txt"),
        ("val", "validation_list.txt"),
        ("test", "test_list.txt"),
    ):
        if (path / name).exists():
            lines = (path / name).read_text().splitlines()
            meta[f"{split}_filenames"] = [f"images/{line.strip()}" for line in lines if line.strip()]
    return transforms_json.list_frames(meta, path, model)


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
