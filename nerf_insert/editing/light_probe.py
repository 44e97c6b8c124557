"""The light at a place of a scene, for people to look at: numbers, and a ball in that light.

World coordinates and units; light is linear.
"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from nerf_insert.capture.capture import Capture
from nerf_insert.capture.placement import place_in_words, up_of
from nerf_insert.capture.view import View
from nerf_insert.errors import InputError
from nerf_insert.geometry.color import linear_to_srgb
from nerf_insert.io.images import contact_sheet, write_image
from nerf_insert.lighting.light import Light, fibonacci_sphere
from nerf_insert.lighting.scene_light import SceneLight, find_light
from nerf_insert.runtime.progress import SILENT, Progress
from nerf_insert.scene.scene import Scene

SIZE = 0.25  # of what stands at the place, in the cameras' median distance, unless given
FAR = 20.0  # sizes from which on a key light counts as far
SURE_GAIN, SURE_DOUBT = 20.0, 8.0  # log likelihood from, degrees up to which a key light is called sure
BALL, BALL_ALBEDO = 200, 0.5  # pixels across; its gray


class Place(NamedTuple):
    """Where light is looked at, and the diagonal of what is assumed to stand there."""

    at: Float[Tensor, "3"]
    size: float


@dataclass(frozen=True, eq=False)
class LightProbe:
    """Light estimated at a place.

    Attributes:
        at: The place.
        size: The diagonal of what was assumed to stand there.
        found: The light.
        view: A photograph that shows the place.
        origin: `Capture.origin`, which the place is relative to.
    """

    at: Float[Tensor, "3"]
    size: float
    found: SceneLight
    view: View
    origin: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data: at, keys, sky, gain, verdict and the inpainter's option that means the same."""
        light, confidence = self.found.light, self.found.confidence
        doubts = [*confidence.doubt, *[90.0] * len(light.keys)]
        keys = [
            {
                "direction": [round(value, 4) for value in key.direction.tolist()],
                "distance": None if key.distance > FAR * self.size else round(key.distance, 4),
                "angle": round(math.degrees(key.angle), 2),
                "color": [round(value, 4) for value in key.irradiance.tolist()],
                "doubt": round(doubt, 1),
            }
            for key, doubt in zip(light.keys, doubts, strict=False)
        ]
        upward = self._up()
        above = fibonacci_sphere(len(light.environment)) @ upward > 0
        sky = [round(value, 4) for value in light.environment[above].mean(0).tolist()]
        option = {k: keys[0][k] for k in ("direction", "distance", "angle")}
        option |= {"key": keys[0]["color"], "sky": sky}
        return {
            "at": [round(a + b, 4) for a, b in zip(self.at.tolist(), self.origin, strict=True)],
            "keys": keys,
            "sky": sky,
            "gain": round(confidence.gain, 1),
            "verdict": self._verdict(),
            "option": json.dumps(option),
        }

    def _up(self) -> Float[Tensor, "3"]:
        return up_of([self.view])

    def _verdict(self) -> str:
        confidence = self.found.confidence
        if not confidence.doubt:
            return "nothing in the photographs tells a direction: the light is taken to be soft, from above"
        if confidence.gain > SURE_GAIN and max(confidence.doubt) < SURE_DOUBT:
            return "shadows and shading in the photographs agree on this light"
        return "the photographs tell a direction, but not exactly: shadows are soft"

    def ball(self) -> Float[Tensor, "H W 3"]:
        """Render a gray ball in the light, as the view's camera sees it: sRGB, over white."""
        return ball_in(self.found.light, self.place, self.view)

    @property
    def place(self) -> Place:
        """The place, with its size."""
        return Place(self.at, self.size)

    def write_picture(self, file: Path) -> None:
        """Write the photograph with the ball beside it.

        Raises:
            InputError: The photograph cannot be read.
            RunError: The file cannot be written.
        """
        write_image(file, beside_photograph(self.view, self.ball()))


def ball_in(light: Light, place: Place, view: View) -> Float[Tensor, "H W 3"]:
    """Render a gray ball at a place in a light, as a view's camera sees it: sRGB, over white."""
    line = (torch.arange(BALL) + 0.5) / BALL * 2 - 1
    y, x = torch.meshgrid(-line, line, indexing="ij")
    inside = x**2 + y**2 < 1
    z = (1 - x**2 - y**2).clamp_min(0).sqrt()
    normals = torch.stack([x, y, z], -1)[inside] @ view.camera.c2w[:, :3].T
    points = place.at + 0.5 * place.size / math.sqrt(3) * normals
    image = torch.ones(BALL, BALL, 3)
    radiance = BALL_ALBEDO * light.irradiance(points, normals)
    image[inside] = linear_to_srgb(radiance.clamp(0, 1))
    return image


def beside_photograph(view: View, ball: Float[Tensor, "H W 3"]) -> Float[Tensor, "H W 3"]:
    """Return the photograph with a ball beside it.

    Raises:
        InputError: The photograph cannot be read.
    """
    return contact_sheet([[(view.name, view.photograph()), ("a gray ball in the light", ball)]])


def find_place(
    capture: Capture, at: Sequence[float] | None = None, size: float | None = None
) -> tuple[Place, list[View]]:
    """Return a place and the views to train on that show it.

    Args:
        capture: The capture.
        at: World coordinates; None: what the photographs look at.
        size: Diagonal of what will stand there, world units; None: a quarter of the cameras' distance.

    Raises:
        InputError: No photograph shows the place.
    """
    place = capture.center_of_attention if at is None else capture.inside([float(value) for value in at])
    seeing = [view for view in capture.train if bool(view.camera.project(place[None]).inside[0])]
    if not seeing:
        reach = max(float((view.camera.center - place).norm()) for view in capture.views)
        shown = place_in_words(capture.outside(place), reach)
        raise InputError(
            f"no photograph shows the place {shown}: choose one that photographs show, in "
            "the capture's world coordinates"
        )
    if size is None:
        size = SIZE * statistics.median(float((view.camera.center - place).norm()) for view in seeing)
    return Place(place, size), seeing


def nearest_view(place: Place, views: Sequence[View]) -> View:
    """Return the view whose camera is nearest to a place."""
    return min(views, key=lambda view: float((view.camera.center - place.at).norm()))


def probe_light(
    scene: Scene,
    at: Sequence[float] | None = None,
    size: float | None = None,
    progress: Progress = SILENT,
) -> LightProbe:
    """Estimate the light at a place.

    Args:
        scene: The scene; layers do not count, for the photographs show it as it was captured.
        at: World coordinates; None: what the photographs look at.
        size: Diagonal of what will stand there, world units; None: a quarter of the cameras' distance.
        progress: Reports the work.

    Raises:
        InputError: No photograph shows the place.
    """
    place, seeing = find_place(scene.capture, at, size)
    with progress.task("Finding the scene's light", total=1) as task:
        found = find_light(scene.stack(with_layers=False), seeing, place.at, place.size, up_of(seeing))
        task.advance(1)
    return LightProbe(place.at, place.size, found, nearest_view(place, seeing), scene.capture.origin)
