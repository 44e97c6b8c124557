"""Reading mesh files without a process of its own, which takes a second or two each."""

import numpy as np

from nerf_insert.errors import InputError
from nerf_insert.geometry import mesh_reader
from nerf_insert.geometry.mesh_files import worker


def read_in_process(monkeypatch, faces, texture):
    """Have `load_mesh` call the worker's function, with these limits on faces and on pixels of a texture."""

    def read(path):
        request = {"path": str(path), "out": str(path) + ".npz", "faces": faces, "texture": texture}
        answer = worker.answer(request)
        if "error" in answer:
            raise InputError(f"the mesh {path} {answer['error']}")
        with np.load(str(path) + ".npz") as file:
            return {name: file[name] for name in file.files}, answer, answer["warnings"]

    monkeypatch.setattr(mesh_reader, "_read_in_child", read)
