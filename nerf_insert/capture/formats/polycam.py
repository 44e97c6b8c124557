"""Polycam's raw data: keyframes/, one JSON file a photograph. nerfstudio's z-up coordinates."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from nerf_insert.capture.formats.content import Content, files_in, frame, numbers, photographs_in
from nerf_insert.errors import InputError
from nerf_insert.io.files import read_json

# Polycam's own optimized cameras first, then ARKit's
CAMERAS = (("corrected_cameras", "corrected_images"), ("cameras", "images"))
Z_UP = [2, 0, 1]  # rows of ARKit's y-up coordinates, as nerfstudio takes them
LENS = {"fl_x": "fx", "fl_y": "fy", "cx": "cx", "cy": "cy", "w": "width", "h": "height"}


def find(folder: Path) -> Path | None:
    """Return the folder of the cameras."""
    for home in (folder / "keyframes", folder):
        for cameras, images in CAMERAS:
            if files_in(home / cameras, "*.json") and (home / images).is_dir():
                return home / cameras
    return None


def read(cameras: Path, folder: Path) -> Content:
    """Read all keyframes.

    Raises:
        InputError: A file is damaged.
    """
    images = cameras.parent / dict(CAMERAS)[cameras.name]
    by_stem = {path.stem: path for path in photographs_in(images)}
    frames = []
    for file in files_in(cameras, "*.json"):
        data = read_json(file)
        if not isinstance(data, dict) or not {"t_00", "t_23", *LENS.values()} <= set(data):
            raise InputError(f"{file} is not a camera of Polycam: it lacks t_00 to t_23, fx, fy, cx, cy")
        rows = numbers([data.get(f"t_{i}{j}") for i in range(3) for j in range(4)], 12, f"the pose in {file}")
        pose = np.eye(4)
        pose[:3] = rows.reshape(3, 4)[Z_UP]
        lens = {ours: data[theirs] for ours, theirs in LENS.items()}
        path = by_stem.get(file.stem, images / f"{file.stem}.jpg")
        frames.append(frame(path.relative_to(folder).as_posix(), pose, lens))
    return Content({"frames": frames}, folder, cameras)
