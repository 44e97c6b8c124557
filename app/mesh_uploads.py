"""A mesh that is uploaded: one file, or with the files that it needs, together or in a zip."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from nerf_insert.app.uploads import IMAGES, MESHES, check_mesh_file
from nerf_insert.errors import InputError, first_few, warn
from nerf_insert.geometry.mesh_assets import companions
from nerf_insert.geometry.mesh_files.images import SUFFIXES as TEXTURES
from nerf_insert.io.archives import unpack

NEEDED = (".mtl", ".bin", *IMAGES, *TEXTURES)  # what may come with a mesh
TAKEN = (*MESHES, ".zip", *NEEDED)


@contextmanager
def gathered(files: Sequence[Path]) -> Iterator[Path]:
    """Lay the files of one mesh side by side for the time of the context, and yield the mesh among them.

    Args:
        files: A mesh file, or several files of which one is a mesh, or a zip of such.

    Raises:
        InputError: There is no mesh among them, or more than one, or a zip cannot be unpacked.
    """
    if len(files) == 1 and files[0].suffix.lower() != ".zip":
        check_mesh_file(files[0])
        yield files[0]
        return
    with TemporaryDirectory(prefix="nerf-insert-mesh-") as folder:
        home, unused = Path(folder), []
        for file in files:
            if file.suffix.lower() == ".zip":
                unused += unpack(file, home, (*MESHES, *NEEDED))[1]
            else:
                shutil.copyfile(file, home / file.name)
        mesh = _only_mesh(home, files)
        used = {path.resolve() for path in (mesh, *(mesh.parent / name for name in companions(mesh)))}
        unused += [str(path.relative_to(home)) for path in _files(home) if path.resolve() not in used]
        if unused:
            warn(f"the mesh {mesh.name} names none of these files, which are left out: {first_few(unused)}")
        yield mesh


def _files(home: Path) -> list[Path]:
    return [path for path in sorted(home.rglob("*")) if path.is_file()]


def _only_mesh(home: Path, files: Sequence[Path]) -> Path:
    meshes = [path for path in _files(home) if path.suffix.lower() in MESHES]
    given = first_few([file.name for file in files])
    if not meshes:
        raise InputError(f"{given}: there is no mesh among these files; add one of {', '.join(MESHES)}")
    if len(meshes) > 1:
        names = first_few([str(path.relative_to(home)) for path in meshes])
        raise InputError(f"{given}: these are several meshes ({names}); upload one, with the files it needs")
    return meshes[0]
