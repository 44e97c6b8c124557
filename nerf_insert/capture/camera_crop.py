"""The crop of a nerfstudio camera path: a box that is shown alone, over a color."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from nerf_insert.capture.transforms_json import number
from nerf_insert.errors import InputError
from nerf_insert.io.files import read_json


@dataclass(frozen=True, eq=False)
class Crop:
    """A box that is shown alone.

    Attributes:
        center: World coordinates, relative to the capture's origin.
        size: The full side lengths, world units.
        rotation: Turns the box's axes into the world's.
        background: sRGB in 0..1, where nothing in the box is seen.
    """

    center: Float[Tensor, " 3"]
    size: Float[Tensor, " 3"]
    rotation: Float[Tensor, "3 3"]
    background: tuple[float, float, float]

    def moved(self, similarity: Float[Tensor, "3 4"]) -> Crop:
        """Return the crop after a similarity [s R | t]."""
        matrix, shift = similarity[:, :3].double(), similarity[:, 3].double()
        scale = torch.linalg.det(matrix) ** (1 / 3)
        center = matrix @ self.center.double() + shift
        rotation = (matrix / scale) @ self.rotation.double()
        return Crop(center.float(), (self.size * scale).float(), rotation.float(), self.background)


def read_crop(path: str | Path, *, origin: Sequence[float] = (0.0, 0.0, 0.0)) -> Crop | None:
    """Read the crop of a camera path, None if it has none.

    nerfstudio's `crop_scale` are full side lengths, `crop_rot` roll, pitch and yaw in radians.

    Args:
        path: The file; its places are taken as world coordinates.
        origin: `Capture.origin` of the scene that is to be rendered.

    Raises:
        InputError: The crop is damaged; the message names the key.
    """
    path = Path(path)
    data = read_json(path) if path.is_file() else {}
    crop = data.get("crop") if isinstance(data, dict) else None
    if crop is None:
        return None
    if not isinstance(crop, dict):
        raise InputError(f"{path}: crop should be an object with crop_center and crop_scale")
    center = _three(crop, "crop_center", "xyz", path)
    size = _three(crop, "crop_scale", "xyz", path)
    if (size <= 0).any():
        raise InputError(f"{path}: crop_scale is {size.tolist()}, its three lengths should be above 0")
    roll, pitch, yaw = _three(crop, "crop_rot", "xyz", path, (0.0, 0.0, 0.0))
    color = _three(crop, "crop_bg_color", "rgb", path, (255.0, 255.0, 255.0)) / 255
    from scipy.spatial.transform import Rotation

    rotation = Rotation.from_euler("xyz", [roll, pitch, yaw]).as_matrix()
    red, green, blue = color.clip(0, 1).tolist()
    return Crop(
        torch.from_numpy(center - np.asarray(origin, dtype=np.float64)).float(),
        torch.from_numpy(size).float(),
        torch.from_numpy(rotation).float(),
        (red, green, blue),
    )


def _three(
    crop: dict[str, Any], key: str, names: str, path: Path, otherwise: Sequence[float] | None = None
) -> np.ndarray:
    """Three numbers under a key, as a list or by their names."""
    value = crop.get(key)
    if value is None and otherwise is not None:
        return np.array(otherwise)
    if isinstance(value, dict):
        value = [value.get(name) for name in names]
    if not isinstance(value, list) or len(value) != 3:
        raise InputError(f"{path}: {key} should be three numbers")
    return np.array([number(item, key, str(path)) for item in value])
