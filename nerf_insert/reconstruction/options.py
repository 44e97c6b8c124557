"""What a user may say about how a capture is made, as plain data."""

from __future__ import annotations

import math
from dataclasses import dataclass

from nerf_insert.errors import InputError
from nerf_insert.reconstruction.alignment import Length, World
from nerf_insert.reconstruction.lens_models import MODELS
from nerf_insert.reconstruction.places import Pixel
from nerf_insert.reconstruction.sources import FEWEST

MOST = 2000  # frames that may be asked for


@dataclass(frozen=True)
class CaptureOptions:
    """How a capture is made from a video or photographs.

    Attributes:
        frames: How many frames to take from a video (default: what the motion needs, 60 to 150).
        megapixels: How large photographs may be; 0: as they are (default: what this machine can train on).
        lens: The lens model: "auto", "pinhole", "radial", "opencv" or "fisheye".
        up: Up, in the coordinates that the capture has without this.
        floor: Pixels that show the floor, each "VIEW=X,Y"; it becomes z = 0.
        scale: Two pixels, each "VIEW=X,Y", and the distance between what they show.

    Raises:
        InputError: A value is not possible.
    """

    frames: int | None = None
    megapixels: float | None = None
    lens: str = "auto"
    up: tuple[float, float, float] | None = None
    floor: tuple[str, ...] = ()
    scale: tuple[str, str, float] | None = None

    def __post_init__(self) -> None:
        if self.lens != "auto" and self.lens not in MODELS:
            raise InputError(f"there is no lens model {self.lens}: choose auto, {', '.join(MODELS)}")
        if self.frames is not None and not FEWEST <= self.frames <= MOST:
            raise InputError(f"{self.frames} frames cannot be taken: choose {FEWEST} to {MOST}")
        if self.megapixels is not None and not 0 <= self.megapixels < math.inf:
            raise InputError(f"{self.megapixels} megapixels are no size: choose a positive number, or 0")
        _ = self.world

    @property
    def world(self) -> World:
        """Up, floor and length.

        Raises:
            InputError: A place is not VIEW=X,Y, or the distance is not positive.
        """
        length = None
        if self.scale is not None:
            start, end, distance = self.scale
            if not 0 < distance < math.inf:
                raise InputError(f"the distance of the scale is {distance}: it should be a positive number")
            length = Length(Pixel.parse(start), Pixel.parse(end), distance)
        return World(self.up, tuple(Pixel.parse(text) for text in self.floor), length)
