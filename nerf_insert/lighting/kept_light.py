"""The light that an edit found at its place, kept so that later edits there get the same.

    light.json   at, size: the place and the diagonal of what stands there, world coordinates and units
                 estimated: whether the photographs told it; else somebody set it
                 environment: linear radiance from each direction of `fibonacci_sphere`
                 keys: target, direction, distance, angle (radians), irradiance of each key light

Numbers are those of float32 and come back to the bit.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, NamedTuple

import torch
from jaxtyping import Float
from msgspec import Meta
from torch import Tensor

from nerf_insert.errors import InputError
from nerf_insert.io.files import read_json, write_json
from nerf_insert.io.schema import LARGEST, Number, Real, parse_fields
from nerf_insert.lighting.light import DiskLight, Light

FILE = "light.json"

Vector = Annotated[tuple[Number, Number, Number], Meta(description="three numbers")]
Positive = Annotated[Real, Meta(gt=0, le=LARGEST)]


@dataclass(frozen=True)
class _Key:
    target: Vector
    direction: Vector
    distance: Positive
    angle: Annotated[Real, Meta(gt=0, lt=1.6)]
    irradiance: Vector


@dataclass(frozen=True)
class _File:
    at: Vector
    size: Positive
    estimated: bool
    environment: Annotated[list[Vector], Meta(min_length=1, max_length=1 << 14)]
    keys: Annotated[list[_Key], Meta(max_length=1 << 8)]


class KeptLight(NamedTuple):
    """Light at a place.

    Attributes:
        light: The light.
        at: The place, world coordinates.
        size: The diagonal of what stands there, world units.
        estimated: Whether it was estimated from the photographs; else it was given.
    """

    light: Light
    at: Float[Tensor, "3"]
    size: float
    estimated: bool

    def distance(self, at: Float[Tensor, "3"], size: float) -> float:
        """Return how far another place is, in diagonals of the larger of the two things; up to 1 is near."""
        return float((at - self.at).norm()) / max(size, self.size)

    def save(self, file: Path) -> None:
        """Write the file.

        Raises:
            RunError: The disk cannot be written.
        """
        keys = [
            {
                "target": key.target.tolist(),
                "direction": key.direction.tolist(),
                "distance": key.distance,
                "angle": key.angle,
                "irradiance": key.irradiance.tolist(),
            }
            for key in self.light.keys
        ]
        data = {"at": self.at.tolist(), "size": self.size, "estimated": self.estimated}
        write_json(file, {**data, "environment": self.light.environment.tolist(), "keys": keys})

    @staticmethod
    def load(file: Path) -> KeptLight:
        """Read the file.

        Raises:
            InputError: It is damaged.
        """
        try:
            data = parse_fields(read_json(file), _File, FILE)
        except InputError as error:
            raise InputError(f"{file} is damaged; without it the light is estimated again: {error}") from None
        keys = tuple(
            DiskLight(
                torch.tensor(key.target, dtype=torch.float32),
                torch.tensor(key.direction, dtype=torch.float32),
                float(key.distance),
                float(key.angle),
                torch.tensor(key.irradiance, dtype=torch.float32),
            )
            for key in data.keys
        )
        environment = torch.tensor(data.environment, dtype=torch.float32)
        at = torch.tensor(data.at, dtype=torch.float32)
        return KeptLight(Light(environment, keys), at, float(data.size), data.estimated)
