"""One photograph of a capture, with its camera. H and W are the image's size in pixels."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from nerf_insert.geometry.cameras import Camera
from nerf_insert.io.images import image_size, orient, read_image, read_kept, resize


@dataclass(frozen=True)
class View:
    """A photograph and its camera. Images are read when they are asked for, and not kept."""

    name: str  # the frame's file_path as written in the capture
    path: Path
    camera: Camera
    mask_path: Path | None = None
    # sRGB, shows through where a photograph is transparent
    background: tuple[float, float, float] = (1.0, 1.0, 1.0)
    orientation: int = 1  # EXIF's, applied to the file's pixels: camera and images are those of the result
    stored_orientation: int = 1  # EXIF's, not applied: how people see the photograph turned
    mask_marks_ignored: bool = False  # the mask's polarity is instant-ngp's

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of the camera, and of the images unless another size is asked for."""
        return self.camera.width, self.camera.height

    def as_taken(self) -> View:
        """Return the view whose photograph is the one that was taken, without edits in it."""
        return self

    @cached_property
    def full_size(self) -> tuple[int, int]:
        """(width, height) of the photograph in the file, turned by `orientation`.

        Raises:
            InputError: The file is missing or unreadable.
        """
        width, height = image_size(self.path)
        return (height, width) if self.orientation >= 5 else (width, height)

    def photograph(self, size: tuple[int, int] | None = None) -> Float[Tensor, "H W 3"]:
        """Read the photograph: sRGB in 0..1, composited over `background`.

        Raises:
            InputError: The file is missing or unreadable.
        """
        color, alpha = read_image(self.path, self.orientation)
        if alpha is not None:
            color = color * alpha[..., None] + torch.tensor(self.background) * (1 - alpha[..., None])
        return resize(color, size or self.size)

    def alpha(self, size: tuple[int, int] | None = None) -> Float[Tensor, "H W"] | None:
        """Read the photograph's opacity in 0..1, None where all of it is opaque.

        Raises:
            InputError: The file is missing or unreadable.
        """
        alpha = read_image(self.path, self.orientation)[1]
        return None if alpha is None or bool((alpha == 1).all()) else resize(alpha, size or self.size)

    def valid(self, size: tuple[int, int] | None = None) -> Bool[Tensor, "H W"] | None:
        """Read which pixels the capture's mask leaves in (zero = ignored), None where there is no mask.

        In a smaller size a pixel is valid if all pixels that it covers are.

        Raises:
            InputError: The mask is missing or unreadable.
        """
        if self.mask_path is None:
            return None
        kept = read_kept(self.mask_path)
        if kept.shape != self.full_size[::-1]:  # painted on the photograph as it is stored
            kept = orient(kept, self.orientation)
        ignored = torch.from_numpy(kept == self.mask_marks_ignored).float()
        return resize(ignored, size or self.size) < 1e-3
