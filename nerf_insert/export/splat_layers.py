"""What a scene shows in the regions of its layers, or as a whole, as splats."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from nerf_insert.capture.capture import Capture
from nerf_insert.errors import RunError
from nerf_insert.geometry.cameras import Camera
from nerf_insert.regions.region import Region
from nerf_insert.rendering.shaded_samples import Rendered
from nerf_insert.rendering.stack import LayerStack, hits
from nerf_insert.runtime.progress import SILENT, Progress
from nerf_insert.splats.splats import Splats
from nerf_insert.training.splat_fit import SOLID, Target, fit_splats, seed_splats

VIEWS, PIXELS = 24, 16_000  # of the images that a layer's splats are fitted to
SCENE_PIXELS = 40_000  # the same for a whole scene, of which all views are taken
MARGIN = 3  # pixels around a region in which nothing is to be seen
MIN_PIXELS = 8  # of a region in an image
BEYOND = 2.0  # distance of what is behind everything, in that of the farthest that is seen
SCENE_DEGREE = 1  # of the spherical harmonics of a whole scene


@dataclass(frozen=True)
class _Beyond:
    """All but what a layer owns: its region without those of the layers above it."""

    region: Region
    above: Sequence[Region]

    def contains(self, points: Float[Tensor, "M 3"]) -> Bool[Tensor, " M"]:
        """Return which points (world coordinates) the layer does not own."""
        own = self.region.contains(points)
        for region in self.above:
            own &= ~region.contains(points)
        return ~own


def splats_of_layer(
    stack: LayerStack,
    region: Region,
    above: Sequence[Region],
    capture: Capture,
    most: int,
    steps: int,
    seed: int = 0,
    progress: Progress = SILENT,
    views: int = VIEWS,
    pixels: int = PIXELS,
) -> Splats | None:
    """Return splats that show what a stack shows in a region.

    Args:
        stack: The scene, with all layers that are to be seen.
        region: The layer's region.
        above: Regions of the layers above it, which own their part of it.
        capture: Its cameras are looked from.
        most: The largest number of splats.
        steps: Steps of their fit.
        seed: Random seed of the fit.
        progress: Reports the work.
        views: The largest number of images that they are fitted to.
        pixels: The largest number of pixels of these.

    Returns:
        The splats; None: no view shows anything solid in the region, as where something was removed.
    """
    beyond, targets = _Beyond(region, above), []
    cameras = [
        camera for view in capture.views if (camera := _close_up(view.camera, region, pixels)) is not None
    ]
    chosen = (
        [cameras[k] for k in sorted({k * len(cameras) // views for k in range(views)})] if cameras else []
    )
    with progress.task("Rendering the layer", total=len(chosen)) as task:
        for camera in chosen:
            rays = camera.rays()
            met = hits(region, rays)
            around = _grown(met.view(camera.height, camera.width)).reshape(-1).nonzero()[:, 0]
            image = Rendered(
                torch.zeros(rays.count, 3), torch.zeros(rays.count), torch.full((rays.count,), torch.inf)
            )
            for index in met.nonzero()[:, 0].split(stack.options.rays_per_batch):
                part = stack.render_outside(rays[index], beyond, (0.0, 0.0, 0.0))
                for whole, values in zip(image, part, strict=True):
                    whole[index] = values
            targets.append(Target(camera, around, *(column[around] for column in image)))
            task.advance(1)
    seeds = seed_splats(targets, most)
    return None if seeds is None else fit_splats(seeds, targets, steps, seed, progress)


def splats_of_scene(
    stack: LayerStack, capture: Capture, most: int, steps: int, seed: int = 0, progress: Progress = SILENT
) -> Splats:
    """Return splats that show a whole scene, fitted to its renders from the training views.

    Args:
        stack: The scene.
        capture: Its training views are looked from.
        most: The largest number of splats.
        steps: Steps of their fit.
        seed: Random seed of the fit.
        progress: Reports the work.

    Raises:
        RunError: The views show nothing solid.
    """
    targets = []
    with progress.task("Rendering the scene", total=len(capture.train)) as task:
        for view in capture.train:
            camera = _pinhole(view.camera)
            camera = camera.scaled(min(1.0, (SCENE_PIXELS / (camera.width * camera.height)) ** 0.5))
            image = Rendered(*(column.flatten(0, 1) for column in stack.render_image(camera)))
            # what is behind all samples is to be shown as well: by splats beyond everything else
            solid = torch.ones_like(image.accumulation)
            depth = torch.where(image.accumulation > SOLID, image.depth, torch.inf)
            targets.append(Target(camera, torch.arange(len(solid)), image.rgb, solid, depth))
            task.advance(1)
    far = BEYOND * max(float(t.depth.nan_to_num(posinf=0.0).max()) for t in targets)
    targets = [target._replace(depth=target.depth.nan_to_num(posinf=far)) for target in targets]
    seeds = seed_splats(targets, most, SCENE_DEGREE) if far > 0 else None
    if seeds is None:
        raise RunError("the views show nothing solid: there is nothing to make splats of")
    return fit_splats(seeds, targets, steps, seed, progress)


def _pinhole(camera: Camera) -> Camera:
    """Return a camera at the same place whose lens does not distort."""
    if camera.model == "PERSPECTIVE":
        return replace(camera, distortion=(0.0,) * 6)
    side = min(camera.width, camera.height)
    middle = {"cx": side / 2, "cy": side / 2, "fx": side / 2, "fy": side / 2}
    return replace(camera, model="PERSPECTIVE", distortion=(0.0,) * 6, width=side, height=side, **middle)


def _close_up(camera: Camera, region: Region, pixels: int) -> Camera | None:
    """Return a pinhole camera whose image is about the part that shows a region; None: it shows none."""
    camera = _pinhole(camera)
    low, high = region.bounds
    corners = torch.cartesian_prod(*torch.stack([low, high], 1))
    x, y, z = ((corners - camera.center) @ camera.c2w[:, :3]).unbind(1)
    left, top, right, bottom = 0.0, 0.0, float(camera.width), float(camera.height)
    if float(z.max()) < -1e-6:  # all of it lies in front of the camera
        u, v = camera.cx - camera.fx * x / z, camera.cy + camera.fy * y / z
        left, top = max(left, float(u.min()) - MARGIN), max(top, float(v.min()) - MARGIN)
        right, bottom = min(right, float(u.max()) + MARGIN), min(bottom, float(v.max()) + MARGIN)
    left, top = int(left), int(top)
    width, height = int(right + 1) - left, int(bottom + 1) - top
    if width < MIN_PIXELS or height < MIN_PIXELS or float(z.min()) >= 0:
        return None
    part = replace(camera, cx=camera.cx - left, cy=camera.cy - top, width=width, height=height)
    return part.scaled(min(1.0, (pixels / (width * height)) ** 0.5))


def _grown(mask: Bool[Tensor, "H W"]) -> Bool[Tensor, "H W"]:
    """Return the pixels within MARGIN pixels of a true one."""
    size = 2 * MARGIN + 1
    return torch.nn.functional.max_pool2d(mask.float()[None], size, stride=1, padding=MARGIN)[0] > 0
