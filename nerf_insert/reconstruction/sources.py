"""What a person brings: a video, a folder or a zip of photographs or videos."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

from nerf_insert.capture.dataparsers import DATA_SUFFIXES, captures_below, kind_of
from nerf_insert.errors import InputError, first_few
from nerf_insert.io.archives import unpack
from nerf_insert.io.decoding import NAMES, SUFFIXES

VIDEOS = tuple(".mp4 .mov .m4v .mkv .webm .avi .mts .m2ts .mpg .mpeg .3gp .insv .360".split())
RAW = (".dng", ".cr2", ".cr3", ".nef", ".arw", ".raf", ".orf", ".rw2")
FEWEST = 3  # photographs that a capture needs


@dataclass(frozen=True)
class Source:
    """What to make a capture from.

    Attributes:
        path: What the user named.
        kind: "video" or "photographs".
        files: The videos, or the photographs in natural order.
        notes: What was passed over.
    """

    path: Path
    kind: str
    files: tuple[Path, ...]
    notes: tuple[str, ...] = ()

    @property
    def fingerprint(self) -> list[list[str | int]]:
        """Name, size and time of each file: another fingerprint is another source."""
        stats = [(file.name, file.stat()) for file in self.files]
        return [[name, stat.st_size, int(stat.st_mtime)] for name, stat in stats]


def holds_photographs(path: Path) -> bool:
    """Return whether a path is a video, a zip, or a folder of photographs or videos."""
    if path.is_file():
        return path.suffix.lower() in (*VIDEOS, ".zip")
    wanted = (*SUFFIXES, *VIDEOS)
    return path.is_dir() and any(file.suffix.lower() in wanted for file in path.rglob("*"))


def find_source(path: Path, unpacked: Path) -> Source:
    """Find the videos or photographs at a path.

    Args:
        path: A video, a folder, or a zip of one.
        unpacked: The folder that a zip is unpacked in.

    Raises:
        InputError: There is nothing that a capture can be made from.
    """
    if not path.exists():
        raise InputError(f"there is no video or folder {path}")
    if path.is_dir():
        return _in_folder(path, path)
    suffix = path.suffix.lower()
    if suffix in VIDEOS:
        return Source(path, "video", (path,))
    if suffix == ".zip":
        _, left_out = unpack(path, unpacked, (*SUFFIXES, *VIDEOS, *DATA_SUFFIXES))
        posed = [unpacked] if kind_of(unpacked) else captures_below(unpacked)
        if posed:
            where = posed[0].relative_to(unpacked).as_posix()
            raise InputError(
                f"{path} holds camera poses already ({kind_of(posed[0])}"
                + ("" if where == "." else f", in {where}")
                + "): train on it as it is"
            )
        source = _in_folder(unpacked, path)
        if left_out:
            note = (
                f"{len(left_out)} files of {path.name} are of other kinds and left out: {first_few(left_out)}"
            )
            source = replace(source, notes=(*source.notes, note))
        return source
    if suffix in SUFFIXES:
        raise InputError(
            f"{path} is one photograph: give the folder with all of them, at least {FEWEST} and better 30 "
            "or more"
        )
    if suffix in RAW:
        raise InputError(f"{path} is a raw photograph, which cannot be read: export JPEG or TIFF from it")
    raise InputError(
        f"{path} is no video ({', '.join(VIDEOS[:5])}, ...), no zip and no folder of photographs: nothing "
        "can "
        "be made from it"
    )


def _in_folder(folder: Path, named: Path) -> Source:
    files = sorted(
        (file for file in folder.rglob("*") if _counts(file, folder)), key=lambda f: _natural(f, folder)
    )
    photographs = [file for file in files if file.suffix.lower() in SUFFIXES]
    videos = [file for file in files if file.suffix.lower() in VIDEOS]
    stems = {file.with_suffix("") for file in photographs}
    videos = [file for file in videos if file.with_suffix("") not in stems]  # the moving part of live photos
    notes = []
    raw = [file.name for file in files if file.suffix.lower() in RAW]
    if raw:
        notes.append(
            f"{len(raw)} raw photographs are left out, export JPEG or TIFF from them: {first_few(raw)}"
        )
    if videos and len(photographs) < FEWEST:
        if photographs:
            notes.append(f"{len(photographs)} photographs beside the video are left out")
        return Source(named, "video", tuple(videos), tuple(notes))
    if videos:
        notes.append(
            f"{len(videos)} videos beside the photographs are left out: {first_few([v.name for v in videos])}"
        )
    if len(photographs) < FEWEST:
        raise InputError(
            f"{named} holds {len(photographs) or 'no'} photographs that can be read ({NAMES}) and no "
            "video: "
            f"at least {FEWEST} photographs are needed, better 30 or more that overlap"
            + (f"; {notes[0]}" if raw else "")
        )
    return Source(named, "photographs", tuple(photographs), tuple(notes))


def _counts(file: Path, folder: Path) -> bool:
    """Whether a file is neither hidden nor made by a file manager nor in a folder of masks or thumbnails."""
    parts = file.relative_to(folder).parts
    hidden = any(part.startswith((".", "__MACOSX", "@eaDir")) for part in parts)
    return (
        not hidden
        and not any(part.lower() in ("masks", "mask", "thumbnails") for part in parts[:-1])
        and file.is_file()
    )


def _natural(file: Path, folder: Path) -> list[tuple[int, int | str]]:
    """A sort key by which IMG_9 comes before IMG_10."""
    words = re.split(r"(\d+)", file.relative_to(folder).as_posix().lower())
    return [(0, int(word)) if word.isdigit() else (1, word) for word in words if word]
