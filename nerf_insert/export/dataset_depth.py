"""Depth files of a capture, with the edits in them.

nerfstudio's form: 16-bit PNG or NumPy arrays in thousandths of a world unit, measured along the camera's axis
(z), which `depth_file_path` of a frame names. Their size may differ from the photograph's. Zero is unknown.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from PIL import Image
from torch import Tensor

from nerf_insert.errors import warn
from nerf_insert.geometry.cameras import Camera
from nerf_insert.io.decoding import UNREADABLE
from nerf_insert.io.files import atomic_write, read_json

UNIT = 1e-3  # world units of a step, nerfstudio's default
KINDS = (".png", ".npy")
LARGEST = 65535
DISAGREEMENT = 1.5  # factor between the capture's depth and the scene's from which the unit is in doubt


def depth_files(file: Path) -> dict[str, Path]:
    """Return the depth files that a transforms.json names, by the photographs' file_path.

    Args:
        file: The transforms.json; it need not exist.
    """
    if not file.is_file():
        return {}
    data: Any = read_json(file)
    frames = data.get("frames") if isinstance(data, dict) else None
    found = {}
    for frame in frames if isinstance(frames, list) else ():
        name, depth = (
            frame.get(key) if isinstance(frame, dict) else None for key in ("file_path", "depth_file_path")
        )
        if isinstance(name, str) and isinstance(depth, str):
            found[name] = file.parent / depth.replace("\\", "/")
    return found


def edited_depth(
    source: Path,
    camera: Camera,
    mask: Bool[Tensor, "H W"],
    after: Float[Tensor, " P"],
    before: Float[Tensor, " P"],
) -> bytes | None:
    """Return the content of a depth file with the edit in it; None if it cannot be edited, which is said.

    Args:
        source: The capture's depth file.
        camera: The photograph's camera.
        mask: The P pixels in which the edits change the surface that is seen.
        after: The distance along each of their rays in the edited scene, world units; infinity: nothing.
        before: The same without the edits.
    """
    try:
        values = _read(source)
    except (*UNREADABLE, FileNotFoundError) as error:
        warn(f"the depth file {source} cannot be read ({error}): it is left out of the dataset")
        return None
    if not mask.any():
        return source.read_bytes()
    along = (camera.rays().directions @ -camera.c2w[:, 2]).view(mask.shape)[mask]  # z per unit of distance
    steps, known = (_image(mask, distance * along / UNIT, values.shape) for distance in (after, before))
    inside = ~np.isnan(steps)
    both = inside & np.isfinite(known) & (values > 0)
    if both.any():
        factor = float(np.median(known[both] / values[both]))
        if not 1 / DISAGREEMENT < factor < DISAGREEMENT:
            warn(
                "the depth files of the capture are not in thousandths of a world unit, as nerfstudio takes "
                f"them by default: the values of {source.name} times {factor:.3g} would be; the edits are "
                "written in the unit of the files"
            )
            steps = steps / factor
    steps = np.where(np.isfinite(steps), steps, 0)  # nothing is there: unknown
    edited = np.where(inside, steps, values)
    if source.suffix.lower() == ".npy":
        buffer = io.BytesIO()
        np.save(buffer, edited.astype(np.float32))
        return buffer.getvalue()
    buffer = io.BytesIO()
    Image.fromarray(edited.round().clip(0, LARGEST).astype(np.uint16)).save(buffer, "PNG")
    return buffer.getvalue()


def write_depth(folder: Path, stem: str, source: Path, content: bytes) -> str:
    """Write a depth file below a dataset's folder and return its path there.

    Raises:
        RunError: The file cannot be written.
    """
    name = f"depths/{stem}{source.suffix.lower()}"
    atomic_write(folder / name, content)
    return name


def _read(source: Path) -> np.ndarray:
    """The values of a depth file, float64 [h, w]."""
    if source.suffix.lower() == ".npy":
        values = np.load(source, allow_pickle=False)
    elif source.suffix.lower() == ".png":
        with Image.open(source, formats=("PNG",)) as image:
            values = np.asarray(image)
    else:
        raise ValueError(f"its kind is not one of {', '.join(KINDS)}")
    values = np.squeeze(values)
    if values.ndim != 2 or values.dtype.kind not in "uif":
        raise ValueError("it is no image of one channel")
    return np.nan_to_num(values.astype(np.float64), posinf=0, neginf=0)


def _image(mask: Tensor, values: Tensor, shape: tuple[int, ...]) -> np.ndarray:
    """Values of the mask's pixels as an image of another size, the nearest pixel's; NaN outside the mask."""
    image = torch.full(mask.shape, float("nan"), dtype=torch.float64)
    image[mask] = values.double()
    rows, columns = (
        ((np.arange(new) + 0.5) * old / new).astype(int) for new, old in zip(shape, mask.shape, strict=True)
    )
    return image.numpy()[rows[:, None], columns[None]]
