"""What a transforms.json says of a camera."""

from __future__ import annotations

from nerf_insert.capture.transforms_json import LENS
from nerf_insert.geometry.cameras import Camera

CAMERA_MODELS = {"PERSPECTIVE": "OPENCV", "FISHEYE": "OPENCV_FISHEYE", "EQUIRECTANGULAR": "EQUIRECTANGULAR"}


def camera_fields(camera: Camera) -> dict[str, float]:
    """Return a frame's intrinsics in transforms.json, in pixels of its image."""
    size = {"fl_x": camera.fx, "fl_y": camera.fy, "cx": camera.cx, "cy": camera.cy}
    lens = dict(zip(LENS, camera.distortion, strict=True)) if any(camera.distortion) else {}
    return {**size, "w": camera.width, "h": camera.height, **lens}
