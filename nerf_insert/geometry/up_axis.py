"""Which axis of a mesh file points up, and the turn that makes it the scene's up.

glTF files are y-up by their standard; most scenes are z-up. Imports no torch until a turn is computed.
"""

from __future__ import annotations

import math
from pathlib import PurePath
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from jaxtyping import Float, Float64
    from torch import Tensor

UpAxis = Literal["x", "y", "z", "-x", "-y", "-z", "none"]
GLTF_SUFFIXES = (".glb", ".gltf")
SNAP = math.cos(math.radians(20))  # of the angle to an axis within which up counts as that axis


def standard_up_axis(file: str | PurePath) -> UpAxis | None:
    """Return the axis that a format's standard calls up: y for glTF; None for all others, which have none."""
    return "y" if PurePath(file).suffix.lower() in GLTF_SUFFIXES else None


def settled_up_axis(file: str | PurePath, given: UpAxis | None) -> UpAxis | None:
    """Return what a recipe says of a file: the given axis, or its format's; None where nothing is turned."""
    standard = standard_up_axis(file)
    return standard if given is None else None if given == "none" and standard is None else given


def upright(axis: UpAxis | None, up: Float[Tensor, " 3"]) -> Float64[Tensor, "4 4"]:
    """Return the rotation that turns a file's up axis to a scene's up, by the shortest way.

    Args:
        axis: The file's up axis; None and "none": its axes are the world's, as they are.
        up: The scene's up direction, world coordinates. One that lies near an axis counts as that axis, so
            that what was placed in the scene's coordinates in another program comes back exactly.
    """
    import torch

    matrix = torch.eye(4, dtype=torch.float64)
    if axis is None or axis == "none":
        return matrix
    source = torch.zeros(3, dtype=torch.float64)
    source["xyz".index(axis[-1])] = -1 if axis.startswith("-") else 1
    target = snapped(up)
    cosine = float(source @ target)
    if cosine < -1 + 1e-12:  # upside down: half a turn about x, or about y where x itself is up
        about = 1 if axis[-1] == "x" else 0
        matrix[:3, :3] = -torch.eye(3, dtype=torch.float64)
        matrix[about, about] = 1
        return matrix
    x, y, z = torch.linalg.cross(source, target).tolist()
    cross = torch.tensor([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]], dtype=torch.float64)
    matrix[:3, :3] += cross + cross @ cross / (1 + cosine)
    return matrix


def snapped(up: Float[Tensor, " 3"]) -> Float64[Tensor, " 3"]:
    """Return the axis that an up direction lies near, or else the direction itself; unit vectors."""
    import torch

    up = torch.nn.functional.normalize(up.double(), dim=0)
    largest = int(up.abs().argmax())
    if abs(float(up[largest])) < SNAP:
        return up
    axis = torch.zeros(3, dtype=torch.float64)
    axis[largest] = up[largest].sign()
    return axis
