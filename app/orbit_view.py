"""The 3D view: a camera on an orbit around a point, rendered at any size.

Angles are in degrees: `yaw` turns about the scene's up axis, `pitch` lifts the camera above the plane across
it. `distance` is in units of the photographs' mean distance from the point they look at. Cameras have OpenGL
axes in world coordinates.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from nerf_insert.app.scene_cache import RENDER_LOCK, OpenScene, image_data_url
from nerf_insert.capture.camera_paths import look_at
from nerf_insert.geometry.cameras import Camera
from nerf_insert.rendering.outputs import depth_preview
from nerf_insert.rendering.stack import LayerStack

ASPECT = 4 / 3
FOV = 50.0  # degrees, vertical
MAX_PITCH = 89.0
DISTANCES = (0.05, 20.0)
MIN_WIDTH, MAX_WIDTH = 16, 960  # pixels
UPRIGHT = 0.97  # cosine above which the cameras' mean up is taken to be a world axis


@dataclass(frozen=True)
class Orbit:
    """A camera's position around `target`, in world coordinates; None: the point the photographs look at."""

    yaw: float = 35.0
    pitch: float = 30.0
    distance: float = 1.0
    target: tuple[float, float, float] | None = None

    @staticmethod
    def parse(data: Mapping[str, Any]) -> Orbit:
        """Parse what a browser sends; missing, wrong and extreme values are replaced."""
        target = data.get("target")
        if isinstance(target, list) and len(target) == 3:
            x, y, z = (_number(value, 0.0) for value in target)
            target = (x, y, z)
        else:
            target = None
        return Orbit(
            yaw=_number(data.get("yaw"), Orbit.yaw) % 360,
            pitch=_clamp(_number(data.get("pitch"), Orbit.pitch), -MAX_PITCH, MAX_PITCH),
            distance=_clamp(_number(data.get("distance"), Orbit.distance), *DISTANCES),
            target=target,
        )


@dataclass(frozen=True)
class OrbitRender:
    """An image as a data URL, the depth along its rays in world units, and the seconds it took."""

    url: str
    depth: Float[Tensor, "H W"]
    seconds: float


def scene_up(open_scene: OpenScene) -> Float[Tensor, "3"]:
    """Return the scene's up direction: the world axis close to the cameras' mean up, else that mean."""
    up = open_scene.capture.up
    axis = int(up.abs().argmax())
    if float(up[axis].abs()) < UPRIGHT:
        return up
    exact = torch.zeros(3)
    exact[axis] = up[axis].sign()
    return exact


def scene_radius(open_scene: OpenScene) -> float:
    """Return the photographs' mean distance from the point they look at, in world units."""
    center = open_scene.capture.center_of_attention
    return float(torch.stack([(v.camera.center - center).norm() for v in open_scene.capture.views]).mean())


def orbit_camera(open_scene: OpenScene, orbit: Orbit, width: int) -> Camera:
    """Return the camera of an orbit for an image `width` pixels wide."""
    up, target = scene_up(open_scene), open_scene.capture.center_of_attention
    if orbit.target is not None:
        target = torch.tensor(orbit.target)
    side = torch.zeros(3)
    side[int(up.abs().argmin())] = 1.0
    side = torch.nn.functional.normalize(side - up * (side @ up), dim=0)
    forward = torch.linalg.cross(up, side)
    yaw, pitch = math.radians(orbit.yaw), math.radians(orbit.pitch)
    level = side * math.cos(yaw) + forward * math.sin(yaw)
    away = level * math.cos(pitch) + up * math.sin(pitch)
    eye = target + away * (orbit.distance * scene_radius(open_scene))
    width = int(_clamp(width, MIN_WIDTH, MAX_WIDTH))
    height = round(width / ASPECT)
    focal = height / 2 / math.tan(math.radians(FOV) / 2)
    return Camera(look_at(eye, target, up).float(), focal, focal, width / 2, height / 2, width, height)


def orbit_at_view(open_scene: OpenScene, camera: Camera) -> Orbit:
    """Return the orbit that looks from the position of a photograph's camera."""
    target = open_scene.capture.center_of_attention
    up = scene_up(open_scene)
    away = camera.center - target
    distance = float(away.norm())
    start = orbit_camera(open_scene, Orbit(yaw=0, pitch=0), MIN_WIDTH).center - target
    side = torch.nn.functional.normalize(start, dim=0)
    forward = torch.linalg.cross(up, side)
    yaw = math.degrees(math.atan2(float(away @ forward), float(away @ side)))
    pitch = math.degrees(math.asin(_clamp(float(away @ up) / max(distance, 1e-9), -1.0, 1.0)))
    return Orbit(yaw % 360, _clamp(pitch, -MAX_PITCH, MAX_PITCH), distance / scene_radius(open_scene))


def render(
    open_scene: OpenScene, camera: Camera, what: str = "edited", wanted: Callable[[], bool] = lambda: True
) -> OrbitRender | None:
    """Render the scene from a camera.

    Args:
        open_scene: The scene.
        camera: The camera, in world coordinates.
        what: "edited", "before" (without layers) or "depth".
        wanted: Called between chunks of rays; False ends the render.

    Returns:
        The image, or None if it was no longer wanted.

    Raises:
        InputError: The scene is not trained yet.
    """
    stack = open_scene.stack()
    if what == "before":
        stack = LayerStack(stack.base)
    rays, parts, size = camera.rays(), [], stack.options.rays_per_batch
    began = time.monotonic()
    for start in range(0, rays.count, size):  # lets other renders in between
        if not wanted():
            return None
        with RENDER_LOCK:
            parts.append(stack.render(rays[start : start + size]))
    seconds = time.monotonic() - began
    depth = torch.cat([part.depth for part in parts]).view(camera.height, camera.width)
    if what == "depth":
        return OrbitRender(image_data_url(depth_preview(depth)), depth, seconds)
    rgb = torch.cat([part.rgb for part in parts]).view(camera.height, camera.width, 3)
    return OrbitRender(image_data_url(rgb), depth, seconds)


def _clamp(value: float, low: float, high: float) -> float:
    return min(max(value, low), high)


def _number(value: Any, default: float) -> float:
    try:
        value = float(value)
    except (TypeError, ValueError):
        return default
    return value if math.isfinite(value) else default
