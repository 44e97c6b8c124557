"""Read STL files, with the colors that some programs put into the two spare bytes of each triangle."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from jaxtyping import Float

from nerf_insert.geometry.color import srgb_to_linear
from nerf_insert.geometry.mesh_files.parts import GRAY_MATERIAL, Material, MeshFile, Notes, Part, Refusal

HEADER, RECORD = 84, 50  # bytes before the triangles, and of each


def read_stl(path: Path, max_faces: int, max_side: int, notes: Notes) -> MeshFile:
    """Read all triangles of a file, text or binary; `max_side` and `notes` are not needed.

    Raises:
        Refusal: The file is damaged or too large.
    """
    import trimesh

    data = _as_announced(path.read_bytes())
    start, end = data[:5].lower(), data[-1024:].lower()
    if start == b"solid" and b"facet" in end and b"endsolid" not in end:
        raise Refusal("is cut off: its last line should begin with 'endsolid'; copy or export it again")
    parts = []
    scene = trimesh.load_scene(io.BytesIO(data), file_type="stl", process=False)
    for mesh in scene.geometry.values():
        faces = np.asarray(getattr(mesh, "faces", np.zeros((0, 3))), dtype=np.int64)
        if sum(len(part.faces) for part in parts) + len(faces) > max_faces:
            raise Refusal(f"has more than {max_faces:,} faces: simplify it")
        if len(faces):
            parts.append(Part(np.asarray(mesh.vertices, dtype=np.float64), faces, GRAY_MATERIAL))
    colors = _colors(data)
    if len(parts) == 1 and colors is not None and len(colors) == len(parts[0].faces):
        parts[0].colors = np.repeat(colors[:, None], 3, axis=1)
        parts[0].material = Material(name=path.stem)
    return MeshFile(parts)


def _as_announced(data: bytes) -> bytes:
    """Return the triangles that a binary file announces, without what programs put behind them.

    Raises:
        Refusal: There are fewer.
    """
    if b"\0" not in data[:HEADER]:  # text has none, a binary count has one
        return data
    count = int.from_bytes(data[80:HEADER], "little")
    there = max(0, len(data) - HEADER) // RECORD
    if there < count or len(data) < HEADER:
        raise Refusal(
            f"is cut off: {count:,} triangles are announced and {there:,} are there; copy or export it again"
        )
    return data[: HEADER + RECORD * count]


def _colors(data: bytes) -> Float[np.ndarray, "F 3"] | None:
    """Colors of the triangles of a binary file in linear light, None if it has none.

    There are two conventions. VisCAM and SolidView set bit 15 where a color is given: 5 bits each of blue,
    green and red from the lowest. Magics has COLOR= and four bytes for all in the header; bit 15 is clear
    where a triangle has a color of its own: red, green and blue from the lowest.
    """
    count = int.from_bytes(data[80:HEADER], "little")
    if b"\0" not in data[:HEADER] or not count:
        return None
    spare = np.frombuffer(data, np.uint8, RECORD * count, HEADER).reshape(count, RECORD)[:, 48:].copy()
    bits = spare.view("<u2")[:, 0].astype(np.int64)
    fields = np.stack([bits & 31, (bits >> 5) & 31, (bits >> 10) & 31], 1) / 31
    at = data[:80].find(b"COLOR=")
    if 0 <= at <= 70:
        common = np.frombuffer(data, np.uint8, 3, at + 6) / 255
        own = np.where((bits & 0x8000)[:, None] == 0, fields, common)
        return srgb_to_linear(own)
    given = (bits & 0x8000) > 0
    if not given.all():  # zeros, or the attributes of another program
        return None
    return srgb_to_linear(fields[:, ::-1])
