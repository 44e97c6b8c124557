"""Which way a mesh stands, and how large it is."""

import math

import pytest
import torch

from nerf_insert.capture.capture import Capture, camera_distance
from nerf_insert.geometry.mesh_size import size_note
from nerf_insert.geometry.pose import euler_angles, rotation_matrix
from nerf_insert.geometry.up_axis import snapped, standard_up_axis, upright

AXES = ["x", "y", "z", "-x", "-y", "-z"]


def direction(axis: str) -> torch.Tensor:
    out = torch.zeros(3)
    out["xyz".index(axis[-1])] = -1.0 if axis.startswith("-") else 1.0
    return out


@pytest.mark.parametrize("axis", AXES)
@pytest.mark.parametrize("up", AXES)
def test_quarter_turns_are_exact_rotations(axis, up):
    tilted = direction(up) + torch.tensor([0.03, -0.02, 0.04])  # the mean of real cameras' up is never exact
    matrix = upright(axis, tilted)
    turn = matrix[:3, :3]
    assert torch.equal(turn @ direction(axis).double(), direction(up).double())
    assert torch.equal(turn @ turn.T, torch.eye(3).double()) and torch.linalg.det(turn) == 1
    assert torch.equal(matrix[3], torch.tensor([0.0, 0, 0, 1]).double()) and (matrix[:3, 3] == 0).all()


def test_blenders_export_is_undone():
    """Blender's glTF exporter writes (x, y, z) as (x, z, -y)."""
    written = torch.tensor([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]]).double()
    assert torch.equal(upright("y", direction("z"))[:3, :3] @ written, torch.eye(3).double())
    assert torch.equal(upright("y", direction("y")), torch.eye(4).double())


def test_a_scene_whose_up_lies_along_no_axis_gets_the_mesh_along_it():
    up = torch.nn.functional.normalize(torch.tensor([-0.67, -0.63, 0.40]), dim=0)
    turn = upright("y", up)[:3, :3]
    assert torch.allclose(turn[:, 1], up.double(), atol=1e-6)
    assert torch.allclose(turn @ turn.T, torch.eye(3).double(), atol=1e-12)
    assert torch.equal(snapped(torch.tensor([0.2, 0.0, 2.0])), direction("z").double())


def test_only_gltf_has_a_standard_up_axis():
    names = ("a.glb", "b.GLTF", "c.obj", "d.ply", "e.stl")
    assert [standard_up_axis(name) for name in names] == ["y", "y", None, None, None]
    assert torch.equal(upright(None, direction("x")), upright("none", direction("x")))


def test_angles_of_rotations_are_those_that_poses_take():
    for angles in ([10.0, -20.0, 130.0], [90.0, 0.0, 0.0], [0.0, 90.0, 45.0]):
        matrix = rotation_matrix(angles)
        assert torch.allclose(rotation_matrix(euler_angles(matrix)), matrix, atol=1e-9)


def box_of(size: float) -> torch.Tensor:
    return torch.tensor([[0.0, 0.0, 0.0], [size, size / 2, size / 2]])


@pytest.mark.parametrize(
    "size, scale, unit",
    [(250.0, 0.001, "millimeters"), (25.0, 0.01, "centimeters"), (3e7, 1e-8, ""), (0.0003, 1000.0, "meters")],
)
def test_a_mesh_out_of_proportion_is_named_with_a_scale_that_fits(size, scale, unit):
    note = size_note("can.stl", box_of(size), 1.0)
    assert note and "can.stl" in note and f"--pose scale={scale:g}" in note and unit in note
    assert f"{size:.3g} x {size / 2:.3g} x {size / 2:.3g} world units" in note
    assert size_note("can.stl", scale * box_of(size), 1.0) is None


def test_a_mesh_that_fits_is_not_mentioned():
    for size in (0.01, 0.3, 2.0, 5.0):
        assert size_note("can.stl", box_of(size), 1.0) is None
    assert size_note("can.stl", box_of(30.0), 100.0) is None


def test_the_distance_of_the_samples_cameras():
    capture = Capture.load("data/sample")
    middle = capture.center_of_attention
    apart = sorted(math.dist(view.camera.center.tolist(), middle.tolist()) for view in capture.views)
    assert apart[len(apart) // 2 - 1] - 1e-5 <= camera_distance(capture) <= apart[len(apart) // 2] + 1e-5
