"""A mesh in other coordinates than the world's is told by what it stands on."""

import pytest
import torch
import trimesh
from meshes_in_process import read_in_process
from nerfstudio.data.dataparsers.nerfstudio_dataparser import NerfstudioDataParserConfig
from tiny import BALL, TinyField

from nerf_insert.capture.capture import Capture
from nerf_insert.editing.mesh_place import place_note
from nerf_insert.geometry.mesh_reader import load_mesh
from nerf_insert.regions.spec import load_pose
from nerf_insert.rendering.stack import LayerStack
from nerf_insert.scene.recipe import GuideSpec


@pytest.fixture(autouse=True)
def in_process(monkeypatch):
    read_in_process(monkeypatch, faces=100, texture=16)


@pytest.fixture(scope="module")
def capture(tiny_folder):
    return Capture.load(tiny_folder / "capture")


@pytest.fixture(scope="module")
def to_nerfstudio(capture):
    """The matrix by nerfstudio's own dataparser with its defaults, as 4x4."""
    outputs = NerfstudioDataParserConfig(data=capture.path).setup().get_dataparser_outputs("train")
    matrix = torch.eye(4, dtype=torch.float64)
    matrix[:3] = outputs.dataparser_transform.double() * outputs.dataparser_scale
    return matrix


def note_of(file, capture, stack, **more):
    spec = GuideSpec(mesh=str(file), **more)
    mesh = load_mesh(file, load_pose(spec.pose, capture.origin, spec.up_axis, capture.up))
    return place_note(mesh, spec, capture, stack)


@pytest.mark.parametrize("suffix", [".ply", ".glb"])
@pytest.mark.parametrize(
    ("bottom", "placed_in", "told"),
    [(0.0, "world", False), (0.0, "nerfstudio", True), (0.4, "world", False), (0.4, "nerfstudio", False)],
)
def test_it_is_told_where_only_nerfstudios_coordinates_make_it_stand(
    capture, to_nerfstudio, tmp_path, bottom, placed_in, told, suffix
):
    chair = trimesh.creation.box((0.2, 0.2, 0.3))
    chair.apply_translation([0.5, -0.4, 0.15 + bottom])
    if placed_in == "nerfstudio":
        chair.apply_transform(to_nerfstudio.numpy())
    if suffix == ".glb":  # y up, as Blender writes it
        chair.apply_transform([[1, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, 0], [0, 0, 0, 1]])
    file = tmp_path / f"chair{suffix}"
    chair.export(file)
    stack = LayerStack(TinyField([BALL], step=0.02))
    for pose, hinted in ((None, told), (torch.eye(4).tolist(), False)):  # who gives a pose has looked
        note = note_of(file, capture, stack, pose=pose)
        assert (note is not None) == hinted
        assert note is None or "--nerfstudio CONFIG" in note


@pytest.mark.parametrize(
    ("suffix", "up", "flag"),
    [(".obj", "y", "y"), (".stl", "y", "y"), (".obj", "z", None), (".glb", "z", "none"), (".glb", "y", None)],
)
def test_it_is_told_where_only_another_axis_makes_it_stand(capture, tmp_path, suffix, up, flag):
    """As Blender exports OBJ and glTF by default, or with the axes of the scene's world in the file."""
    post = trimesh.creation.box((0.1, 0.1, 0.5))
    post.apply_translation([0.5, -0.4, 0.25])
    if up == "y":
        post.apply_transform([[1, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, 0], [0, 0, 0, 1]])
    post.export(tmp_path / f"post{suffix}")
    stack = LayerStack(TinyField([BALL], step=0.02))
    note = note_of(tmp_path / f"post{suffix}", capture, stack)
    assert (note is None) == (flag is None) and (
        flag is None or note.endswith(f"--up-axis {flag} puts it there")
    )
    if flag:
        assert note_of(tmp_path / f"post{suffix}", capture, stack, up_axis=flag) is None
