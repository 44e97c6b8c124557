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
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from nerf_insert.capture.placement import place_in_words, up_of
from nerf_insert.capture.view import View
from nerf_insert.errors import InputError
from nerf_insert.geometry.color import linear_to_srgb
from nerf_insert.io.images import contact_sheet, write_image
from nerf_insert.lighting.light import fibonacci_sphere
from nerf_insert.lighting.scene_light import SceneLight, find_light
from nerf_insert.runtime.progress import SILENT, Progress
from nerf_insert.scene.scene import Scene

SIZE = 0.25  # of what stands at the place, in the cameras' median distance, unless given
FAR = 20.0  # sizes from which on a key light counts as far
SURE_GAIN, SURE_DOUBT = 20.0, 8.0  # log likelihood from, degrees up to which a key light is called sure
BALL, BALL_ALBEDO = 200, 0.5  # pixels across; its gray


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
        line = (torch.arange(BALL) + 0.5) / BALL * 2 - 1
        y, x = torch.meshgrid(-line, line, indexing="ij")
        inside = x**2 + y**2 < 1
        z = (1 - x**2 - y**2).clamp_min(0).sqrt()
        normals = torch.stack([x, y, z], -1)[inside] @ self.view.camera.c2w[:, :3].T
        points = self.at + 0.5 * self.size / math.sqrt(3) * normals
        image = torch.ones(BALL, BALL, 3)
        radiance = BALL_ALBEDO * self.found.light.irradiance(points, normals)
        image[inside] = linear_to_srgb(radiance.clamp(0, 1))
        return image

    def write_picture(self, file: Path) -> None:
        """Write the photograph with the ball beside it.

        Raises:
            InputError: The photograph cannot be read.
            RunError: The file cannot be written.
        """
        rows = [[(self.view.name, self.view.photograph()), ("a gray ball in the light", self.ball())]]
        write_image(file, contact_sheet(rows))


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
    capture = scene.capture
    place = capture.center_of_attention if at is None else capture.inside([float(value) for value in at])
    seeing = [view for view in capture.train if bool(view.camera.project(place[None]).inside[0])]
    if not seeing:
        reach = max(float((view.camera.center - place).norm()) for view in capture.views)
        shown = place_in_words(capture.outside(place), reach)
        raise InputError(
            f"no photograph shows the place {shown}: give --at in the world coordinates of the capture"
        )
    if size is None:
        size = SIZE * statistics.median(float((view.camera.center - place).norm()) for view in seeing)
    up = up_of(seeing)
    with progress.task("Finding the scene's light", total=1) as task:
        found = find_light(scene.stack(with_layers=False), seeing, place, size, up)
        task.advance(1)
    nearest = min(seeing, key=lambda view: float((view.camera.center - place).norm()))
    return LightProbe(place, size, found, nearest, capture.origin)
