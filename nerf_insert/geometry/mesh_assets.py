"""The files that a mesh file names: materials, pictures, buffers. They are part of what it shows."""

from __future__ import annotations

import json
import re
from pathlib import Path

from nerf_insert.io.files import read_bytes

NAMED = re.compile(
    rb"^\s*(?:mtllib|map_kd|comment\s+texturefile)\s+(\S.*?)\s*$", re.IGNORECASE | re.MULTILINE
)


def companions(path: str | Path) -> list[str]:
    """The existing files that a mesh file refers to, as names relative to its folder, each once, in order.
    Files elsewhere on the disk do not count: nothing reads them. Raises InputError if there is no mesh."""
    path = Path(path)
    folder, found = path.parent.resolve(), [path.name]
    for name in found:  # grows on the way: an OBJ names its materials, these their pictures
        for other in _named_in(folder / name if name != path.name else path):
            target = (folder / other).resolve()
            relative = target.relative_to(folder).as_posix() if target.is_relative_to(folder) else ""
            if relative and relative not in found and target.is_file():
                found.append(relative)
    return found[1:]


def _named_in(path: Path) -> list[str]:
    kind = path.suffix.lower()
    if kind not in (".obj", ".mtl", ".ply", ".gltf", ".glb"):
        return []
    data = read_bytes(path)
    if kind == ".ply":
        data = data[: data.find(b"end_header")]
    if kind in (".obj", ".mtl", ".ply"):
        return [name.decode(errors="replace") for name in NAMED.findall(data)]
    if kind == ".glb":
        data = data[20 : 20 + int.from_bytes(data[12:16], "little")]
    try:
        tree = json.loads(data)
        things = [*tree.get("buffers", []), *tree.get("images", [])]
        return [thing["uri"] for thing in things if not thing.get("uri", "data:").startswith("data:")]
    except (ValueError, AttributeError, TypeError, RecursionError):
        return []  # whoever loads the mesh will say what is wrong with it
