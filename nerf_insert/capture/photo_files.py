"""Find the files that a capture lists, whatever machine and program wrote their names.

A name is tried as it is written first. Then with forward slashes (Windows), in either Unicode form (a Mac
decomposes letters with accents), in another case, and with the suffix that it lacks or another one. Where not
one file of a listed folder is there, as with absolute paths of somebody else's machine, the folder below the
capture that holds most files of these names takes its place.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable
from itertools import chain
from pathlib import Path, PurePosixPath

from nerf_insert.io.decoding import SUFFIXES

NO_PHOTOGRAPHS = re.compile(r"mask|depth|normal|truth|confidence|segment|semantic|label", re.IGNORECASE)
SMALLER_COPY = re.compile(r"^images_(\d+)$")
MAX_DEPTH, MAX_FILES = 6, 200_000  # of the search below a capture


class PhotoFinder:
    """Where the files of a list are.

    Args:
        folder: The folder that relative names are relative to.
        names: All listed names.
        within: The folder to search for files that are not where they are listed (default: `folder`).
        masks: The files are masks: only a folder with the name of theirs takes its place, for photographs and
            other masks may have files of the same names.

    Attributes:
        moved: The folder that took the place of a listed one, and how many of its files are there.
    """

    def __init__(self, folder: Path, names: Iterable[str], within: Path | None = None, masks: bool = False):
        self._folder, self._within, self._masks = folder, within or folder, masks
        self._listings: dict[Path, FolderListing] = {}
        self._below: list[Path] | None = None
        self._place: dict[str, Path] = {}
        self.moved: dict[str, tuple[Path, int]] = {}
        missing: dict[str, list[str]] = defaultdict(list)
        present = set()
        for name in names:
            listed, base = split_name(name)
            if os.path.isfile(os.path.abspath(folder / name)):  # False for names that no file can have
                present.add(listed)
            else:
                missing[listed].append(base)
        for listed, bases in missing.items():
            self._place[listed] = self._direct(listed)
            if listed not in present:
                self._place[listed] = self._find_folder(listed, bases)

    def path(self, name: str) -> Path:
        """Return the absolute path of a listed file; it need not exist."""
        path = Path(os.path.abspath(self._folder / name))
        if os.path.isfile(path):
            return path
        listed, base = split_name(name)
        place = self._place.get(listed) or self._direct(listed)
        return self._listing(place).find(base) or (path if os.path.exists(path) else place / base)

    def _direct(self, listed: str) -> Path:
        """The listed folder itself."""
        return Path(os.path.abspath(self._folder / listed))

    def _listing(self, folder: Path) -> FolderListing:
        if folder not in self._listings:
            self._listings[folder] = FolderListing(folder)
        return self._listings[folder]

    def _find_folder(self, listed: str, bases: list[str]) -> Path:
        """The listed folder, or the one below the capture that holds most of its files, if it holds none."""
        direct = self._direct(listed)
        if self._hits(direct, bases):
            return direct
        if self._below is None:
            self._below = folders_below(self._within)
        wanted = PurePosixPath(listed).parts
        ranked = []
        for folder in self._below:
            other = self._masks or not may_hold_photographs(folder, self._within)
            if other and folder.name not in wanted:
                continue
            hits = self._hits(folder, bases)
            if hits:
                copy = SMALLER_COPY.match(folder.name)
                tail = common_tail(folder.relative_to(self._within).parts, wanted)
                ranked.append((-hits, -tail, int(copy.group(1)) if copy else 1, len(folder.parts), folder))
        if not ranked:
            return direct
        best = min(ranked)
        self.moved[listed or "."] = (best[-1], -best[0])
        return best[-1]

    def _hits(self, folder: Path, bases: list[str]) -> int:
        listing = self._listing(folder)
        return sum(listing.find(base) is not None for base in bases)


class FolderListing:
    """The files of one folder, by what a listed name may have in common with theirs."""

    def __init__(self, folder: Path):
        self._exact: dict[str, Path] = {}
        self._folded: dict[str, Path] = {}
        self._stems: dict[str, list[Path]] = defaultdict(list)
        try:
            entries = sorted(entry.name for entry in os.scandir(folder) if entry.is_file())
        except OSError:
            entries = []
        for name in entries:
            path = folder / name
            composed = compose(name)
            self._exact.setdefault(composed, path)
            self._folded.setdefault(composed.casefold(), path)
            if path.suffix.lower() in SUFFIXES:
                self._stems[composed.removesuffix(path.suffix)].append(path)

    def find(self, base: str) -> Path | None:
        """Return the file of a name, None if there is none or more than one could be meant."""
        base = compose(base)
        found = self._exact.get(base) or self._folded.get(base.casefold())
        if found:
            return found
        suffix = PurePosixPath(base).suffix
        if suffix.lower() not in SUFFIXES:
            named = (self._exact.get(base + end) for end in SUFFIXES)
            folded = (self._folded.get((base + end).casefold()) for end in SUFFIXES)
            return next(filter(None, chain(named, folded)), None)
        same = self._stems.get(base.removesuffix(suffix), [])
        return same[0] if len(same) == 1 else None


def compose(name: str) -> str:
    """Return a name in Unicode's composed form (NFC)."""
    return unicodedata.normalize("NFC", name)


def split_name(name: str) -> tuple[str, str]:
    """Split a listed name into its folder and the file's own name, with forward slashes."""
    folder, _, base = compose(name).replace("\\", "/").rpartition("/")
    return folder, base


def common_tail(path: tuple[str, ...], other: tuple[str, ...]) -> int:
    """Count the last parts that two paths have in common."""
    count = 0
    for a, b in zip(reversed(path), reversed(other), strict=False):
        if compose(a).casefold() != compose(b).casefold():
            break
        count += 1
    return count


def folders_below(folder: Path) -> list[Path]:
    """Return a folder and all folders below it that hold files, hidden ones left out.

    Links to folders are followed, once each.
    """
    found, files, seen = [], 0, set()
    top = len(folder.parts)
    for here, folders, names in os.walk(folder, followlinks=True):
        path, real = Path(here), os.path.realpath(here)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        if len(path.parts) - top >= MAX_DEPTH:
            folders.clear()
        files += len(names)
        if names:
            found.append(path)
        if files > MAX_FILES:
            break
    return found


def may_hold_photographs(folder: Path, capture: Path) -> bool:
    """Whether a folder is the capture itself, or has a name that tells of no masks, depths and such."""
    return folder == capture or not NO_PHOTOGRAPHS.search(folder.name)


def natural_key(path: Path) -> list[tuple[int, int, str]]:
    """Sort paths by this for the order 1, 2, 10 of their names."""
    parts = re.split(r"(\d+)", path.name.lower())
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in parts]
