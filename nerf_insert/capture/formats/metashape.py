"""Agisoft Metashape's cameras (File, Export, Export Cameras: Agisoft XML), in its local coordinates.

Where the chunk has a transform, poses are in the coordinates that it leads to, those of an exported mesh.
Manual, appendix C: https://www.agisoft.com/pdf/metashape-pro_2_1_en.pdf
"""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from nerf_insert.capture.formats.content import (
    OPENCV_TO_OPENGL,
    Content,
    beginning,
    files_in,
    frame,
    matrix,
    numbers,
)
from nerf_insert.errors import InputError

MODELS = {"frame": "OPENCV", "fisheye": "OPENCV_FISHEYE"}
LARGEST = 256 << 20  # bytes


def find(folder: Path) -> Path | None:
    """Return the first XML file of a folder that lists Metashape's cameras."""
    for file in files_in(folder, "*.xml"):
        head = beginning(file, 2000)
        if b"<document" in head and b"<chunk" in head:
            return file
    return None


def read(file: Path, folder: Path) -> Content:
    """Read all aligned cameras.

    Raises:
        InputError: The file is damaged, holds no calibrated sensor, or one of a kind that cannot be used.
    """
    chunk = parse(file).find("chunk")
    if chunk is None:
        raise InputError(f"{file} has no chunk: export the cameras from Metashape again (Agisoft XML)")
    sensors = {sensor.get("id"): sensor for sensor in chunk.iter("sensor")}
    outer = transform_of(chunk.find("transform"), f"the chunk's transform in {file}")
    inner = {
        component.get("id"): transform_of(component.find("transform"), f"a component's transform in {file}")
        for component in chunk.iter("component")
    }
    frames, skipped = [], []
    for camera in chunk.iter("camera"):
        label = camera.get("label") or ""
        pose, sensor = camera.find("transform"), sensors.get(camera.get("sensor_id"))
        if pose is None or not pose.text or sensor is None:
            skipped.append(label)  # not aligned
            continue
        c2w = numbers(pose.text.split(), 16, f"the pose of {label} in {file}").reshape(4, 4)
        scale, placed = inner.get(camera.get("component_id")) or outer
        c2w = matrix(placed[:3, :3] @ c2w[:3, :3], scale * placed[:3, :3] @ c2w[:3, 3] + placed[:3, 3])
        frames.append(frame(label, c2w @ OPENCV_TO_OPENGL, lens_of(sensor, file)))
    notes = [f"{len(skipped)} photographs were not aligned in Metashape and are left out"] if skipped else []
    return Content({"frames": frames}, folder, file, notes)


def parse(file: Path) -> ElementTree.Element:
    """Parse the file. Python's parser expands no external entities; declared ones are refused.

    Raises:
        InputError: It is no XML, or too large.
    """
    if file.stat().st_size > LARGEST:
        raise InputError(f"{file} is larger than {LARGEST >> 20} MB: export the cameras alone")
    data = file.read_bytes()
    if b"<!ENTITY" in data:
        raise InputError(f"{file} declares entities, which Metashape does not write: it is not read")
    try:
        return ElementTree.fromstring(data)
    except ElementTree.ParseError as error:
        raise InputError(f"{file} is not valid XML ({error}): export the cameras again") from None


def transform_of(element: ElementTree.Element | None, what: str) -> tuple[float, np.ndarray]:
    """Return scale and rigid part [4, 4] of a transform; the identity where there is none."""
    placed, scale = np.eye(4), 1.0
    if element is None:
        return scale, placed
    for name, count in (("rotation", 9), ("translation", 3), ("scale", 1)):
        text = element.findtext(name)
        if text:
            values = numbers(text.split(), count, what)
            if name == "rotation":
                placed[:3, :3] = values.reshape(3, 3)
            elif name == "translation":
                placed[:3, 3] = values
            else:
                scale = float(values[0])
    return scale, placed


def lens_of(sensor: ElementTree.Element, file: Path) -> dict[str, float | str]:
    """Return the intrinsics of a sensor: the adjusted ones, else those it began with."""
    kind = sensor.get("type") or "frame"
    if kind not in MODELS:
        raise InputError(
            f"{file} has a sensor of the type {kind}; these can be used: {', '.join(MODELS)}. Undistort the "
            "photographs in Metashape (Export, Convert Images)"
        )
    found = {c.get("class"): c for c in sensor.findall("calibration")}
    calibration, size = found.get("adjusted"), sensor.find("resolution")
    if calibration is None:
        calibration = next(iter(found.values()), None)
    if calibration is None or size is None or not calibration.findtext("f"):
        raise InputError(
            f"{file} has a sensor without calibration ({sensor.get('label')}): align the photographs"
        )

    def value(name: str) -> float:
        return float(numbers([calibration.findtext(name) or 0], 1, f"{name} in {file}")[0])

    width, height = numbers([size.get("width"), size.get("height")], 2, f"the resolution in {file}")
    focal, skew = value("f"), value("b1")
    lens = {
        "fl_x": focal + skew,
        "fl_y": focal,
        "cx": width / 2 + value("cx"),
        "cy": height / 2 + value("cy"),
    }
    radial = {name: value(name) for name in ("k1", "k2", "k3", "k4")}
    # Metashape's p1 belongs to r^2 + 2 x^2, which OpenCV and nerfstudio call p2
    tangential = {"p1": value("p2"), "p2": value("p1")}
    return {**lens, **radial, **tangential, "w": width, "h": height, "camera_model": MODELS[kind]}
