"""Meshes that are uploaded with the files that they need."""

import shutil
import zipfile

import numpy as np
import pytest
from gltf_files import SQUARE, SQUARE_FACES, SQUARE_UV, GltfFile, quadrants
from PIL import Image

from nerf_insert.app.drafts import Drafts, MeshPose
from nerf_insert.app.mesh_uploads import gathered
from nerf_insert.errors import InputError, InputWarning
from nerf_insert.geometry.mesh_reader import load_mesh


@pytest.fixture
def files(tmp_path):
    """An OBJ whose texture lies in a folder, and a glTF with a buffer; uploads have no folders."""
    home = tmp_path / "uploads"
    home.mkdir()
    Image.fromarray(quadrants()).save(home / "wood.png")
    (home / "o.mtl").write_text("newmtl m\nmap_Kd textures\\wood.png\n")
    (home / "o.obj").write_text(
        "mtllib o.mtl\nusemtl m\nv 0 0 0\nv 1 0 0\nv 1 1 0\nvt 0 0\nvt 1 0\nvt 1 1\nf 1/1 2/2 3/3\n"
    )
    file = GltfFile()
    look = {"pbrMetallicRoughness": {"baseColorTexture": {"index": file.texture(quadrants())}}}
    file.tree["images"] = [{"uri": "textures/wood.png"}]
    file.mesh({"POSITION": SQUARE, "TEXCOORD_0": SQUARE_UV}, SQUARE_FACES, file.material(**look))
    file.write(home / "g.gltf")
    return home


@pytest.mark.parametrize("names", [["o.obj", "o.mtl", "wood.png"], ["wood.png", "g.bin", "g.gltf"]])
def test_several_files_are_one_mesh(files, names, tmp_path):
    drafts = Drafts(tmp_path / "scene" / "page")
    with gathered([files / name for name in names]) as path:
        draft = drafts.set_mesh("abcdefgh", path, MeshPose())
    mesh = load_mesh(drafts.file("abcdefgh", "mesh", draft.mesh))
    assert len(mesh.textures) == 1 and mesh.warnings == ()
    assert np.array_equal(mesh.textures[0].image.numpy(), quadrants())


def test_a_zip_keeps_its_folders_and_what_is_not_used_is_named(files, tmp_path):
    with zipfile.ZipFile(tmp_path / "m.zip", "w") as archive:
        for name in ("o.obj", "o.mtl"):
            archive.write(files / name, f"model/{name}")
        archive.write(files / "wood.png", "model/textures/wood.png")
        archive.write(files / "wood.png", "model/preview.png")
        archive.writestr("__MACOSX/model/._o.obj", "x")
    with pytest.warns(InputWarning, match=r"o\.obj names none of these files.*model/preview\.png"):
        with gathered([tmp_path / "m.zip"]) as path:
            assert load_mesh(path).textures
    assert not path.exists()


def test_textures_that_are_no_photographs_come_along(files, tmp_path):
    Image.fromarray(quadrants()).save(tmp_path / "wood.tga")
    (files / "o.mtl").write_text("newmtl m\nmap_Kd wood.tga\n")
    with zipfile.ZipFile(tmp_path / "m.zip", "w") as archive:
        for file in (files / "o.obj", files / "o.mtl", tmp_path / "wood.tga"):
            archive.write(file, "model\\" + file.name)
        archive.writestr("model\\", b"")  # a folder, as some programs on Windows write it
    for given in ([tmp_path / "m.zip"], [files / "o.obj", files / "o.mtl", tmp_path / "wood.tga"]):
        with gathered(given) as path:
            mesh = load_mesh(path)
        assert mesh.warnings == () and np.array_equal(mesh.textures[0].image.numpy(), quadrants())


def test_what_is_no_mesh_or_several_is_refused(files, tmp_path):
    for names, says in (
        (["wood.png"], r"wood\.png is not a mesh"),
        (["wood.png", "o.mtl"], "no mesh among these files"),
        (["o.obj", "g.gltf"], r"several meshes \(g\.gltf, o\.obj\)"),
    ):
        with pytest.raises(InputError, match=says), gathered([files / name for name in names]):
            pass
    shutil.make_archive(str(tmp_path / "all"), "zip", files)
    with pytest.raises(InputError, match="several meshes"), gathered([tmp_path / "all.zip"]):
        pass
