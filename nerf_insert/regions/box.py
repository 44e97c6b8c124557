"""An oriented box."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from nerf_insert.errors import InputError
from nerf_insert.geometry.pose import rotation as euler_rotation
from nerf_insert.regions.region import Region


class BoxRegion(Region):
    """The box of full side lengths `size` around `center`, world units.

    `rotation` turns the box's axes into the world's: a 3x3 matrix, or three angles in degrees about the
    fixed x, then y, then z axis. Raises InputError when the numbers do not make a box.
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
                f"the box's size is {shown}: all three side lengths should be above 0 (world units)"
            )
        turn = torch.as_tensor([0.0, 0.0, 0.0] if rotation is None else rotation, dtype=torch.float64)
        if turn.shape == (3,):
            turn = euler_rotation(turn.tolist())
        if turn.shape != (3, 3) or not torch.allclose(turn @ turn.T, torch.eye(3).double(), atol=1e-4):
            raise InputError("the box's rotation should be three angles in degrees or a 3x3 rotation matrix")
        self.rotation = turn.float()
        reach = (self.rotation.abs() @ self.size) / 2
        self.bounds = torch.stack([self.center - reach, self.center + reach])
        self.min_width = float(self.size.min())

    def contains(self, points: Float[Tensor, "N 3"]) -> Bool[Tensor, " N"]:
        return (self._beyond(points) <= 0).all(-1)

    def distance(self, points: Float[Tensor, "N 3"]) -> Float[Tensor, " N"]:
        beyond = self._beyond(points)
        return beyond.clamp_min(0).norm(dim=-1) + beyond.amax(-1).clamp_max(0)

    def save(self, folder: Path) -> dict:
        return {
            "kind": "box",
            "center": self.center.tolist(),
            "size": self.size.tolist(),
            "rotation": self.rotation.tolist(),
        }

    @staticmethod
    def load(data: dict, folder: Path) -> BoxRegion:
        center = data["centre"] if "centre" in data else data["center"]  # its name in the first version
        return BoxRegion(center, data["size"], torch.tensor(data["rotation"], dtype=torch.float64))

    def _beyond(self, points: Float[Tensor, "N 3"]) -> Float[Tensor, "N 3"]:
        """How far points lie beyond each of the three pairs of faces, negative between them."""
        local = (points - self.center.to(points)) @ self.rotation.to(points)
        return local.abs() - self.size.to(points) / 2


def _three(values: Sequence[float] | Tensor, name: str) -> Float[Tensor, " 3"]:
    values = torch.as_tensor(values, dtype=torch.float32)
    if values.shape != (3,) or not all(math.isfinite(value) for value in values.tolist()):
        raise InputError(f"the box's {name} should be three finite numbers")
    return values
