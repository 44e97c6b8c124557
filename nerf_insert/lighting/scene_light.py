"""The light at a place of a scene, from its photographs: everything that `estimate_light` needs, gathered.

World coordinates and units.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from nerf_insert.capture.view import View
from nerf_insert.lighting.depth_fusion import fuse_tsdf
from nerf_insert.lighting.estimation import Confidence, estimate_light
from nerf_insert.lighting.flat_depth import flattened
from nerf_insert.lighting.light import Light, fibonacci_sphere
from nerf_insert.lighting.light_fit import Samples
from nerf_insert.lighting.light_samples import gather_samples
from nerf_insert.lighting.mesh_colors import place_samples
from nerf_insert.lighting.shadow_fit import fit_light
from nerf_insert.lighting.surface import SceneSurface, far_radiance, surface_radiance
from nerf_insert.rendering.depth_view import DepthView, Renderer, render_depth_views, with_photographs
from nerf_insert.rendering.stack import LayerStack

CAMERA_REACH = 1.0  # half side of the box in which the light is looked for, in the cameras' median distance
OBJECT_REACH = 2.0  # the same in the size of what the light falls on, if that is more
FITTED = 0.6  # of that half side: how far around the place the light is fitted to the photographs
SPACING, OFFERED, SAMPLES = 1 / 60, 60_000, 3500  # of samples: their distance, in that reach; their numbers
BRIGHTEST = 0.9  # radiance; what is cut off above tells nothing
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
    few = gather_samples(surface, occluders, far, center, scale, up, seed)
    light, confidence = estimate_light(few, occluders, center, scale, up, far)
    if not light.keys:
        return SceneLight(light, confidence)
    sharp = with_photographs(flat, [view.as_taken() for view in views])
    points, normals = _samples(surface, center, half, seed)
    shown = surface_radiance(sharp, points, normals, 2 * surface.cell)[0]
    samples = Samples.of(points, normals, shown, BRIGHTEST)
    return SceneLight(*_without_dark(fit_light(surface, light, samples, half), confidence))


def _without_dark(light: Light, confidence: Confidence) -> tuple[Light, Confidence]:
    """Leave out the key lights that give nothing, unless none does."""
    kept = [k for k, key in enumerate(light.keys) if float(key.irradiance.sum()) > 0]
    if not kept:
        return light, confidence
    doubt = tuple(doubt for k, doubt in enumerate(confidence.doubt) if k in kept)
    return replace(light, keys=tuple(light.keys[k] for k in kept)), replace(confidence, doubt=doubt)


def _samples(
    surface: SceneSurface, center: Float[Tensor, "3"], half: float, seed: int
) -> tuple[Float[Tensor, "M 3"], Float[Tensor, "M 3"]]:
    """Choose samples of a surface around a place: points and normals."""
    mesh, reach = surface.mesh, FITTED * half
    faces = mesh.faces[((mesh.vertices - center).norm(dim=-1) < reach)[mesh.faces].any(-1)]
    if not len(faces):
        return mesh.vertices[:0], surface.normals[:0]
    placed = place_samples(mesh.vertices[faces], surface.normals[faces], SPACING * reach, OFFERED)
    generator = torch.Generator().manual_seed(seed)
    index = torch.randperm(len(placed.points), generator=generator)[:SAMPLES]
    return placed.points[index], placed.normals[index]


def light_reach(views: Sequence[View], center: Float[Tensor, "3"], size: float) -> float:
    """Return half of the side of the box in which the light at a place is looked for, world units."""
    distances = [float((view.camera.center - center).norm()) for view in views]
    return max(CAMERA_REACH * statistics.median(distances), OBJECT_REACH * size)
