"""OpenDroneMap's and OpenSfM's reconstruction.json, in its own z-up coordinates.

https://opensfm.org/docs/geometry.html: lengths are in units of the photograph's longer side.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nerf_insert.capture.formats.content import OPENCV_TO_OPENGL, Content, frame, matrix, numbers
from nerf_insert.errors import InputError
from nerf_insert.io.files import read_json

PLACES = ("reconstruction.json", "opensfm/reconstruction.json")
MODELS = {
    "perspective": "OPENCV",
    "simple_radial": "OPENCV",
    "radial": "OPENCV",
    "brown": "OPENCV",
    "fisheye": "OPENCV_FISHEYE",
    "fisheye_opencv": "OPENCV_FISHEYE",
}


def find(folder: Path) -> Path | None:
    """Return the reconstruction.json of a folder."""
    return next((folder / place for place in PLACES if (folder / place).is_file()), None)


def read(file: Path, folder: Path) -> Content:
    """Read the reconstruction with the most photographs.

    Raises:
        InputError: The file is damaged, or has a camera that cannot be used.
    """
    from scipy.spatial.transform import Rotation

    data = read_json(file)
    parts = [part for part in data if isinstance(part, dict)] if isinstance(data, list) else []
    if not parts:
        raise InputError(f"{file} is not a reconstruction of OpenDroneMap or OpenSfM")
    best = max(parts, key=lambda part: len(part.get("shots", {})))
    try:
        cameras = {name: lens_of(entry, name, file) for name, entry in best["cameras"].items()}
        frames = []
        for name, shot in best["shots"].items():
            rotation = Rotation.from_rotvec(numbers(shot["rotation"], 3, f"the rotation of {name} in {file}"))
            to_camera = rotation.as_matrix()
            shift = numbers(shot["translation"], 3, f"the translation of {name} in {file}")
            c2w = matrix(to_camera.T, -to_camera.T @ shift) @ OPENCV_TO_OPENGL
            frames.append(frame(name, c2w, cameras[shot["camera"]]))
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{file} is not a reconstruction, or is damaged: {error!r}") from None
    notes = []
    if len(parts) > 1:
        notes = [
            f"{file.name} holds {len(parts)} reconstructions: read was that with {len(frames)} photographs"
        ]
    return Content({"frames": frames}, folder, file, notes)


def lens_of(entry: dict[str, Any], name: str, file: Path) -> dict[str, Any]:
    """Return the intrinsics of a camera in pixels."""
    kind = entry.get("projection_type", "perspective")
    if kind not in MODELS:
        raise InputError(f"the camera {name} in {file} is {kind}; these can be used: {', '.join(MODELS)}")
    what = f"the camera {name} in {file}"
    width, height = numbers([entry["width"], entry["height"]], 2, what)
    side = max(width, height)
    values = [entry.get(f"focal_{axis}", entry.get("focal")) for axis in "xy"]
    focal = numbers(values, 2, what) * side
    center = numbers([entry.get("c_x", 0), entry.get("c_y", 0)], 2, what) * side
    lens = {key: float(entry[key]) for key in ("k1", "k2", "k3", "k4", "p1", "p2") if key in entry}
    lens |= {"fl_x": focal[0], "fl_y": focal[1], "w": width, "h": height, "camera_model": MODELS[kind]}
    return lens | {"cx": width / 2 + center[0], "cy": height / 2 + center[1]}
