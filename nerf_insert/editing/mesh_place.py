"""Whether a mesh that stands on nothing would stand if it had been placed in other coordinates.

Those of nerfstudio's viewer, or with another axis up. Meshes with a pose are where somebody wants them.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from jaxtyping import Float64
from torch import Tensor

from nerf_insert.capture.capture import Capture
from nerf_insert.geometry.cameras import Rays
from nerf_insert.geometry.mesh import Mesh
from nerf_insert.geometry.up_axis import standard_up_axis, upright
from nerf_insert.regions.checks import MIN_VIEWS
from nerf_insert.regions.spec import load_pose
from nerf_insert.rendering.stack import LayerStack
from nerf_insert.scene.recipe import GuideSpec

FEET, VIEWS = 32, 12  # points of the mesh's underside, and photographs from which they are looked at
FOOT = 0.05  # of the mesh's height that counts as its underside
STANDS, STANDS_NOT = 0.06, 0.15  # gap between the underside and the scene, relative to the mesh's size


def place_note(mesh: Mesh, spec: GuideSpec, capture: Capture, stack: LayerStack) -> str | None:
    """Say that a mesh may have been placed in other coordinates than it is taken to be in.

    Args:
        mesh: The mesh, relative to the capture's origin.
        spec: The recipe's guide.
        capture: Whose cameras nerfstudio would orient, center and scale.
        stack: The scene.

    Returns:
        The text, as warnings are; None where the mesh stands, has a pose, or would stand nowhere else.
    """
    if spec.mesh is None or spec.pose is not None:
        return None
    if abs(gap_below(mesh, capture, stack)) < STANDS_NOT:
        return None
    applied = load_pose(spec.pose, capture.origin, spec.up_axis, capture.up)
    to_file = torch.eye(4, dtype=torch.float64) if applied is None else torch.linalg.inv(applied.matrix)
    for matrix, how in _other_places(spec, capture):
        moved = mesh.transformed(matrix @ to_file)
        if abs(gap_below(moved, capture, stack)) < STANDS:
            return f"the mesh {spec.mesh} stands on nothing where it is, but would {how}"
    return None


def _other_places(spec: GuideSpec, capture: Capture) -> Iterator[tuple[Float64[Tensor, "4 4"], str]]:
    """Yield where else the file's coordinates may lead, and the words for it."""
    assert spec.mesh is not None
    z = torch.tensor([0.0, 0.0, 1.0])
    yield (
        nerfstudio_to_world(capture) @ upright(spec.up_axis, z),
        "if it had been placed in the coordinates of nerfstudio's viewer and of ns-export: --nerfstudio "
        "CONFIG, with the config.yml of a run of this capture, puts it there",
    )
    other = "y" if spec.up_axis is None else "none"
    if spec.up_axis not in (None, standard_up_axis(spec.mesh)):
        return  # which somebody chose
    pose = load_pose(None, capture.origin, other, capture.up)
    assert pose is not None
    yield (
        pose.matrix,
        "with its y axis up, as Blender and others export it: --up-axis y puts it there"
        if other == "y"
        else "with its axes as they are in the file: --up-axis none puts it there",
    )


def nerfstudio_to_world(capture: Capture) -> Float64[Tensor, "4 4"]:
    """Return the similarity from the coordinates that nerfstudio gives a capture by default to the views'."""
    from nerfstudio.cameras.camera_utils import auto_orient_and_center_poses

    last = torch.tensor([[0.0, 0.0, 0.0, 1.0]])
    poses = torch.stack([torch.cat([view.camera.c2w, last]) for view in capture.views])
    oriented, transform = auto_orient_and_center_poses(poses, method="up", center_method="poses")
    matrix = torch.eye(4, dtype=torch.float64)
    matrix[:3] = transform.double() / oriented[:, :3, 3].abs().max().clamp_min(1e-9).double()
    return torch.linalg.inv(matrix)


def gap_below(mesh: Mesh, capture: Capture, stack: LayerStack) -> float:
    """Return how far a mesh's underside is above what photographs show there, relative to the mesh's size.

    It is negative where they show something above it, and infinite where too few of them look there.
    """
    vertices = mesh.vertices[mesh.faces.reshape(-1)]
    height = vertices @ capture.up
    low, high = height.aminmax()
    feet = vertices[height <= low + FOOT * (high - low)]
    feet = feet[torch.linspace(0, len(feet) - 1, min(FEET, len(feet))).long()]
    cameras = [view.camera for view in capture.train if view.camera.project(feet).inside.all()]
    if len(cameras) < MIN_VIEWS:
        return float("inf")
    chosen = [cameras[k] for k in torch.linspace(0, len(cameras) - 1, min(VIEWS, len(cameras))).long()]
    gaps = []
    for camera in chosen:
        along = torch.nn.functional.normalize(feet - camera.center, dim=-1)
        depth = stack.render(Rays(camera.center.expand(len(feet), 3).contiguous(), along)).depth
        gaps.append((feet - camera.center - depth[:, None] * along) @ capture.up)
    low_corner, high_corner = mesh.bounds
    return float(torch.cat(gaps).nan_to_num(float("inf")).median() / (high_corner - low_corner).norm())
