"""Zip files from other people, unpacked within limits."""

from __future__ import annotations

import contextlib
import lzma
import shutil
import stat
import struct
import zipfile
import zlib
from collections.abc import Collection
from pathlib import Path, PurePosixPath

from nerf_insert.errors import InputError

MAX_BYTES, MAX_FILES = 16 << 30, 20_000
MAX_RATIO = 200  # unpacked to packed bytes: photographs and videos stay near 1, tables of numbers below 20
SMALL = 64 << 20  # bytes that unpack whatever their ratio
UTF8 = 0x800  # flag of a file in a zip
# what zipfile and its decompressors raise on files that are damaged
DAMAGED = (
    *(zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, OSError, zlib.error, lzma.LZMAError),
    *(IndexError, struct.error, ValueError),
)
IGNORED = ("__MACOSX", ".DS_Store", "Thumbs.db")


def unpack(file: Path, folder: Path, suffixes: Collection[str]) -> tuple[list[Path], list[str]]:
    """Unpack the files of a zip whose suffix is wanted.

    Args:
        file: The zip.
        folder: Where to; it is made if missing. What was unpacked before a failure stays there.
        suffixes: Lower-case suffixes with the dot; other files are passed over.

    Returns:
        (the unpacked files in the zip's order, the names in the zip of the files that were passed over).

    Raises:
        InputError: It is no zip, is damaged or protected, points out of the folder, or unpacks to too much.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            infos = [info for info in archive.infolist() if not info.filename.endswith(("/", "\\"))]
            infos = [i for i in infos if not any(part in IGNORED for part in _inside(i.filename).parts)]
            _check_size(infos, file, folder)
            found = [(info, _unpack_one(archive, info, folder, file.name, suffixes)) for info in infos]
            passed_over = [info.filename for info, path in found if path is None]
            return [path for _, path in found if path is not None], passed_over
    except DAMAGED as error:
        raise InputError(f"{file.name} cannot be unpacked ({error}): zip the folder again") from None


def _check_size(infos: list[zipfile.ZipInfo], file: Path, folder: Path) -> None:
    if len(infos) > MAX_FILES:
        raise InputError(f"{file.name} holds {len(infos)} files; at most {MAX_FILES} are accepted")
    size, packed = sum(i.file_size for i in infos), max(1, sum(i.compress_size for i in infos))
    if size > MAX_BYTES:
        raise InputError(f"{file.name} would unpack to more than {MAX_BYTES >> 30} GB: leave something out")
    if size > SMALL and size > MAX_RATIO * packed:
        raise InputError(
            f"{file.name} would unpack to {size / packed:.0f} times its size, which no photographs do: "
            "nothing was unpacked; zip the folder of the photographs again"
        )
    folder.mkdir(parents=True, exist_ok=True)
    if size > shutil.disk_usage(folder).free:
        raise InputError(
            f"{file.name} would unpack to {size >> 20} MB, more than is free in {folder}: make room there"
        )


def _unpack_one(
    archive: zipfile.ZipFile, info: zipfile.ZipInfo, folder: Path, name: str, suffixes: Collection[str]
) -> Path | None:
    path = _inside(file_name(info))
    if path.is_absolute() or ".." in path.parts or stat.S_ISLNK(info.external_attr >> 16):
        raise InputError(
            f"{name} holds {info.filename!r}, which points out of its own folder: zip the folder again"
        )
    if path.suffix.lower() not in suffixes:
        return None
    target = folder / path
    target.parent.mkdir(parents=True, exist_ok=True)
    left = info.file_size
    with archive.open(info) as source, open(target, "wb") as out:
        while chunk := source.read(1 << 20):
            left -= len(chunk)
            if left < 0:
                raise InputError(f"{name} holds {info.filename!r}, which is larger than declared")
            out.write(chunk)
    return target


def _inside(name: str) -> PurePosixPath:
    """The path of a file in a zip, which some programs on Windows write with backslashes."""
    return PurePosixPath(name.replace("\\", "/"))


def file_name(info: zipfile.ZipInfo) -> str:
    """Return the name of a file in a zip, also where it is UTF-8 and not marked so, as a Mac writes it."""
    if not info.flag_bits & UTF8:
        with contextlib.suppress(UnicodeError):
            return info.filename.encode("cp437").decode("utf-8")
    return info.filename
