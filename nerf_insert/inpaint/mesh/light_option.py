"""The option `light` of the inpainter `mesh`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
from jaxtyping import Float
from msgspec import Meta
from torch import Tensor

from nerf_insert.errors import InputError
from nerf_insert.io.schema import LARGEST, Number, Real, parse_fields, show
from nerf_insert.lighting.light import DiskLight, Light, fibonacci_sphere

KEY_DISTANCE = 100.0  # of a key light given by its direction, in diagonals of the region
MIN_ANGLE = 0.1  # degrees, half of that under which the key light is seen

Direction = Annotated[tuple[Number, Number, Number], Meta(description="three numbers, not all 0")]
Intensity = Annotated[Real, Meta(ge=0, le=LARGEST)]
Color = Annotated[tuple[Intensity, Intensity, Intensity], Meta(description="three numbers from 0 up")]


@dataclass(frozen=True)
class GivenLight:
    """A key light and a sky; by default soft daylight from above.

    Attributes:
        direction: Towards the key light, world axes; None: up.
        angle: Half of the angle under which the key light is seen, degrees.
        distance: How far away the key light is, world units, as its light falls off; None: very far.
        key: What a white surface shows that faces the key light, linear RGB.
        sky: What a white surface shows that lies open to the sky alone, linear RGB.
    """

    direction: Direction | None = None
    angle: Annotated[Real, Meta(ge=0, le=60)] = 10.0
    distance: Annotated[Real, Meta(gt=0, le=LARGEST)] | None = None
    key: Color = (0.7, 0.7, 0.7)
    sky: Color = (0.4, 0.4, 0.4)

    def light(self, center: Float[Tensor, "3"], size: float, up: Float[Tensor, "3"]) -> Light:
        """Return the light.

        Args:
            center: What the key light shines on, world coordinates.
            size: The region's diagonal, world units.
            up: Unit vector, world axes.
        """
        direction = up if self.direction is None else torch.tensor(self.direction, dtype=torch.float32)
        key = DiskLight(
            target=center,
            direction=torch.nn.functional.normalize(direction, dim=0),
            distance=KEY_DISTANCE * size if self.distance is None else float(self.distance),
            angle=math.radians(max(MIN_ANGLE, self.angle)),
            irradiance=torch.tensor(self.key, dtype=torch.float32),
        )
        sky = torch.tensor(self.sky, dtype=torch.float32)
        return Light(sky.expand(len(fibonacci_sphere()), 3), (key,))


def parse_light(data: Any, where: str) -> Literal["auto", "anew", "flat"] | GivenLight:
    """Check the option and bring it to its type.

    Args:
        data: "auto", "anew", "flat", or a mapping of the fields of `GivenLight`.
        where: The key path of `data`, for messages.

    Raises:
        InputError: It is none of these; the message names the key and says what it must be.
    """
    if data == "auto" or data == "anew" or data == "flat":
        return data
    if not isinstance(data, Mapping):
        raise InputError(
            f"{where} must be auto, anew, flat, or a mapping of direction, distance, key, sky and angle, not "
            f"{show(data)}"
        )
    light = parse_fields(data, GivenLight, where)
    if light.direction is not None and not any(light.direction):
        raise InputError(f"{where}.direction must be three numbers, not all 0")
    return light
