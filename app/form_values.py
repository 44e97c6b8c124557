"""Numbers that a person typed, as where a mesh stands or a box is."""

from __future__ import annotations

from nerf_insert.app.draft_to_recipe import pose_matrix
from nerf_insert.app.drafts import Box, MeshPose
from nerf_insert.errors import InputError


def placing_of(data: dict) -> MeshPose:
    """From numbers that a person typed. Raises InputError."""
    try:
        translate, rotate = (tuple(float(v) for v in data[key]) for key in ("translate", "rotate"))
        made = MeshPose(translate, rotate, float(data["scale"]))  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise InputError("The place of the mesh needs numbers in all fields.") from None
    if made.scale <= 0:
        raise InputError("The scale of the mesh must be above 0.")
    pose_matrix(made)
    return made


def box_of(center: list, size: list, rotation: list) -> Box:
    """From numbers that a person typed. Raises InputError."""
    try:
        made = Box(*(tuple(float(v) for v in part) for part in (center, size, rotation)))  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise InputError("The box needs numbers in all fields.") from None
    if min(made.size) <= 0:
        raise InputError("The size of the box must be above 0 in all three directions.")
    return made
