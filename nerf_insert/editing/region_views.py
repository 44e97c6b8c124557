"""Where the photographs show the region, and whether that is enough for an edit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from nerf_insert.capture.capture import Capture, View
from nerf_insert.editing.edited_view import EditedView
from nerf_insert.errors import InputError
from nerf_insert.geometry.cameras import Camera
from nerf_insert.io.images import resize
from nerf_insert.regions.checks import check_region
from nerf_insert.regions.region import Region
from nerf_insert.rendering.stack import LayerStack
from nerf_insert.runtime.progress import Progress

MARGIN = 0.25  # around the scene, as a fraction of its longest side: inserted objects may hang in the air
DILATION = 0.04  # diameter of the disc that dilates masks, as a fraction of the image's width
MIN_PIXELS = 8  # a view with no more shows nothing of the region
MIN_VIEWS = 3
MAX_TAKEN = 0.1  # of a pixel's light, by layers in front of the region: an image of both fits neither
REACH_SIDE = 96  # pixels of the image that tells where the scene ends within a mask
REACH_QUANTILE, REACH_MARGIN = 0.98, 0.05  # of the depths there; in proportion to the distance


@dataclass(frozen=True, eq=False)
class RegionView:
    """A view and the pixels that show the region."""

    view: View  # with the layers below
    mask: Bool[Tensor, "H W"]

    @cached_property
    def wide_mask(self) -> Bool[Tensor, "H W"]:
        """The mask dilated by a disc, as in the paper's code: painting needs a little context."""
        return dilate(self.mask, max(1, round(DILATION / 2 * self.view.camera.width)))


def dilate(mask: Bool[Tensor, "H W"], radius: int) -> Bool[Tensor, "H W"]:
    """Return the pixels within `radius` pixels of a true one."""
    from scipy.ndimage import distance_transform_edt

    grown = torch.zeros_like(mask)
    if not bool(mask.any()):
        return grown
    rows, columns = (mask.any(dim).nonzero()[:, 0] for dim in (1, 0))
    window = tuple(
        slice(max(0, int(index[0]) - radius), int(index[-1]) + radius + 1) for index in (rows, columns)
    )
    distance = np.asarray(distance_transform_edt(~mask[window].numpy()))
    grown[window] = torch.from_numpy(distance <= radius)
    return grown


def find_region_views(
    region: Region,
    stack: LayerStack,
    capture: Capture,
    min_coverage: float,
    progress: Progress,
    keep: bool = False,
    min_views: int = MIN_VIEWS,
) -> tuple[RegionView, ...]:
    """Find the training views that show enough of the region.

    Args:
        region: World coordinates.
        stack: The scene, which may hide the region.
        capture: The photographs.
        min_coverage: Views are left out in which the region covers less than this fraction of the image.
        progress: Where the work is reported.
        keep: Whether the whole images will be wanted of the stack, too; it keeps them then.
        min_views: Views that have to show it; 0: the region is not checked.

    Raises:
        InputError: The region cannot be used, or too few views show it.
    """
    cameras = [(view.name, view.camera) for view in capture.train]
    if min_views:
        bounds = scene_bounds(stack, [camera for _, camera in cameras])
        report = check_region(
            region, cameras, scene_bounds=bounds, min_coverage=min_coverage, origin=capture.origin
        )
        for warning in report.warnings:
            progress.warn(warning)
    views = []
    with progress.task("Finding the region in the photographs", total=len(capture.train)) as task:
        for view in capture.train:
            mask = visible_mask(region, stack, view, keep)
            if int(mask.sum()) > max(MIN_PIXELS, min_coverage * mask.numel()):
                views.append(RegionView(EditedView.of(view, stack), mask))
            task.advance(1)
    if len(views) < min_views:
        raise InputError(
            f"only {len(views)} of {len(capture.train)} training views show the region (the scene hides it "
            "in the others, or it is too small in the image): mark a larger region, or one that more "
            "photographs show"
        )
    return tuple(views)


def scene_bounds(stack: LayerStack, cameras: Sequence[Camera]) -> Float[Tensor, "2 3"] | None:
    """Return the box in which an edit makes sense: lowest and highest corner, world coordinates.

    It holds the cameras and the base's content, with a margin. None if the extent of the base is unknown, as
    for nerfstudio's models.
    """
    bounds = stack.base.content_bounds()
    if bounds is None:
        return None
    points = torch.cat([bounds, torch.stack([camera.center for camera in cameras])])
    low, high = points.amin(0), points.amax(0)
    return torch.stack([low, high]) + MARGIN * (high - low).max() * torch.tensor([[-1.0], [1.0]])


def scene_reach(stack: LayerStack) -> Callable[[Camera, Tensor], float | None]:
    """Return a function that tells how far from a camera the scene ends within a mask.

    That is where nearly all rays through the mask have met something opaque, and a little more. None if none
    does.
    """

    def reach(camera: Camera, mask: Tensor) -> float | None:
        small = camera.scaled(min(1.0, REACH_SIDE / max(camera.width, camera.height)))
        covered = resize(mask.float(), (small.width, small.height)) > 0
        depth = stack.render_masked(small, covered).depth[covered]
        known = depth[depth.isfinite()]
        return (1 + REACH_MARGIN) * float(known.quantile(REACH_QUANTILE)) if len(known) else None

    return reach


def visible_mask(region: Region, stack: LayerStack, view: View, keep: bool = False) -> Bool[Tensor, "H W"]:
    """Return the pixels of a view in which the scene outside the region does not hide it.

    What lies in front of the region is the same with and without the region's content, so the render of the
    scene shows it. Pixels are left out on which another layer in front of the region shows, too, as at its
    silhouette: what is painted there would be fitted through it.

    Args:
        region: World coordinates.
        stack: The scene.
        view: Pixels that its own mask excludes are not visible.
        keep: Whether the whole image is rendered, and kept by the stack.
    """
    camera, rays = view.camera, view.camera.rays()
    entry = region.entry(rays).view(camera.height, camera.width)
    mask = entry.isfinite()
    if bool(mask.any()):
        # The region begins somewhere in the step before its first sample; its own surface hides nothing.
        rendered = stack.render_image(camera, keep=True) if keep else stack.render_masked(camera, mask)
        mask &= entry - region.step < rendered.depth
        at = mask.view(-1).nonzero()[:, 0]
        mask.view(-1)[at] = stack.light_taken(rays[at], entry.view(-1)[at]) <= MAX_TAKEN
    valid = view.valid()
    return mask if valid is None else mask & valid
