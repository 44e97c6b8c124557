"""Reads one mesh file, in a process of its own: `python -m nerf_insert.geometry.mesh_files.worker`.

Mesh files come from strangers and can ask for any amount of memory or time, so this process first limits
itself. Of large libraries it imports numpy, PIL, DracoPy and trimesh only, and those where they are needed. A
request comes as JSON on the standard input, {"path", "out", "memory", "seconds", "faces", "texture"}; plain
arrays go to the file `out` (npz, no pickles), and one JSON line to the standard output:
{"warnings": [...], "materials": [...], "textures": [...]} or {"error": "..."}.

The arrays, V vertices and F faces: vertices float64 [V, 3], faces int64 [F, 3], corner_colors float32 sRGB
[F, 3, 3], material_index int64 [F], uv_0, uv_1, ... float32 [F, 3, 2] (origin bottom left), texture_0,
texture_1, ... uint8 [h, w, 3], as in the image files, and where normal maps need them normals and tangents
float32 [F, 3, 3], 0 where the file has none. Materials and textures are those of `parts`, as plain data.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from nerf_insert.geometry.color import linear_to_srgb
from nerf_insert.geometry.mesh_files.cutouts import cut_out
from nerf_insert.geometry.mesh_files.gltf_scene import read_gltf
from nerf_insert.geometry.mesh_files.obj import read_obj
from nerf_insert.geometry.mesh_files.parts import SLOTS, MeshFile, Notes, Part, Refusal
from nerf_insert.geometry.mesh_files.ply import read_ply
from nerf_insert.geometry.mesh_files.stl import read_stl
from nerf_insert.runtime.child import set_limits

READERS: dict[str, Callable[[Path, int, int, Notes], MeshFile]] = {
    ".glb": read_gltf,
    ".gltf": read_gltf,
    ".obj": read_obj,
    ".ply": read_ply,
    ".stl": read_stl,
}
DAMAGED = "cannot be read: it is damaged, cut off, or not what its name says ({})"


def read_mesh(
    path: Path, max_faces: int, max_side: int, notes: Notes
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Read a file.

    Args:
        path: The file; its suffix says which format it has.
        max_faces: More faces than this are refused.
        max_side: Pixels along a side of a texture, which is scaled down to it.
        notes: Where to tell what the file says and the result does not show.

    Returns:
        The arrays of this module's docstring, and {"materials": ..., "textures": ...}.

    Raises:
        Refusal: The file cannot be used.
    """
    mesh_file = READERS[path.suffix.lower()](path, max_faces, max_side, notes)
    parts = [part for part in mesh_file.parts if len(part.faces)]
    if not parts:
        raise Refusal("holds no triangles: it is empty, a point cloud, cut off, or not a mesh at all")
    parts = cut_out(parts, mesh_file.textures, notes)
    if not parts:
        raise Refusal("is transparent everywhere: nothing of it would be seen")
    arrays = _joined(parts)
    _check(arrays["vertices"], arrays["faces"])
    used = sorted({use.texture for part in parts for use in part.material.slots()})
    numbers = {texture: k for k, texture in enumerate(used)}
    textures = []
    for texture, k in numbers.items():
        arrays[f"texture_{k}"] = mesh_file.textures[texture].pixels[..., :3]
        textures.append(
            {"wrap": mesh_file.textures[texture].wrap, "nearest": mesh_file.textures[texture].nearest}
        )
    materials = [asdict(material) for material in _materials(parts)]
    for material in materials:
        for slot in SLOTS:
            if material[slot] is not None:
                material[slot]["texture"] = numbers[material[slot]["texture"]]
    return arrays, {"materials": materials, "textures": textures}


def _materials(parts: list[Part]) -> list[Any]:
    return list({id(part.material): part.material for part in parts}.values())


def _joined(parts: list[Part]) -> dict[str, np.ndarray]:
    """The arrays of all parts, one behind the other."""
    numbers = {id(material): k for k, material in enumerate(_materials(parts))}
    vertices, faces, colors, index, count = [], [], [], [], 0
    for part in parts:
        vertices.append(part.vertices)
        faces.append(part.faces + count)
        count += len(part.vertices)
        tint = np.ones((len(part.faces), 3, 3)) if part.colors is None else part.colors[..., :3]
        linear = np.clip(np.nan_to_num(tint * np.array(part.material.base_color)), 0, 1)
        colors.append(linear_to_srgb(linear).astype(np.float32))
        index.append(np.full(len(part.faces), numbers[id(part.material)]))
    arrays = {
        "vertices": np.concatenate(vertices),
        "faces": np.concatenate(faces),
        "corner_colors": np.concatenate(colors),
        "material_index": np.concatenate(index),
    }
    for k in range(max(len(part.uv) for part in parts)):
        sets = [part.uv[k] if k < len(part.uv) else np.zeros((len(part.faces), 3, 2)) for part in parts]
        arrays[f"uv_{k}"] = _finite(np.concatenate(sets))
    for name in ("normals", "tangents"):
        given = [getattr(part, name) for part in parts]
        if any(values is not None for values in given):
            nothing = (np.zeros((len(part.faces), 3, 3)) for part in parts)
            filled = [none if v is None else v for v, none in zip(given, nothing, strict=True)]
            arrays[name] = _finite(np.concatenate(filled))
    return arrays


def _finite(values: np.ndarray) -> np.ndarray:
    return np.nan_to_num(values.astype(np.float32), posinf=0, neginf=0)


def _check(vertices: np.ndarray, faces: np.ndarray) -> None:
    used = vertices[faces]
    if not np.isfinite(used).all():
        raise Refusal("has vertices that are not finite numbers (NaN or infinity): repair it")
    vertices[~np.isfinite(vertices).all(1)] = 0  # vertices of no face
    a, b, c = used.transpose(1, 0, 2)
    with np.errstate(over="ignore", invalid="ignore"):
        area = np.linalg.norm(np.cross(b - a, c - a), axis=-1)
    if not (area > 0).any():
        raise Refusal("has no surface: all its triangles are points or lines; check its scale")


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """Read the mesh of a request; the answer to print."""
    notes = Notes()
    try:
        arrays, look = read_mesh(Path(request["path"]), request["faces"], request["texture"], notes)
        np.savez(request["out"], **arrays)  # pyright: ignore[reportArgumentType]
        return {"warnings": notes.texts(), **look}
    except Refusal as refusal:
        return {"error": str(refusal)}
    except MemoryError:
        return {"error": "needs too much memory to read: simplify it"}
    except SystemError:  # a library in C did not say what failed: mostly an allocation
        return {"error": "needs too much memory to read, or is damaged: simplify or repair it"}
    except Exception as error:  # whatever a reader does with a damaged file
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        return {"error": DAMAGED.format(reason)}


def main() -> None:
    """Answer the request on the standard input."""
    request = json.load(sys.stdin)
    set_limits(request["memory"], request["seconds"])
    print(json.dumps(answer(request)))


if __name__ == "__main__":
    main()
