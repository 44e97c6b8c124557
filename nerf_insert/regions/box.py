"""An oriented box."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from nerf_insert.errors import InputError
from nerf_insert.geometry.pose import rotation_matrix
from nerf_insert.regions.region import Region


class BoxRegion(Region):
    """An oriented box.

    Args:
        center: World coordinates.
        size: The full side lengths, world units.
        rotation: Turns the box's axes into the world's: a 3x3 matrix, or three angles in degrees about the
            fixed x, then y, then z axis. None: no rotation.

    Raises:
        InputError: The numbers do not make a box.
    """

    exact = True

    def __init__(
        self,
        center: Sequence[float] | Float[Tensor, " 3"],
        size: Sequence[float] | Float[Tensor, " 3"],
        rotation: Sequence[float] | Sequence[Sequence[float]] | Float[Tensor, "3 3"] | None = None,
    ):
        self.center, self.size = _three(center, "center"), _three(size, "size")
        if not (self.size > 0).all():
            shown = ", ".join(f"{value:g}" for value in self.size.tolist())
            raise InputError(
                f"the box's size is {shown}: all three side lengths must be above 0 (world units)"
            )
        turn = torch.as_tensor([0.0, 0.0, 0.0] if rotation is None else rotation, dtype=torch.float64)
        if turn.shape == (3,):
            turn = rotation_matrix(turn.tolist())
        if turn.shape != (3, 3) or not torch.allclose(turn @ turn.T, torch.eye(3).double(), atol=1e-4):
            raise InputError("the box's rotation must be three angles in degrees or a 3x3 rotation matrix")
        self.rotation = turn.float()
        half = (self.rotation.abs() @ self.size) / 2
        self.bounds = torch.stack([self.center - half, self.center + half])
        self.min_width = float(self.size.min())

    def contains(self, points: Float[Tensor, "N 3"]) -> Bool[Tensor, " N"]:
        """Return which points lie between all three pairs of faces."""
        return (self._excess(points) <= 0).all(-1)

    def distance(self, points: Float[Tensor, "N 3"]) -> Float[Tensor, " N"]:
        """Return the signed distance to the box's faces; exact inside and outside."""
        excess = self._excess(points)
        return excess.clamp_min(0).norm(dim=-1) + excess.amax(-1).clamp_max(0)

    def save(self, folder: Path) -> dict[str, Any]:
        """Return center, size and rotation matrix; writes no file."""
        return {
            "kind": "box",
            "center": self.center.tolist(),
            "size": self.size.tolist(),
            "rotation": self.rotation.tolist(),
        }

    @staticmethod
    def load(data: dict[str, Any], folder: Path) -> BoxRegion:
        """Return the region that `save` described.

        Raises:
            InputError, KeyError, TypeError, ValueError: The data is damaged.
        """
        center = data["centre"] if "centre" in data else data["center"]  # its name in the first version
        return BoxRegion(center, data["size"], torch.tensor(data["rotation"], dtype=torch.float64))

    def _excess(self, points: Float[Tensor, "N 3"]) -> Float[Tensor, "N 3"]:
        """Return how far points lie beyond each of the three pairs of faces, negative between them."""
        local = (points - self.center.to(points)) @ self.rotation.to(points)
        return local.abs() - self.size.to(points) / 2


def _three(values: Sequence[float] | Tensor, name: str) -> Float[Tensor, " 3"]:
    values = torch.as_tensor(values, dtype=torch.float32)
    if values.shape != (3,) or not all(math.isfinite(value) for value in values.tolist()):
        raise InputError(f"the box's {name} must be three finite numbers")
    return values
