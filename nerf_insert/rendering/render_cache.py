"""Renders of whole images that are wanted again, found by the values of their camera.

Capacity is counted in pixels, 20 bytes each. What does not fit any more is not kept, and what is kept
stays: views are visited one after the other in every round, an order in which evicting the oldest would
leave nothing to be found, and an edit that is resumed finds what it would have found without the break.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import fields

from torch import Tensor

from nerf_insert.geometry.cameras import Camera
from nerf_insert.rendering.shaded_samples import Rendered

MAX_PIXELS = 1 << 25


class RenderCache:
    """Renders of whole images by camera; two cameras with equal pose, intrinsics and size are the same."""

    def __init__(self, max_pixels: int = MAX_PIXELS):
        self.max_pixels = max_pixels
        self._renders: dict[Hashable, Rendered] = {}
        self._pixels = 0

    def __len__(self) -> int:
        return len(self._renders)

    def get(self, camera: Camera) -> Rendered | None:
        """Return the render kept for a camera equal to this one, None if there is none."""
        return self._renders.get(camera_key(camera))

    def put(self, camera: Camera, rendered: Rendered) -> None:
        """Keep a render of [H, W] pixels if it fits; a render that is kept already stays."""
        key, pixels = camera_key(camera), camera.width * camera.height
        if key not in self._renders and self._pixels + pixels <= self.max_pixels:
            self._renders[key] = rendered
            self._pixels += pixels


def camera_key(camera: Camera) -> Hashable:
    """Return a key that equal cameras share: their fields, tensors by dtype and bytes."""
    values = (getattr(camera, field.name) for field in fields(camera))
    return tuple(
        (str(value.dtype), value.detach().cpu().numpy().tobytes()) if isinstance(value, Tensor) else value
        for value in values
    )
