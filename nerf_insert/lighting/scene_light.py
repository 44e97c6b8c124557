"""The light at a place of a scene, from its photographs: everything that `estimate_light` needs, gathered.

World coordinates and units.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from nerf_insert.capture.view import View
from nerf_insert.lighting.depth_fusion import fuse_tsdf
from nerf_insert.lighting.estimation import Confidence, estimate_light
from nerf_insert.lighting.flat_depth import flattened
from nerf_insert.lighting.light import Light, fibonacci_sphere
from nerf_insert.lighting.light_samples import gather_samples
from nerf_insert.lighting.surface import far_radiance
from nerf_insert.rendering.depth_view import DepthView, Renderer, render_depth_views
from nerf_insert.rendering.stack import LayerStack

CAMERA_REACH = 1.0  # half side of the box in which the light is looked for, in the cameras' median distance
OBJECT_REACH = 2.0  # the same in the size of what the light falls on, if that is more
CELLS = 160  # of the surface along the box's sides


@dataclass(frozen=True, eq=False)
class SceneLight:
    """Light at a place, and how sure it is."""

    light: Light
    confidence: Confidence


def find_light(
    scene: Renderer,
    views: Sequence[View],
    center: Float[Tensor, "3"],
    size: float,
    up: Float[Tensor, "3"],
    seed: int = 0,
    flat: Sequence[DepthView] | None = None,
) -> SceneLight:
    """Estimate the light that falls on a place.

    Layers change no light that is looked for here, only what it falls on: the photographs tell it as they
    were taken, of the scene as it was captured, and all edits of a place get the same light.

    Args:
        scene: What the photographs show, and layers over it, which are left out.
        views: The photographs.
        center: The place.
        size: The diagonal of what stands there.
        up: Unit vector.
        seed: Random seed of the choice of samples.
        flat: `flattened` depth views of the scene, if they are known already.

    Raises:
        InputError: A photograph cannot be read.
    """
    half = light_reach(views, center, size)
    if isinstance(scene, LayerStack) and scene.layers:
        scene, flat = LayerStack(scene.base, (), scene.options), None
    if flat is None:
        flat = flattened(render_depth_views(scene, [view.as_taken() for view in views]), center, half)
    bounds = torch.stack([center - half, center + half])
    surface = fuse_tsdf(flat, bounds, CELLS)
    far = far_radiance(scene, flat, bounds, fibonacci_sphere())
    occluders = [surface.as_occluder()]
    scale = half / OBJECT_REACH
    samples = gather_samples(surface, occluders, far, center, scale, up, seed)
    light, confidence = estimate_light(samples, occluders, center, scale, up, far)
    return SceneLight(light, confidence)


def light_reach(views: Sequence[View], center: Float[Tensor, "3"], size: float) -> float:
    """Return half of the side of the box in which the light at a place is looked for, world units."""
    distances = [float((view.camera.center - center).norm()) for view in views]
    return max(CAMERA_REACH * statistics.median(distances), OBJECT_REACH * size)
