"""Errors about a mesh say what may have gone wrong with its axes."""

import json

import exports
import pytest
import torch
import trimesh

from nerf_insert.capture.capture import Capture
from nerf_insert.editing.mesh_hints import explained_by
from nerf_insert.errors import InputError
from nerf_insert.geometry.mesh_reader import load_mesh
from nerf_insert.inpaint.guide import Guide
from nerf_insert.regions.spec import load_pose
from nerf_insert.scene.recipe import GuideSpec

LENS = {"fl_x": 20.0, "fl_y": 20.0, "cx": 11.5, "cy": 8.5, "w": 24, "h": 16}
HEIGHT = 40.0  # of the scene over the origin, so that a quarter turn leads out of all photographs; 11 show it


@pytest.fixture
def capture(tmp_path):
    exports.photographs(tmp_path, exports.names())
    poses = exports.poses()
    poses[:, 2, 3] += HEIGHT
    frames = [
        {"file_path": name, "transform_matrix": pose.tolist()}
        for name, pose in zip(exports.names(), poses, strict=True)
    ]
    (tmp_path / "transforms.json").write_text(json.dumps(LENS | {"frames": frames}))
    return Capture.load(tmp_path)


@pytest.mark.parametrize(("axes", "hint"), [("the world's", True), ("glTF's", False)])
@pytest.mark.parametrize("pose", [None, [[2, 0, 0, 0], [0, 2, 0, 0], [0, 0, 2, -HEIGHT], [0, 0, 0, 1]]])
def test_a_mesh_that_only_its_turn_hides_is_told(capture, tmp_path, axes, hint, pose):
    box = trimesh.creation.box((0.2, 0.2, 0.2))
    box.apply_translation([0, 0, HEIGHT])
    if axes == "glTF's":
        box.apply_transform([[1, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, 0], [0, 0, 0, 1]])
    box.export(tmp_path / "box.glb")
    spec = GuideSpec(mesh=str(tmp_path / "box.glb"), pose=pose)
    mesh = load_mesh(spec.mesh, load_pose(spec.pose, capture.origin, spec.up_axis, capture.up))
    guide = Guide(mesh=mesh)
    assert bool(torch.isclose(mesh.bounds.mean(0)[2], torch.tensor(HEIGHT))) != hint
    with pytest.raises(InputError) as caught, explained_by(None, spec, guide, capture):
        raise InputError("no photograph shows the region")
    said = str(caught.value)
    assert said.startswith("no photograph shows the region")
    assert ("--up-axis none) 11 of 12 photographs show" in said) == hint
    with pytest.raises(InputError, match=r"^x\. The reason may be that it is large$"):
        with explained_by("it is large", spec, guide, capture):
            raise InputError("x")
