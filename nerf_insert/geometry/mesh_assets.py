"""The files that a mesh file refers to: materials, images, buffers. They are part of what it shows.

Exporters write names that other machines cannot open as they are: with backslashes, percent-encoded, with
other letter case, as absolute paths of the machine that wrote them. `find_asset` looks for the file that is
meant, in the mesh's folder and below it and nowhere else.
"""

from __future__ import annotations

import json
import os
import re
import unicodedata
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

from nerf_insert.io.files import read_bytes

MAX_LISTED = 20_000  # files of a folder tree that are looked through for a name
MAX_DEPTH = 6
NAMES = re.compile(rb"^[ \t]*(?:mtllib|comment[ \t]+texturefile)[ \t]+(\S.*?)[ \t]*\r?$", re.I | re.M)
MAPS = re.compile(
    rb"^[ \t]*(?:map_\w+|bump|norm|disp|decal|refl)[ \t]+(\S.*?)[ \t]*\r?$", re.IGNORECASE | re.MULTILINE
)
COMMENT = re.compile(r"\s+#(\s[^#]*)?$")  # names such as 3ds Max's "Material #25" have none
# The options of a map in an MTL file, and how many values follow each: at least, at most.
MAP_OPTIONS = {
    "-blendu": (1, 1),
    "-blendv": (1, 1),
    "-bm": (1, 1),
    "-boost": (1, 1),
    "-cc": (1, 1),
    "-clamp": (1, 1),
    "-colorspace": (1, 1),
    "-imfchan": (1, 1),
    "-mm": (2, 2),
    "-o": (1, 3),
    "-s": (1, 3),
    "-t": (1, 3),
    "-texres": (1, 1),
    "-type": (1, 1),
}


def find_asset(folder: Path, name: str) -> Path | None:
    """Find the file that a mesh file means by a name.

    Args:
        folder: The mesh file's folder. Files outside it, also by a link, are not found.
        name: A name as files hold it.

    Returns:
        The file: the one with exactly this name, else with the name decoded, else with other letter case,
        else one with the same last part of the name, else one with the name before a comment; None: there is
        none.
    """
    folder = folder.resolve()
    spellings = [name, unquote(name), name.replace("\\", "/"), unquote(name).replace("\\", "/")]
    for spelling in dict.fromkeys(s.strip().strip('"') for s in spellings):
        target = _inside(folder, spelling)
        if target is not None:
            return target
    wanted = _folded(spellings[-1].strip().strip('"'))
    parts = [part for part in PurePosixPath(wanted).parts if part not in ("/", ".", "..")]
    if not parts:
        return None
    known = _files_below(str(folder))
    # The longest common ending wins, so that an absolute path of another machine finds its own folder.
    for length in range(len(parts), 0, -1):
        ending = "/".join(parts[-length:])
        found = [path for path in known if (f := _folded(path)) == ending or f.endswith("/" + ending)]
        for path in sorted(found, key=lambda path: (path.count("/"), path)):
            target = _inside(folder, path)
            if target is not None:
                return target
    bare = without_comment(name)
    return find_asset(folder, bare) if bare != name else None


def how_lost(name: str) -> str:
    """Return why `find_asset` did not find a file, and what to do, to follow the file's name."""
    if ".." in PurePosixPath(unquote(name).replace("\\", "/")).parts:
        return "is named in a folder outside the mesh's, where nothing is read: put it beside the mesh"
    return "is missing, put it beside the mesh"


def without_comment(text: str) -> str:
    """Return the value of a line of OBJ or MTL without the last comment behind it."""
    return COMMENT.sub("", text)


def companions(path: str | Path) -> list[str]:
    """List the existing files that a mesh file refers to, each once, in order.

    Names are relative to its folder. Files outside that folder do not count: nothing reads them.

    Raises:
        InputError: The mesh file does not exist or cannot be read.
    """
    path = Path(path)
    folder, found = path.parent.resolve(), [path.name]
    for name in found:  # grows on the way: an OBJ names its materials, these their images
        for other in _named_in(folder / name if name != path.name else path):
            target = find_asset(folder, other)
            relative = target.relative_to(folder).as_posix() if target is not None else ""
            if relative and relative not in found:
                found.append(relative)
    return found[1:]


def map_name(text: str) -> tuple[str, dict[str, list[str]]]:
    """Split the value of a map in an MTL file into the file's name and the options before it."""
    options: dict[str, list[str]] = {}
    rest = text.strip()
    while rest.startswith("-"):
        option, *_ = rest.split(None, 1)
        least, most = MAP_OPTIONS.get(option.lower(), (0, 0))
        if not most:
            break
        values: list[str] = []
        tail = rest[len(option) :].lstrip()
        while len(values) < most and tail:
            word = tail.split(None, 1)[0]
            after = tail[len(word) :].lstrip()
            if len(values) >= least and (not _is_number(word) or not after):
                break
            values.append(word)
            tail = after
        options[option.lower()] = values
        rest = tail
    return rest, options


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _inside(folder: Path, name: str) -> Path | None:
    """The file of this name, unless it is outside the folder."""
    try:
        target = (folder / name).resolve()
        return target if target.is_relative_to(folder) and target.is_file() else None
    except (OSError, ValueError, RuntimeError):  # names that no file can have
        return None


@lru_cache(maxsize=8)
def _listed(folder: str, changed: int) -> tuple[str, ...]:
    return tuple(_walk(folder))


def _files_below(folder: str) -> tuple[str, ...]:
    """Names of files in a folder and below it, relative to it."""
    try:
        return _listed(folder, os.stat(folder).st_mtime_ns)
    except OSError:
        return ()


def _walk(folder: str) -> Iterator[str]:
    count = 0
    for home, folders, files in os.walk(folder):
        relative = os.path.relpath(home, folder).replace(os.sep, "/")
        if relative.count("/") >= MAX_DEPTH:
            folders.clear()
        for file in files:
            count += 1
            if count > MAX_LISTED:
                return
            yield file if relative == "." else f"{relative}/{file}"


def _named_in(path: Path) -> list[str]:
    """The names that one file refers to."""
    kind = path.suffix.lower()
    if kind not in (".obj", ".mtl", ".ply", ".gltf", ".glb"):
        return []
    data = read_bytes(path)
    if kind == ".ply":
        data = data[: data.find(b"end_header")]
    if kind in (".obj", ".mtl", ".ply"):
        data = as_utf8(data)
        names = [_text(name) for name in NAMES.findall(data)]
        if kind == ".obj":  # one line may name several files; names may hold spaces
            names += [word for name in names if " " in name for word in name.split()]
            names.append(path.with_suffix(".mtl").name)
        return names + [map_name(_text(value))[0] for value in MAPS.findall(data)]
    if kind == ".glb":
        data = data[20 : 20 + int.from_bytes(data[12:16], "little")]
    try:
        tree = json.loads(data)
        parts = [*tree.get("buffers", []), *tree.get("images", [])]
        return [part["uri"] for part in parts if not part.get("uri", "data:").startswith("data:")]
    except (ValueError, AttributeError, TypeError, RecursionError):
        return []  # whoever loads the mesh will say what is wrong with it


def as_utf8(data: bytes) -> bytes:
    """Return text that is UTF-16, as some programs on Windows write it, in UTF-8; other bytes as they are."""
    odd, even = data[1:64:2], data[:64:2]
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        encoding = "utf-16"
    elif odd and not any(odd):  # Latin letters without a byte order mark
        encoding = "utf-16-le"
    elif odd and not any(even):
        encoding = "utf-16-be"
    else:
        return data
    return data.decode(encoding, "replace").encode("utf-8", "replace")


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode("cp1252", "replace")  # what exporters on Windows write
