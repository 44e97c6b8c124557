"""Read PLY files: text and binary, polygons of any kind, colors and textures as they are written."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int64

from nerf_insert.geometry.color import srgb_to_linear
from nerf_insert.geometry.mesh_assets import find_asset, how_lost
from nerf_insert.geometry.mesh_files.images import Unreadable, decode
from nerf_insert.geometry.mesh_files.parts import (
    GRAY_MATERIAL,
    Material,
    MeshFile,
    Notes,
    Part,
    Refusal,
    Texture,
    TextureUse,
)
from nerf_insert.geometry.mesh_files.polygons import triangulate

TYPES = {
    **dict.fromkeys(("char", "int8"), "i1"),
    **dict.fromkeys(("uchar", "uint8"), "u1"),
    **dict.fromkeys(("short", "int16"), "i2"),
    **dict.fromkeys(("ushort", "uint16"), "u2"),
    **dict.fromkeys(("int", "int32"), "i4"),
    **dict.fromkeys(("uint", "uint32"), "u4"),
    **dict.fromkeys(("int64",), "i8"),
    **dict.fromkeys(("uint64",), "u8"),
    **dict.fromkeys(("float", "float32"), "f4"),
    **dict.fromkeys(("double", "float64"), "f8"),
}
FORMATS = {"ascii": "", "binary_little_endian": "<", "binary_big_endian": ">"}
INDICES = ("vertex_indices", "vertex_index")
COLORS = (("red", "green", "blue"), ("r", "g", "b"), ("diffuse_red", "diffuse_green", "diffuse_blue"))
UV = (("s", "t"), ("u", "v"), ("texture_u", "texture_v"), ("texture_s", "texture_t"))
MAX_HEADER = 1 << 20
CUT_OFF = "is cut off or damaged: {1:,} of '{0}' were announced, {2:,} can be read"

Lists = tuple[np.ndarray, np.ndarray]  # values of all lists one after the other, and their lengths


@dataclass
class _Element:
    """A kind of thing that the file holds: its properties, and their values once they are read."""

    name: str
    count: int
    scalars: dict[str, str] = field(default_factory=dict)
    lists: dict[str, tuple[str, str]] = field(default_factory=dict)  # types of length and values
    order: list[str] = field(default_factory=list)
    columns: dict[str, np.ndarray] = field(default_factory=dict)
    rows: dict[str, Lists] = field(default_factory=dict)


def read_ply(path: Path, max_faces: int, max_side: int, notes: Notes) -> MeshFile:
    """Read all polygons of a file.

    Args:
        path: A PLY file.
        max_faces: More faces than this are refused.
        max_side: Pixels along a side of a texture, which is scaled down to it.
        notes: Where to tell what is left out.

    Raises:
        Refusal: The file is damaged, too large, or no mesh.
    """
    data = path.read_bytes()
    elements, order, images, start = _header(data)
    if sum(e.count for e in elements if e.name != "vertex") > 4 * max_faces:
        raise Refusal(f"has more than {max_faces:,} faces: simplify it")
    if order:
        _read_binary(data, start, elements, order)
    else:
        _read_text(data, start, elements)
    named = {element.name: element for element in elements}
    vertex, face = named.get("vertex"), named.get("face")
    if vertex is None or not {"x", "y", "z"} <= vertex.columns.keys():
        raise Refusal("holds no triangles: it is empty, a point cloud, cut off, or not a mesh at all")
    if "f_dc_0" in vertex.columns and not (face and face.count):
        raise Refusal("holds Gaussian splats, not triangles: a mesh is needed here")
    vertices = np.stack([vertex.columns[axis] for axis in "xyz"], 1).astype(np.float64)
    values, lengths = _polygons(named)
    if len(values) and (values.min() < 0 or values.max() >= len(vertices)):
        raise Refusal("has faces that refer to vertices which do not exist: it is cut off or damaged")
    corners = triangulate(vertices[values], lengths)
    if len(corners) > max_faces:
        raise Refusal(f"has more than {max_faces:,} faces: simplify it")
    owner = np.repeat(np.arange(len(lengths)), lengths)[corners[:, 0]] if len(corners) else corners[:, 0]
    faces = values[corners]
    material, textures = _material(path, images, max_side, notes)
    uv = _uv(vertex, face, corners, faces, owner)
    if textures and uv is None:
        notes.add("it has a texture but no texture coordinates, so the texture is not shown")
        material, textures = GRAY_MATERIAL, []
    colors = _colors(vertex, face, faces, owner, notes)
    wedges = _at_corners(face, "color", 3, corners, owner) if colors is None else None
    if wedges is not None:
        colors = srgb_to_linear(np.clip(np.nan_to_num(wedges), 0, 1).astype(np.float64))
    if colors is not None and not textures:
        material = Material(name=path.stem)
    number = face.columns.get("texnumber") if face and len(textures) > 1 else None
    if number is None:
        return MeshFile([Part(vertices, faces, material, colors, [] if uv is None else [uv])], textures)
    parts = []
    for k in range(len(textures)):  # a file with several images says for each face which is its own
        chosen = np.clip(number, 0, len(textures) - 1)[owner] == k
        own = Material(name=images[k], base_texture=TextureUse(k))
        tint = None if colors is None else colors[chosen]
        if chosen.any() and uv is not None:
            parts.append(Part(vertices, faces[chosen], own, tint, [uv[chosen]]))
    return MeshFile(parts, textures)


def _header(data: bytes) -> tuple[list[_Element], str, list[str], int]:
    """The elements, the byte order ("" for text), the names of images, and where the values begin."""
    end = re.search(rb"(?:^|[\r\n])[ \t]*end_header[ \t]*(\r\n|\n|\r)", data[:MAX_HEADER])
    if not data.startswith(b"ply") or end is None:
        raise Refusal("cannot be read: it is damaged, cut off, or not what its name says (no PLY header)")
    elements: list[_Element] = []
    order, images = None, []
    for line in data[: end.start()].decode("utf-8", "replace").replace("\r", "\n").split("\n"):
        words = line.split()
        if not words:
            continue
        if words[0] == "format":
            order = FORMATS.get(words[1])
        elif words[0] == "comment" and len(words) > 2 and words[1].lower() == "texturefile":
            images.append(line.split(None, 2)[2].strip())
        elif words[0] == "element":
            elements.append(_Element(words[1], int(words[2])))
        elif words[0] == "property" and words[1] == "list":
            elements[-1].lists[words[4]] = _type(words[2]), _type(words[3])
            elements[-1].order.append(words[4])
        elif words[0] == "property":
            elements[-1].scalars[words[2]] = _type(words[1])
            elements[-1].order.append(words[2])
    if order is None or any(element.count < 0 for element in elements):
        raise Refusal("is damaged: its PLY header cannot be read; export it again")
    return elements, order, images, end.end()


def _type(name: str) -> str:
    if name not in TYPES:
        raise Refusal(f"has values of the type '{name[:40]}', which PLY files do not have: export it again")
    return TYPES[name]


def _read_binary(data: bytes, at: int, elements: list[_Element], order: str) -> None:
    for element in elements:
        if element.lists:
            at = _read_lists(data, at, element, order)
            continue
        dtype = np.dtype([(name, order + kind) for name, kind in element.scalars.items()])
        found = (len(data) - at) // dtype.itemsize if dtype.itemsize else element.count
        if found < element.count:
            raise Refusal(CUT_OFF.format(element.name, element.count, max(found, 0)))
        table = np.frombuffer(data, dtype, element.count, at)
        element.columns = {name: table[name] for name in element.scalars}
        at += dtype.itemsize * element.count


def _read_lists(data: bytes, at: int, element: _Element, order: str) -> int:
    """Read an element with lists. Rows with lists of the same lengths are read many at once."""
    scalars = {name: [] for name in element.scalars}
    rows: dict[str, list[np.ndarray]] = {name: [] for name in element.lists}
    lengths: dict[str, list[np.ndarray]] = {name: [] for name in element.lists}
    kinds: dict[tuple[int, ...], np.dtype] = {}  # of rows, by the lengths of their lists
    left = element.count
    while left:
        sizes = _list_lengths(data, at, element, order)
        if sizes is None:
            raise Refusal(CUT_OFF.format(element.name, element.count, element.count - left))
        dtype = kinds.get(sizes) or kinds.setdefault(sizes, _row_type(element, order, sizes))
        # As many rows as look the same: a guess that doubles while it holds.
        same, guess = 1, 1
        while same < left:
            guess = min(2 * guess, left - same, (len(data) - at) // dtype.itemsize - same)
            if guess <= 0:
                break
            table = np.frombuffer(data, dtype, guess, at + same * dtype.itemsize)
            alike = np.ones(guess, bool)
            for name, length in zip(element.lists, sizes, strict=True):
                alike &= table[f"#{name}"] == length
            run = guess if alike.all() else int(alike.argmin())
            same += run
            if run < guess:
                break
        table = np.frombuffer(data, dtype, same, at)
        for name in scalars:
            scalars[name].append(table[name])
        for name, length in zip(element.lists, sizes, strict=True):
            rows[name].append(table[name].reshape(-1))
            lengths[name].append(np.full(same, length, np.int64))
        at += same * dtype.itemsize
        left -= same
    element.columns = {name: _joined(parts) for name, parts in scalars.items()}
    element.rows = {name: (_joined(rows[name]), _joined(lengths[name])) for name in rows}
    return at


def _list_lengths(data: bytes, at: int, element: _Element, order: str) -> tuple[int, ...] | None:
    """The lengths of the lists of the row that begins at a place; None if the data ends before it does."""
    sizes = []
    for name in element.order:
        if name in element.scalars:
            at += int(element.scalars[name][1])
            continue
        kind, values = element.lists[name]
        width = int(kind[1])
        if at + width > len(data):
            return None
        length = int.from_bytes(data[at : at + width], "big" if order == ">" else "little")
        sizes.append(length)
        at += width + length * int(values[1])
    return tuple(sizes) if at <= len(data) else None


def _row_type(element: _Element, order: str, sizes: tuple[int, ...]) -> np.dtype:
    """The type of a row whose lists have these lengths."""
    fields: list[tuple] = []
    lengths = dict(zip(element.lists, sizes, strict=True))
    for name in element.order:
        if name in element.scalars:
            fields.append((name, order + element.scalars[name]))
            continue
        kind, values = element.lists[name]
        fields += [(f"#{name}", order + kind), (name, order + values, (lengths[name],))]
    return np.dtype(fields)


def _joined(parts: list[np.ndarray]) -> np.ndarray:
    return np.concatenate(parts) if parts else np.zeros(0, np.int64)


def _read_text(data: bytes, at: int, elements: list[_Element]) -> None:
    lines = data[at:].decode("utf-8", "replace").replace("\r\n", "\n").replace("\r", "\n").split("\n")
    lines = [line for line in lines if line.strip()]
    for element in elements:
        rows, lines = lines[: element.count], lines[element.count :]
        if len(rows) < element.count:
            raise Refusal(CUT_OFF.format(element.name, element.count, len(rows)))
        try:
            _read_rows(rows, element)
        except (ValueError, IndexError, OverflowError):
            raise Refusal(f"is cut off or damaged: its values of '{element.name}' cannot be read") from None


def _read_rows(rows: list[str], element: _Element) -> None:
    if not element.lists:
        width = len(element.order)
        table = np.array([row.split()[:width] for row in rows], dtype=np.float64).reshape(len(rows), width)
        element.columns = {name: table[:, k] for k, name in enumerate(element.order)}
        return
    scalars: dict[str, list[float]] = {name: [] for name in element.scalars}
    values: dict[str, list[float]] = {name: [] for name in element.lists}
    lengths: dict[str, list[int]] = {name: [] for name in element.lists}
    for row in rows:
        words = row.split()
        k = 0
        for name in element.order:
            if name in scalars:
                scalars[name].append(float(words[k]))
                k += 1
                continue
            length = int(words[k])
            if length < 0 or k + 1 + length > len(words):
                raise ValueError("a list is cut off")
            values[name] += map(float, words[k + 1 : k + 1 + length])
            lengths[name].append(length)
            k += 1 + length
    element.columns = {name: np.array(column) for name, column in scalars.items()}
    element.rows = {
        name: (np.array(values[name], dtype=np.float64), np.array(lengths[name], dtype=np.int64))
        for name in values
    }


def _polygons(named: dict[str, _Element]) -> Lists:
    """Indices of vertices of all polygons, and how many each has."""
    found = [(np.zeros(0, np.int64), np.zeros(0, np.int64))]
    face, strips = named.get("face"), named.get("tristrips")
    for name in INDICES if face else ():
        if face and name in face.rows:
            values, lengths = face.rows[name]
            found.append((values.astype(np.int64), lengths))
            break
    if strips and INDICES[0] in strips.rows:
        found.append(_strips(strips.rows[INDICES[0]][0].astype(np.int64)))
    return np.concatenate([v for v, _ in found]), np.concatenate([n for _, n in found])


def _strips(values: Int64[np.ndarray, " N"]) -> Lists:
    """The triangles of strips, which -1 ends."""
    faces = []
    for strip in np.split(values, np.flatnonzero(values < 0)):
        strip = strip[strip >= 0]
        triangles = (
            np.stack([strip[:-2], strip[1:-1], strip[2:]], 1)
            if len(strip) > 2
            else np.zeros((0, 3), np.int64)
        )
        triangles[1::2] = triangles[1::2, [1, 0, 2]]
        faces.append(triangles)
    joined = np.concatenate(faces) if faces else np.zeros((0, 3), np.int64)
    return joined.reshape(-1), np.full(len(joined), 3, np.int64)


def _colors(
    vertex: _Element,
    face: _Element | None,
    faces: Int64[np.ndarray, "F 3"],
    owner: Int64[np.ndarray, " F"],
    notes: Notes,
) -> Float[np.ndarray, "F 3 3"] | None:
    """Colors at the corners of triangles in linear light; those of faces only where vertices have none."""
    for element, index in ((vertex, faces), (face, owner[:, None].repeat(3, 1))):
        for names in COLORS if element else ():
            if element and set(names) <= element.columns.keys():
                colors = np.stack([_fraction(element, name) for name in names], 1)
                alpha = element.columns.get("alpha")
                if alpha is not None and len(alpha) and (_fraction(element, "alpha") < 0.999).any():
                    notes.add("the transparency of its colors is not used")
                if len(index) and index.max() >= len(colors):
                    return None  # strips beside faces: colors belong to the latter
                return srgb_to_linear(np.clip(np.nan_to_num(colors), 0, 1))[index]
    return None


def _fraction(element: _Element, name: str) -> Float[np.ndarray, " N"]:
    """A channel as 0..1, whatever type it is stored in."""
    values, kind = element.columns[name], element.scalars[name]
    if kind[0] in "iu":
        return values / np.iinfo(kind).max
    values = values.astype(np.float64)
    return values / 255 if len(values) and np.nanmax(values) > 1.5 else values


def _uv(
    vertex: _Element, face: _Element | None, corners: np.ndarray, faces: np.ndarray, owner: np.ndarray
) -> Float[np.ndarray, "F 3 2"] | None:
    """Texture coordinates of faces' corners, or else of vertices."""
    uv = _at_corners(face, "texcoord", 2, corners, owner)
    if uv is not None:
        return uv
    for names in UV:
        if set(names) <= vertex.columns.keys():
            return np.stack([vertex.columns[name] for name in names], 1).astype(np.float32)[faces]
    return None


def _at_corners(
    face: _Element | None, name: str, width: int, corners: np.ndarray, owner: np.ndarray
) -> Float[np.ndarray, "F 3 width"] | None:
    """Values at the corners of triangles, from lists with `width` numbers for each of a face's corners."""
    if face is None or name not in face.rows or not len(corners):
        return None
    values, lengths = face.rows[name]
    count = next((face.rows[name][1] for name in INDICES if name in face.rows), np.zeros(0, np.int64))
    if len(count) != len(lengths) or len(lengths) <= owner.max():
        return None
    within = corners - (count.cumsum() - count)[owner][:, None]
    at = (lengths.cumsum() - lengths)[owner][:, None] + width * within
    known = width * (within + 1) <= lengths[owner][:, None]
    out = np.zeros((*corners.shape, width), np.float32)
    out[known] = np.stack([values[at[known] + k] for k in range(width)], -1)
    return out


def _material(path: Path, images: list[str], max_side: int, notes: Notes) -> tuple[Material, list[Texture]]:
    """The material with the file's images; gray without any."""
    textures = []
    for name in images:
        target = find_asset(path.parent, name)
        lost = f"its texture cannot be read: the image '{name}'"
        if target is None:
            notes.add(f"{lost} {how_lost(name)}")
            continue
        try:
            textures.append(Texture(decode(target.read_bytes(), max_side)))
        except Unreadable as error:
            notes.add(f"{lost}: {error}")
    if len(textures) < len(images):
        return GRAY_MATERIAL, []
    return (
        (Material(name=images[0], base_texture=TextureUse(0)), textures) if textures else (GRAY_MATERIAL, [])
    )
