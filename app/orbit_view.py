"""The view that can be orbited: a camera around a point, renders at whatever size is quick enough.

Angles are in degrees. `yaw` turns around the scene's up, `pitch` lifts the camera above the plane across
it, `distance` is in units of the photographs' mean distance from what they look at.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from nerf_insert.app.scene_cache import RENDERING, OpenScene, data_url
from nerf_insert.capture.camera_paths import look_at
from nerf_insert.geometry.cameras import Camera
from nerf_insert.rendering.outputs import depth_preview
from nerf_insert.rendering.shaded_samples import Rendered
from nerf_insert.rendering.stack import LayerStack

ASPECT = 4 / 3
FOV = 50.0  # degrees, vertical
STEEPEST = 89.0
WIDEST = 960  # pixels
UPRIGHT = 0.97  # cosine from which the cameras' mean up counts as one of the world's axes


@dataclass(frozen=True)
class Orbit:
    yaw: float = 35.0
    pitch: float = 30.0
    distance: float = 1.0
    target: tuple[float, float, float] | None = None  # world coordinates; None: what the photographs look at

    @staticmethod
    def of(data: dict[str, Any]) -> Orbit:
        """From what a browser sends, which may be anything."""
        target = data.get("target")
        return Orbit(
            yaw=_number(data.get("yaw"), 35.0) % 360,
            pitch=min(max(_number(data.get("pitch"), 30.0), -STEEPEST), STEEPEST),
            distance=min(max(_number(data.get("distance"), 1.0), 0.05), 20.0),
            target=tuple(_number(v, 0.0) for v in target)
            if isinstance(target, list) and len(target) == 3
            else None,
        )


def up_of(opened: OpenScene) -> Float[Tensor, "3"]:
    """The scene's up: the world axis that the cameras' mean up is near to, else that mean."""
    up = opened.capture.up
    axis = int(up.abs().argmax())
    if float(up[axis].abs()) < UPRIGHT:
        return up
    exact = torch.zeros(3)
    exact[axis] = up[axis].sign()
    return exact


def radius_of(opened: OpenScene) -> float:
    center = opened.capture.center_of_attention
    return float(torch.stack([(v.camera.center - center).norm() for v in opened.capture.views]).mean())


def target_of(opened: OpenScene, orbit: Orbit) -> Float[Tensor, "3"]:
    return opened.capture.center_of_attention if orbit.target is None else torch.tensor(orbit.target)


def camera_of(opened: OpenScene, orbit: Orbit, width: int) -> Camera:
    """The orbit's camera with a picture `width` pixels wide."""
    up, target = up_of(opened), target_of(opened, orbit)
    side = torch.zeros(3)
    side[int(up.abs().argmin())] = 1.0
    side = torch.nn.functional.normalize(side - up * (side @ up), dim=0)
    forward = torch.linalg.cross(up, side)
    yaw, pitch = math.radians(orbit.yaw), math.radians(orbit.pitch)
    level = side * math.cos(yaw) + forward * math.sin(yaw)
    away = level * math.cos(pitch) + up * math.sin(pitch)
    eye = target + away * (orbit.distance * radius_of(opened))
    width = int(min(max(width, 16), WIDEST))
    height = round(width / ASPECT)
    focal = height / 2 / math.tan(math.radians(FOV) / 2)
    return Camera(look_at(eye, target, up).float(), focal, focal, width / 2, height / 2, width, height)


def near_view(opened: OpenScene, camera: Camera) -> Orbit:
    """The orbit that looks from about where a photograph was taken."""
    target = opened.capture.center_of_attention
    up = up_of(opened)
    away = camera.center - target
    distance = float(away.norm())
    start = camera_of(opened, Orbit(yaw=0, pitch=0), 16).center - target
    side = torch.nn.functional.normalize(start, dim=0)
    forward = torch.linalg.cross(up, side)
    yaw = math.degrees(math.atan2(float(away @ forward), float(away @ side)))
    pitch = math.degrees(math.asin(max(-1.0, min(1.0, float(away @ up) / max(distance, 1e-9)))))
    return Orbit(yaw % 360, max(-STEEPEST, min(STEEPEST, pitch)), distance / radius_of(opened))


def render(
    opened: OpenScene, camera: Camera, what: str = "edited", wanted: Callable[[], bool] = lambda: True
) -> tuple[str, Rendered, float] | None:
    """(data URL, the render, seconds); None as soon as it is not `wanted` any more. `what`: edited, before
    (without layers) or depth."""
    stack = opened.stack()
    if what == "before":
        stack = LayerStack(stack.base)
    rays, parts, size = camera.rays(), [], stack.options.rays_per_batch
    began = time.monotonic()
    for start in range(0, rays.count, size):  # others get their turn in between
        if not wanted():
            return None
        with RENDERING:
            parts.append(stack.render(rays[start : start + size]))
    seconds = time.monotonic() - began
    flat = Rendered(*(torch.cat(column) for column in zip(*parts, strict=True)))
    rendered = Rendered(*(c.view(camera.height, camera.width, *c.shape[1:]) for c in flat))
    picture = depth_preview(rendered.depth) if what == "depth" else rendered.rgb
    return data_url(picture), rendered, seconds


def _number(value: Any, otherwise: float) -> float:
    try:
        value = float(value)
    except (TypeError, ValueError):
        return otherwise
    return value if math.isfinite(value) else otherwise
