"""The files that a mesh file refers to: materials, images, buffers. They are part of what it shows."""

from __future__ import annotations

import json
import re
from pathlib import Path

from nerf_insert.io.files import read_bytes

NAMED = re.compile(
    rb"^\s*(?:mtllib|map_kd|comment\s+texturefile)\s+(\S.*?)\s*$", re.IGNORECASE | re.MULTILINE
)


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
            target = (folder / other).resolve()
            relative = target.relative_to(folder).as_posix() if target.is_relative_to(folder) else ""
            if relative and relative not in found and target.is_file():
                found.append(relative)
    return found[1:]


def _named_in(path: Path) -> list[str]:
    """The names that one file refers to."""
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
        parts = [*tree.get("buffers", []), *tree.get("images", [])]
        return [part["uri"] for part in parts if not part.get("uri", "data:").startswith("data:")]
    except (ValueError, AttributeError, TypeError, RecursionError):
        return []  # whoever loads the mesh will say what is wrong with it
