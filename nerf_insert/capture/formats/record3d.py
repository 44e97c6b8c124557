"""Record3D's export: metadata.json with a pose for each of rgb/0.jpg, rgb/1.jpg, ..."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from nerf_insert.capture.formats.content import Content, frame, matrix, numbers, photographs_in, rotation_of
from nerf_insert.capture.photo_files import natural_key
from nerf_insert.errors import InputError
from nerf_insert.io.files import read_json

IMAGES = ("rgb", "rgbd", "images")


def find(folder: Path) -> Path | None:
    """Return the metadata.json of a folder, if it is Record3D's; many programs write a file of this name."""
    for home in (folder, folder / "EXR_RGBD"):
        file = home / "metadata.json"
        if file.is_file():
            try:
                data = read_json(file)
            except InputError:
                if (home / IMAGES[0]).is_dir():
                    return file  # reading it says what is wrong
                continue
            if isinstance(data, dict) and {"poses", "K"} <= set(data):
                return file
    return None


def read(file: Path, folder: Path) -> Content:
    """Read all poses: quaternion x, y, z, w and position, ARKit's axes (OpenGL's).

    Raises:
        InputError: The file is damaged, or there are no photographs.
    """
    data = read_json(file)
    photographs = next((p for name in IMAGES if (p := photographs_in(file.parent / name))), [])
    photographs = sorted(photographs, key=natural_key)
    if not photographs:
        raise InputError(f"there are no photographs beside {file}: they are expected in {', '.join(IMAGES)}")
    poses = np.stack([numbers(p, 7, f"pose {k} in {file}") for k, p in enumerate(data["poses"])])
    if len(poses) < len(photographs):
        raise InputError(f"{file} has {len(poses)} poses for {len(photographs)} photographs: export it again")
    columns = numbers(data["K"], 9, f"K in {file}").reshape(3, 3)  # column by column
    shared = {"fl_x": columns[0, 0], "fl_y": columns[1, 1], "cx": columns[2, 0], "cy": columns[2, 1]}
    own = data.get("perFrameIntrinsicCoeffs") or []
    frames = []
    for index, path in enumerate(photographs):
        number = int(path.stem) if path.stem.isdigit() and int(path.stem) < len(poses) else index
        lens: dict[str, Any] = dict(shared)
        if number < len(own):
            values = numbers(own[number][:4], 4, f"the intrinsics {number} in {file}")
            lens |= dict(zip(("fl_x", "fl_y", "cx", "cy"), values.tolist(), strict=True))
        if "w" in data and "h" in data:
            lens |= {"w": data["w"], "h": data["h"]}
        rotation = rotation_of(poses[number, :4], f"the pose of {path.name} in {file}")
        pose = matrix(rotation, poses[number, 4:])
        frames.append(frame(path.relative_to(folder).as_posix(), pose, lens))
    return Content({"frames": frames}, folder, file)
