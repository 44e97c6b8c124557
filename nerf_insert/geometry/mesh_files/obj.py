"""Read OBJ files: polygons, several materials, colors of vertices, and names as other systems write them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float

from nerf_insert.geometry.color import srgb_to_linear
from nerf_insert.geometry.mesh_assets import as_utf8, find_asset, how_lost
from nerf_insert.geometry.mesh_files.mtl import MtlMaterials, parse_mtl
from nerf_insert.geometry.mesh_files.parts import GRAY_MATERIAL, Material, MeshFile, Notes, Part, Refusal
from nerf_insert.geometry.mesh_files.polygons import triangulate

FREE_FORM = ("curv", "curv2", "surf")


@dataclass
class _Group:
    """Polygons of one material: the corners' vertices and texture coordinates, from 0 (-1: none)."""

    vertices: list[int] = field(default_factory=list)
    uv: list[int] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)


def read_obj(path: Path, max_faces: int, max_side: int, notes: Notes) -> MeshFile:
    """Read all polygons of a file.

    Args:
        path: An OBJ file.
        max_faces: More faces than this are refused.
        max_side: Pixels along a side of a texture, which is scaled down to it.
        notes: Where to tell what is left out.

    Raises:
        Refusal: The file is damaged or too large.
    """
    text = decode_text(path.read_bytes())
    lines: dict[str, list[str]] = {"v": [], "vt": []}
    groups: dict[str | None, _Group] = {}
    group, libraries = groups.setdefault(None, _Group()), []
    points, coordinates = lines["v"], lines["vt"]
    faces = 0
    for line in text.replace("\\\n", " ").split("\n"):
        key, _, rest = line.lstrip().partition(" ")
        if "\t" in key:
            key, _, rest = line.lstrip().partition("\t")
        key = key.strip()
        if key in lines:
            lines[key].append(rest)
        elif key == "f":
            corners = rest.split("#")[0].split()
            for corner in corners:
                vertex, _, uv = corner.partition("/")
                group.vertices.append(_index(vertex, len(points)))
                uv = uv.partition("/")[0]
                group.uv.append(_index(uv, len(coordinates)) if uv else -1)
            group.lengths.append(len(corners))
            faces += max(0, len(corners) - 2)
            if faces > max_faces:
                raise Refusal(f"has more than {max_faces:,} faces: simplify it")
        elif key.lower() == "usemtl":
            group = groups.setdefault(rest.strip(), _Group())
        elif key.lower() == "mtllib":
            libraries.append(rest.strip())
        elif key in FREE_FORM:
            notes.add("it holds curves or surfaces without polygons, which are left out")
    vertices, colors = _vertices(lines["v"])
    materials = _materials(
        path, libraries, [name for name, g in groups.items() if name and g.lengths], max_side, notes
    )
    uv = _table(lines["vt"], 2)
    parts = []
    for name, group in groups.items():
        if group.lengths:
            material = _material_of(name, materials, notes)
            parts.append(_part(group, vertices, colors, uv, material, notes))
    return MeshFile(parts, materials.textures)


def decode_text(data: bytes) -> str:
    """Return text that may be of any encoding, with lines that end in a newline."""
    data = as_utf8(data)
    for encoding in ("utf-8-sig", "cp1252", "latin-1"):
        try:
            return data.decode(encoding).replace("\r\n", "\n").replace("\r", "\n")
        except UnicodeDecodeError:
            continue
    raise Refusal("is no text")


def _index(word: str, count: int) -> int:
    """An index from 0, of one that counts from 1, or from the end if it is negative."""
    number = int(word)
    if number == 0 or number < -count:
        raise Refusal("has faces that refer to vertices which do not exist: it is cut off or damaged")
    return number - 1 if number > 0 else count + number


def _vertices(lines: list[str]) -> tuple[Float[np.ndarray, "V 3"], Float[np.ndarray, "V 3"] | None]:
    """Coordinates, and colors in linear light if the lines have them behind the coordinates."""
    if not lines:
        return np.zeros((0, 3)), None
    width = len(lines[0].split("#")[0].split())
    table = _table(lines, width if width in (6, 7) else 3)
    if width not in (6, 7):
        return table, None
    colors = np.clip(np.nan_to_num(table[:, -3:]), 0, None)
    if colors.max(initial=0) > 1:
        colors = colors / 255
    return table[:, :3], srgb_to_linear(np.clip(colors, 0, 1))


def _table(lines: list[str], width: int) -> Float[np.ndarray, "N width"]:
    """The first numbers of each line; missing ones are 0."""
    if not lines:
        return np.zeros((0, width))
    words = [line.split("#")[0].split()[:width] for line in lines]
    if any(len(row) < width for row in words):
        words = [row + ["0"] * (width - len(row)) for row in words]
    try:
        return np.array(words, dtype=np.float64)
    except ValueError as error:
        raise Refusal(f"is damaged: {str(error)[:80]}") from None


def _materials(
    path: Path, libraries: list[str], wanted: list[str], max_side: int, notes: Notes
) -> MtlMaterials:
    """Read all material files that the OBJ file names; where they are missing, the one with its own name."""
    materials = MtlMaterials(path.parent, max_side, notes)
    targets: list[Path] = []
    for name in libraries:
        target = find_asset(path.parent, name)
        found = [target] if target else [find_asset(path.parent, word) for word in name.split()]
        missing = not found or any(one is None for one in found)
        targets += [one for one in found if one is not None]
        if missing:
            notes.add(f"a material file {how_lost(name)}", name)
    own = find_asset(path.parent, path.with_suffix(".mtl").name)
    if not targets and own is not None and (libraries or wanted):
        notes.add(f"the material file '{own.name}' is used, which has the mesh's own name")
        targets = [own]
    if not libraries and not targets and wanted:
        notes.add("it names no material file, so it has no colors of its own")
    for target in dict.fromkeys(targets):
        if target.suffix.lower() in (".mtl", ".txt"):
            for name, entry in parse_mtl(decode_text(target.read_bytes())).items():
                materials.entries.setdefault(name, entry)
    return materials


def _material_of(name: str | None, materials: MtlMaterials, notes: Notes) -> Material:
    """The material of a name; without a name the only one that there is."""
    if name is None:
        if len(materials.entries) == 1:
            only = next(iter(materials.entries))
            notes.add(f"no part of it names a material; its only one, '{only}', is used")
            return materials.material(only) or GRAY_MATERIAL
        if materials.entries:
            notes.add("a part of it names no material and is shown gray")
        return GRAY_MATERIAL
    material = materials.material(name)
    if material is None:
        if materials.entries:
            notes.add("no material file has the material, which is shown gray", name)
        return GRAY_MATERIAL
    return material


def _part(
    group: _Group,
    vertices: Float[np.ndarray, "V 3"],
    colors: Float[np.ndarray, "V 3"] | None,
    uv: Float[np.ndarray, "T 2"],
    material: Material,
    notes: Notes,
) -> Part:
    corner_vertex = np.array(group.vertices, dtype=np.int64)
    corner_uv = np.array(group.uv, dtype=np.int64)
    if corner_vertex.max() >= len(vertices):
        raise Refusal("has faces that refer to vertices which do not exist: it is cut off or damaged")
    corners = triangulate(vertices[corner_vertex], np.array(group.lengths, dtype=np.int64))
    used, faces = np.unique(corner_vertex[corners], return_inverse=True)
    faces = faces.reshape(-1, 3).astype(np.int64)
    part = Part(vertices[used], faces, material)
    if colors is not None and material.base_texture is not None and (colors < 1).any():
        notes.add(
            "its vertices' colors are not used where there is a texture, of the material", material.name
        )
    if colors is not None and material.base_texture is None:
        # Colors of vertices take the place of Kd, which would tint them twice.
        part.colors = colors[corner_vertex[corners]]
        part.material = replace(material, base_color=(1.0, 1.0, 1.0))
    if material.slots():
        index = corner_uv[corners]
        known = (index >= 0) & (index < len(uv))
        values = np.zeros((*index.shape, 2), np.float32)
        values[known] = uv[index[known]]
        part.uv = [values]
        if known.any() and not known.all():
            text = "some faces lack texture coordinates and show one color of the texture, of the material"
            notes.add(text, material.name)
        if not known.any():
            notes.add("a part without texture coordinates is shown without the textures of", material.name)
            part.material = part.material.without_textures()
    return part
