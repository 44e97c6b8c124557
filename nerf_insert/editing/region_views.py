"""Where the photographs show the region, and whether that is enough to go on with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from nerf_insert.capture.capture import Capture, View
from nerf_insert.errors import InputError
from nerf_insert.geometry.cameras import Camera
from nerf_insert.regions.checks import check_region
from nerf_insert.regions.region import Region
from nerf_insert.rendering.stack import LayerStack
from nerf_insert.runtime.progress import Progress

ROOM = 0.25  # around the scene, as a share of its longest side: what is put there may hang in the air
WIDEN = 0.04  # diameter of the disc that masks are widened by for painting, as a share of the picture's width


@dataclass(frozen=True, eq=False)
class RegionView:
    """A view and the pixels that show the region."""

    view: View
    mask: Bool[Tensor, "H W"]

    @property
    def wide_mask(self) -> Bool[Tensor, "H W"]:
        """The mask dilated by a disc, as the paper's code does: painting needs a little context."""
        radius = max(1, round(WIDEN / 2 * self.view.camera.width))
        axis = torch.arange(-radius, radius + 1)
        disc = (axis[:, None] ** 2 + axis[None, :] ** 2 <= radius**2).float()
        grown = torch.nn.functional.conv2d(self.mask[None, None].float(), disc[None, None], padding=radius)
        return grown[0, 0] > 0.5


def find_region_views(
    region: Region,
    stack: LayerStack,
    capture: Capture,
    min_coverage: float,
    progress: Progress,
    keep: bool = False,
) -> tuple[RegionView, ...]:
    """The training views that show enough of the region; `keep`: their whole pictures will be wanted of the
    stack, too. Raises InputError if the region cannot be used."""
    cameras = [(view.name, view.camera) for view in capture.train]
    bounds = scene_bounds(stack, [camera for _, camera in cameras])
    report = check_region(region, cameras, scene_bounds=bounds, min_coverage=min_coverage)
    for warning in report.warnings:
        progress.warn(warning)
    seen = []
    with progress.task("Finding the region in the photographs", total=len(capture.train)) as task:
        for view in capture.train:
            mask = visible(region, stack, view, keep)
            if int(mask.sum()) > max(8, min_coverage * mask.numel()):
                seen.append(RegionView(view, mask))
            task.advance(1)
    if len(seen) < 3:
        raise InputError(
            f"only {len(seen)} of {len(capture.train)} training views show the region (the scene hides it "
            "in the others, or it is too small in the picture): mark a larger region, or one that more "
            "photographs show"
        )
    return tuple(seen)


def scene_bounds(stack: LayerStack, cameras: Sequence[Camera]) -> Float[Tensor, "2 3"] | None:
    """The box in which an edit makes sense, world coordinates: that of the cameras and of all that the base
    shows, with some room around it. None where that is not known, as of models of nerfstudio."""
    bounds = stack.base.content_bounds()
    if bounds is None:
        return None
    points = torch.cat([bounds, torch.stack([camera.center for camera in cameras])])
    low, high = points.amin(0), points.amax(0)
    return torch.stack([low, high]) + ROOM * (high - low).max() * torch.tensor([[-1.0], [1.0]])


def visible(region: Region, stack: LayerStack, view: View, keep: bool = False) -> Bool[Tensor, "H W"]:
    """The pixels of a view that show the region: the scene outside it does not hide it there. `keep`: the
    whole picture is rendered, and kept by the stack.

    What lies in front of the region is the same with the region's content as without, so the picture of the
    scene tells it.
    """
    camera = view.camera
    entry = region.entry(camera.rays()).view(camera.height, camera.width)
    mask = entry.isfinite()
    if bool(mask.any()):
        # The region begins somewhere in the step before its first sample; its own surface hides nothing.
        picture = stack.render_image(camera, keep=True) if keep else stack.render_masked(camera, mask)
        mask &= entry - region.step < picture.depth
    valid = view.valid()
    return mask if valid is None else mask & valid
