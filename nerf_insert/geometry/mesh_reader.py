"""Reading mesh files that people bring, in a process of its own with bounded memory and time."""

from __future__ import annotations

import tempfile
import zipfile
from dataclasses import fields
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nerf_insert.errors import InputError, warn
from nerf_insert.geometry.material import Material, Texture, TextureUse
from nerf_insert.geometry.mesh import Mesh
from nerf_insert.geometry.mesh_assets import companions
from nerf_insert.geometry.mesh_tangents import turned_normals, turned_tangents
from nerf_insert.geometry.pose import Pose
from nerf_insert.runtime.child import ChildDied, ChildTimeout, ask

SUFFIXES = (".glb", ".gltf", ".obj", ".ply", ".stl")
MAX_BYTES = 512 << 20  # of a file
MAX_FACES = 2_000_000
MAX_TEXTURE = 4096  # pixels along a side; larger pictures are scaled down
MAX_MEMORY = 6 << 30  # bytes of address space for the reading process
MAX_SECONDS = 90


def load_mesh(path: str | Path, pose: Pose | None = None) -> Mesh:
    """Load a mesh from a GLB, glTF, OBJ, PLY or STL file, all its parts in one.

    A process of its own reads the file, with bounded memory and time (mesh_files/worker.py).

    Args:
        path: The file.
        pose: Maps the file's coordinates to world coordinates (default: they are the same).

    Returns:
        The mesh in world coordinates. What could not be read of its appearance is warned of
        (`nerf_insert.errors.warn`), and kept in its `warnings`.

    Raises:
        InputError: The file is missing, of another kind, damaged, empty, too large, or has no surface.
    """
    path = Path(path)
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(
            f"the mesh {path} has the suffix '{path.suffix}', these can be read: {', '.join(SUFFIXES)}; "
            "convert it, to GLB for example"
        )
    if not path.is_file():
        raise InputError(f"there is no mesh file {path}")
    if path.stat().st_size > MAX_BYTES:
        size = path.stat().st_size >> 20
        raise InputError(
            f"the mesh {path} is {size} MB large, at most {MAX_BYTES >> 20} MB can be read; simplify it"
        )
    arrays, look, warnings = _read_once(path.resolve(), _state(path))
    warnings = [f"the mesh {path}: {warning}" for warning in warnings]
    for warning in warnings:
        warn(warning)
    vertices = torch.from_numpy(arrays["vertices"])
    matrix = (pose or Pose()).matrix
    vertices = (vertices @ matrix[:3, :3].T + matrix[:3, 3]).float()
    normals, tangents = (
        torch.from_numpy(arrays[name]) if name in arrays else None for name in ("normals", "tangents")
    )
    if not vertices.isfinite().all():
        raise InputError(f"the mesh {path} has coordinates too large to work with; check its pose and scale")
    return Mesh(
        vertices=vertices,
        faces=torch.from_numpy(arrays["faces"]),
        corner_colors=torch.from_numpy(arrays["corner_colors"]),
        uv_sets=tuple(_numbered(arrays, "uv_")),
        materials=tuple(_material(data) for data in look["materials"]),
        material_index=torch.from_numpy(arrays["material_index"]),
        textures=tuple(
            Texture(image, tuple(data["wrap"]), data["nearest"])
            for image, data in zip(_numbered(arrays, "texture_"), look["textures"], strict=True)
        ),
        normals=turned_normals(normals, matrix),
        tangents=turned_tangents(tangents, matrix),
        warnings=tuple(warnings),
    )


@lru_cache(maxsize=2)
def _read_once(path: Path, state: tuple) -> tuple[dict[str, np.ndarray], dict[str, Any], list[str]]:
    """What `_read_in_child` returns: an edit needs the same file for its region and for its content."""
    return _read_in_child(path)


def _state(path: Path) -> tuple:
    """What changes when the file or one that it refers to changes."""
    files = (path, *(path.parent / name for name in companions(path)))
    return tuple((file.name, (found := file.stat()).st_mtime_ns, found.st_size) for file in files)


def _numbered(arrays: dict[str, np.ndarray], prefix: str) -> list[torch.Tensor]:
    """The arrays prefix0, prefix1 and so on."""
    count = sum(name.startswith(prefix) for name in arrays)
    return [torch.from_numpy(arrays[f"{prefix}{k}"]) for k in range(count)]


def _material(data: dict[str, Any]) -> Material:
    return Material(**{field.name: _value(data[field.name]) for field in fields(Material)})


def _value(data: Any) -> Any:
    """A material's attribute, of plain data: lists are tuples, mappings are uses of textures."""
    if isinstance(data, dict):
        (a, b, c), (d, e, f) = data["matrix"]
        return TextureUse(data["texture"], data["uv_set"], ((a, b, c), (d, e, f)), data["channel"])
    return tuple(data) if isinstance(data, list) else data


def _read_in_child(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any], list[str]]:
    """Run mesh_files/worker.py; its arrays, its materials and textures as plain data, and its warnings."""
    with tempfile.TemporaryDirectory(prefix="nerf-insert-") as folder:
        out = Path(folder) / "mesh.npz"
        request = {
            "path": str(path.resolve()),
            "out": str(out),
            "memory": MAX_MEMORY,
            "seconds": MAX_SECONDS,
            "faces": MAX_FACES,
            "texture": MAX_TEXTURE,
        }
        try:
            answer = ask("nerf_insert.geometry.mesh_files.worker", request, folder, MAX_SECONDS)
        except ChildTimeout:
            raise InputError(
                f"the mesh {path} takes longer than {MAX_SECONDS} s to read; simplify it"
            ) from None
        except ChildDied as death:
            raise InputError(
                f"the mesh {path} cannot be read: reading it needs more than {MAX_MEMORY >> 30} GB of memory "
                f"or {MAX_SECONDS} s, or it is damaged ({death}); simplify or repair it"
            ) from None
        if "error" in answer:
            raise InputError(f"the mesh {path} {answer['error']}")
        try:
            with np.load(out, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
        except (OSError, ValueError, zipfile.BadZipFile) as error:
            raise InputError(f"the mesh {path} cannot be read: {error}") from None
        return arrays, answer, answer["warnings"]
