"""Numbers that a person typed, as the pose of a mesh or as a box."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from nerf_insert.app.draft_to_recipe import pose_matrix
from nerf_insert.app.drafts import Box, MeshPose
from nerf_insert.errors import InputError


def parse_mesh_pose(values: Mapping[str, Any]) -> MeshPose:
    """Parse the pose of a mesh.

    Args:
        values: "translate" (world units), "rotate" (degrees about x, y, z) and "scale".

    Raises:
        InputError: A field is not a number, or the scale is not positive.
    """
    try:
        pose = MeshPose(_three(values["translate"]), _three(values["rotate"]), float(values["scale"]))
    except (TypeError, ValueError):
        raise InputError("Enter a number in every field of the mesh's position.") from None
    if pose.scale <= 0:
        raise InputError("The scale of the mesh must be above 0.")
    pose_matrix(pose)
    return pose


def parse_box(center: Iterable[Any], size: Iterable[Any], rotation: Iterable[Any]) -> Box:
    """Parse a box: center and side lengths in world units, rotation in degrees about x, y, z.

    Raises:
        InputError: A field is not a number, or a side length is not positive.
    """
    try:
        box = Box(_three(center), _three(size), _three(rotation))
    except (TypeError, ValueError):
        raise InputError("Enter a number in every field of the box.") from None
    if min(box.size) <= 0:
        raise InputError("The size of the box must be above 0 along all three axes.")
    return box


def _three(values: Iterable[Any]) -> tuple[float, float, float]:
    x, y, z = (float(value) for value in values)
    return x, y, z
