"""Clicks on photographs as points in space. World coordinates and units."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from nerf_insert.capture.capture import Capture
from nerf_insert.capture.view import View
from nerf_insert.errors import InputError
from nerf_insert.io.images import image_size
from nerf_insert.rendering.depth_view import Renderer

MIN_VIEWS = 3  # training photographs that have to show a point
MIN_OPACITY = 0.5  # of what is at a click
FAR = 8.0  # times the cameras' extent: what lies beyond shows no parallax
PATCH = 1  # pixels to each side of a click whose depth counts


@dataclass(frozen=True, eq=False)
class Click:
    """A pixel of a photograph, and the point of the scene that it shows."""

    view: View
    pixel: tuple[float, float]  # (x, y) of the photograph as it is stored
    point: Float[Tensor, " 3"]  # world coordinates
    distance: float  # of the point from the camera, world units

    @property
    def label(self) -> str:
        """What messages call the click."""
        return f"{self.view.name}={self.pixel[0]:g},{self.pixel[1]:g}"


def locate(
    scene: Renderer, capture: Capture, points: Mapping[str, Sequence[tuple[float, float]]]
) -> list[Click]:
    """Return where in space clicks lie.

    Args:
        scene: The trained scene.
        capture: The photographs.
        points: Pixels (x, y) of photographs as they are stored, by the photographs' names.

    Raises:
        InputError: A photograph is unknown or was not trained on, a pixel lies outside it, or shows nothing
            that the scene knows in space.
    """
    return [
        _locate(scene, capture, _training_view(capture, name), pixel)
        for name, pixels in points.items()
        for pixel in pixels
    ]


def _training_view(capture: Capture, name: str) -> View:
    view = capture.view(name)
    if view.name not in {trained.name for trained in capture.train}:
        near = min(capture.train, key=lambda other: float((other.camera.center - view.camera.center).norm()))
        raise InputError(
            f"the scene was not trained on {view.name}, a test photograph: click on a training photograph, "
            f"such as {near.name}, which was taken near it"
        )
    return view


def _locate(scene: Renderer, capture: Capture, view: View, pixel: tuple[float, float]) -> Click:
    width, height = image_size(view.path)
    x, y = pixel
    label = f"the click {view.name}={x:g},{y:g}"
    if not (0 <= x < width and 0 <= y < height):
        raise InputError(
            f"{label} lies outside the photograph, which is {width}x{height} pixels: x goes from 0 to "
            f"{width - 1}, y from 0 to {height - 1}"
        )
    at = torch.tensor([x * view.camera.width / width, y * view.camera.height / height])
    steps = torch.arange(-PATCH, PATCH + 1).float()
    around = torch.stack(torch.meshgrid(steps, steps, indexing="xy"), -1).reshape(-1, 2)
    rays = view.camera.rays_through(at + around)
    rendered = scene.render(rays)
    middle = len(around) // 2
    seen = rendered.depth.isfinite() & (rendered.accumulation > MIN_OPACITY)
    if not bool(seen[middle]) or int(seen.sum()) * 2 < len(around):
        raise InputError(
            f"{label} shows nothing solid (the sky, or a part of the scene that was not reconstructed): "
            "click on the thing itself"
        )
    distance = float(rendered.depth[seen].median())
    point = rays.at(torch.full((rays.count,), distance))[middle]
    centers = torch.stack([trained.camera.center for trained in capture.train])
    extent = float((centers - centers.mean(0)).norm(dim=-1).max())
    shown = sum(bool(trained.camera.project(point[None]).inside) for trained in capture.train)
    if distance > FAR * extent or shown < MIN_VIEWS:
        raise InputError(
            f"{label} is far in the background (the sky, or what only {shown} of {len(capture.train)} "
            "photographs show): click on something that was photographed from several sides"
        )
    return Click(view, pixel, point, distance)
