"""Meshroom's (AliceVision's) cameras.sfm, in its own coordinates.

https://github.com/alicevision/AliceVision, src/aliceVision/sfmDataIO/jsonIO.cpp
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from nerf_insert.capture.formats.content import OPENCV_TO_OPENGL, Content, files_in, frame, matrix, numbers
from nerf_insert.errors import InputError
from nerf_insert.io.files import read_json

FISHEYE = ("fisheye", "fisheye4", "equidistant")
RATIO_OF_Y = [1, 2, 5]  # since this version pixelRatio is fl_y / fl_x, before fl_x / fl_y
RADIAL = ("pinhole", "radial1", "radial3", "radialk1", "radialk3", "brown", "")


def find(folder: Path) -> Path | None:
    """Return the .sfm file of a folder that holds poses: of several, the largest."""
    files = files_in(folder, "*.sfm", "*/*.sfm", "MeshroomCache/*/*/*.sfm")
    return max(files, key=lambda file: (file.stat().st_size, file.name), default=None)


def read(file: Path, folder: Path) -> Content:
    """Read all views that have a pose.

    Raises:
        InputError: The file is damaged, holds no poses, or a lens that cannot be used.
    """
    data = read_json(file)
    if not isinstance(data, dict) or not data.get("poses") or not data.get("views"):
        raise InputError(
            f"{file} holds no poses: give the cameras.sfm that Meshroom's StructureFromMotion wrote"
        )
    try:
        version = [int(part) for part in data.get("version", [])]
        intrinsics = {entry["intrinsicId"]: entry for entry in data.get("intrinsics", [])}
        poses = {entry["poseId"]: entry["pose"]["transform"] for entry in data["poses"]}
        frames, skipped = [], 0
        for view in data["views"]:
            transform, lens = poses.get(view["poseId"]), intrinsics.get(view["intrinsicId"])
            if transform is None or lens is None:
                skipped += 1
                continue
            name = str(view["path"])
            # written column by column: world-to-camera, so the rows are camera-to-world
            rotation = numbers(transform["rotation"], 9, f"the rotation of {name} in {file}").reshape(3, 3)
            center = numbers(transform["center"], 3, f"the center of {name} in {file}")
            c2w = matrix(rotation, center) @ OPENCV_TO_OPENGL
            frames.append(frame(name, c2w, lens_of(lens, version, file)))
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{file} is not a file of Meshroom's cameras, or is damaged: {error!r}") from None
    notes = [f"{skipped} photographs have no pose in {file.name} and are left out"] if skipped else []
    return Content({"frames": frames}, folder, file, notes)


def lens_of(entry: dict[str, Any], version: list[int], file: Path) -> dict[str, Any]:
    """Return the intrinsics of an entry, as any version of Meshroom writes them."""
    what = f"the intrinsics {entry['intrinsicId']} in {file}"
    width, height = numbers([entry["width"], entry["height"]], 2, what)
    if entry.get("pxFocalLength") is not None:  # until 2021
        given = entry["pxFocalLength"]
        focal = numbers(given if isinstance(given, list) else [given, given], 2, what)
    else:
        given = [entry[key] for key in ("sensorWidth", "focalLength")] + [entry.get("pixelRatio", 1)]
        sensor, length, ratio = numbers(given, 3, what)
        focal = length * width / sensor * np.array([1, ratio if version >= RATIO_OF_Y else 1 / ratio])
    center = numbers(entry.get("principalPoint", [0, 0]), 2, what)
    if (np.abs(center) < 0.25 * np.array([width, height])).all():  # since 2020 relative to the middle
        center = center + np.array([width, height]) / 2
    kind = str(entry.get("distortionType") or entry.get("type") or "").lower()
    values = [float(v) for v in entry.get("distortionParams") or []]
    if kind == "none" or not any(values):
        kind, values = "pinhole", []
    if kind in FISHEYE:
        model, names = "OPENCV_FISHEYE", ("k1", "k2", "k3", "k4")
    elif kind in RADIAL:
        model, names = "OPENCV", ("k1", "k2", "k3", "p1", "p2")
    else:
        raise InputError(
            f"{file} has a lens of the kind {kind}: export undistorted photographs from Meshroom"
        )
    lens = dict(zip(names, values, strict=False))
    lens |= {"fl_x": focal[0], "fl_y": focal[1], "cx": center[0], "cy": center[1]}
    return {**lens, "w": width, "h": height, "camera_model": model}
