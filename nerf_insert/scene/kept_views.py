"""base/views.json: the cameras and the split that an imported base was trained with."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from nerf_insert.errors import InputError
from nerf_insert.io.files import read_json, write_json

if TYPE_CHECKING:
    from nerf_insert.capture.capture import Capture

FILE = "base/views.json"


def write(file: Path, capture: Capture) -> None:
    """Write the cameras and the split of a capture.

    Raises:
        RunError: The file cannot be written.
    """
    poses = {view.name: view.camera.c2w.tolist() for view in capture.views}
    split = {part: [view.name for view in getattr(capture, part)] for part in ("train", "test")}
    write_json(file, {**split, "poses": poses})


def apply(capture: Capture, file: Path) -> Capture:
    """Return the capture with the cameras and the split of the file.

    Raises:
        InputError: The file is damaged, or not of this capture.
    """
    import torch

    data = read_json(file)
    try:
        poses = {name: torch.tensor(pose).float().view(3, 4) for name, pose in data["poses"].items()}
        return capture.adjusted(poses, data["train"], data["test"])
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as cause:
        raise InputError(f"{file} is damaged: {cause!r}") from None
