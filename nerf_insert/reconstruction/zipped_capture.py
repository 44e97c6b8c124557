"""A zip that holds a capture with its camera poses: told from one of photographs, and unpacked once."""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

from nerf_insert.capture.dataparsers import DATA_SUFFIXES, captures_below, kind_of
from nerf_insert.errors import InputError, first_few, warn
from nerf_insert.io.archives import unpack
from nerf_insert.io.decoding import SUFFIXES
from nerf_insert.io.files import read_json, write_json

CAPTURE_FILES = (*SUFFIXES, *DATA_SUFFIXES, ".geojson", ".ply", ".out")
NOTE = "unpacked.json"  # in a folder that a zip was unpacked to: which zip that was


def is_zip(path: Path) -> bool:
    """Return whether a path is a file that its name calls a zip."""
    return path.suffix.lower() == ".zip" and path.is_file()


def holds_poses(path: Path) -> bool:
    """Return whether a zip holds a capture with camera poses, and not photographs or a video alone.

    Its photographs are not unpacked for that.

    Raises:
        InputError: It is no zip, is damaged or protected, points out of its folder, or unpacks to too much.
    """
    with tempfile.TemporaryDirectory(prefix="nerf-insert-") as home:
        folder = Path(home)
        _, others = unpack(path, folder, DATA_SUFFIXES)
        for name in others:  # formats are told by where photographs lie, not by what they show
            if name.lower().endswith(SUFFIXES):
                target = folder / name.replace("\\", "/")
                with suppress(OSError):  # a name that this disk cannot have
                    target.parent.mkdir(parents=True, exist_ok=True)
                    target.touch()
        return kind_of(folder) is not None or bool(captures_below(folder))


def unpack_capture(path: Path, folder: Path) -> Path:
    """Unpack a zip of a capture, unless that was done before.

    What is in the zip and no part of a capture is left out, and warned of.

    Args:
        path: The zip.
        folder: Where to; made by this function, now or earlier.

    Returns:
        The folder.

    Raises:
        InputError: The zip cannot be unpacked, or something else is in the folder.
    """
    stat = path.stat()
    source = {"name": path.name, "size": stat.st_size, "time": int(stat.st_mtime)}
    if folder.exists() and any(folder.iterdir()):
        if not (folder / NOTE).exists():
            raise InputError(f"{folder} holds something else than {path}: choose another --out")
        if read_json(folder / NOTE) == source:
            return folder
        shutil.rmtree(folder)  # of another zip, or of this one as it was before
    unfinished = folder.with_name(f".{folder.name}.unpacking")
    shutil.rmtree(unfinished, ignore_errors=True)
    try:
        _, left_out = unpack(path, unfinished, CAPTURE_FILES)
        write_json(unfinished / NOTE, source)
        shutil.rmtree(folder, ignore_errors=True)  # empty
        os.replace(unfinished, folder)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    if left_out:
        warn(
            f"{path.name}: {len(left_out)} files are left out, of kinds that no capture is read from: "
            f"{first_few(left_out)}"
        )
    return folder
