"""Checks of a region before time is spent on an edit there. World coordinates and units."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import median
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from nerf_insert.capture.placement import place_in_words
from nerf_insert.errors import InputError, first_few
from nerf_insert.geometry.cameras import Camera, Rays
from nerf_insert.regions.csg import DilatedRegion, IntersectionRegion, UnionRegion
from nerf_insert.regions.region import Region
from nerf_insert.regions.visual_hull import VisualHull

IMAGE_SIDE = 128  # pixels along the longer side of the images that regions are checked in
MIN_VIEWS = 3
MIN_COVERAGE = 0.001  # fraction of an image below which the region does not count as shown
MAX_COVERAGE = 0.6  # fraction of the median image
MASK_WARN, MASK_REFUSE = 0.7, 0.25  # fractions of a mask that the hull covers: warn, refuse below

Occluders = Callable[[Camera], Float[Tensor, "H W"]]


class RegionProjection(NamedTuple):
    """A region in one camera's image."""

    entry: Float[Tensor, "H W"]  # distance along the pixel's ray to the region, infinity where it misses it
    visible: Bool[Tensor, "H W"]  # where nothing of the scene hides it


@dataclass(frozen=True)
class RegionReport:
    """How a region shows in the photographs.

    Attributes:
        coverage: The fraction of each image that the region covers, by the view's name.
        visible_in: The views in which it covers enough.
        mask_coverage: For each mask of a visual hull, by its name, the fraction that the hull covers.
        warnings: What the person should know.
    """

    coverage: dict[str, float]
    visible_in: tuple[str, ...]
    mask_coverage: dict[str, float]
    warnings: tuple[str, ...]


def check_region(
    region: Region,
    cameras: Sequence[tuple[str, Camera]],
    occluders: Occluders | None = None,
    scene_bounds: Float[Tensor, "2 3"] | None = None,
    min_views: int = MIN_VIEWS,
    min_coverage: float = MIN_COVERAGE,
    projections: Sequence[RegionProjection] | None = None,
    origin: Sequence[float] = (0.0, 0.0, 0.0),
) -> RegionReport:
    """Check from small images of all cameras whether an edit in a region can succeed.

    Args:
        region: The region.
        cameras: Each with its view's name.
        occluders: Returns for a camera the distance along each pixel's ray at which the scene outside the
            region becomes opaque.
        scene_bounds: The box that the scene fills, world coordinates.
        min_views: Views that have to show the region.
        min_coverage: The fraction of an image below which the region does not count as shown.
        projections: The region in the image of each `small_camera`, if that is known already; `occluders`
            is not called then.
        origin: `Capture.origin`, for messages.

    Raises:
        InputError: An edit there cannot succeed; the message says what to do.
    """
    if scene_bounds is not None:
        _check_position(region, scene_bounds, origin)
    _check_cameras_outside(region, cameras)
    if projections is None:
        projections = project_region(region, [small_camera(camera) for _, camera in cameras], occluders)
    names = [name for name, _ in cameras]
    covered = [float(projection.visible.float().mean()) for projection in projections]
    crossed = [bool(projection.entry.isfinite().any()) for projection in projections]
    hidden = sum(met and part < min_coverage for met, part in zip(crossed, covered, strict=True))
    coverage = dict(zip(names, covered, strict=True))
    visible_in = tuple(name for name, part in coverage.items() if part >= min_coverage)
    if not visible_in and not hidden:
        _refuse_unseen(region, cameras, min_coverage)
    _check_visible(coverage, visible_in, hidden, min_views, min_coverage)
    masks: dict[str, float] = {}
    warnings = []
    for hull in visual_hulls(region):
        for name, part in mask_coverage(hull).items():
            masks[name] = part
            if part < MASK_WARN:
                warnings.append(_disagreement(name, part, hull))
            if part < MASK_REFUSE:
                raise InputError(f"the masks disagree: {warnings[-1]}")
    return RegionReport(coverage, visible_in, masks, tuple(warnings))


def small_camera(camera: Camera) -> Camera:
    """Return the camera with an image of the size that regions are checked in."""
    return camera.scaled(min(1.0, IMAGE_SIDE / max(camera.width, camera.height)))


def project_region(
    region: Region, cameras: Sequence[Camera], occluders: Occluders | None = None
) -> list[RegionProjection]:
    """Return the region in the images of all cameras; together they are quicker than one by one.

    Args:
        region: The region.
        cameras: Any cameras.
        occluders: As for `check_region`; without, nothing hides the region.
    """
    rays = [camera.rays() for camera in cameras]
    entry = region.entry(Rays(torch.cat([r.origins for r in rays]), torch.cat([r.directions for r in rays])))
    projections = []
    for part, camera in zip(entry.split([r.count for r in rays]), cameras, strict=True):
        part = part.view(camera.height, camera.width)
        projections.append(RegionProjection(part, part < (occluders(camera) if occluders else float("inf"))))
    return projections


def visual_hulls(region: Region) -> Iterator[VisualHull]:
    """Yield the visual hulls that a region is made of."""
    if isinstance(region, VisualHull):
        if not region.cut:  # otherwise its masks reach beyond it, as they should
            yield region
    elif isinstance(region, UnionRegion | IntersectionRegion):
        for part in region.regions:
            yield from visual_hulls(part)
    elif isinstance(region, DilatedRegion):
        yield from visual_hulls(region.region)


def mask_coverage(hull: VisualHull) -> dict[str, float]:
    """Return for each mask, by its name, the fraction of its pixels whose rays meet the hull."""
    covered = {}
    for name, cone in zip(hull.names, hull.cones, strict=True):
        camera, mask = cone.camera, cone.mask
        pixels = mask.nonzero()
        if len(pixels) > IMAGE_SIDE * IMAGE_SIDE:  # enough of them, evenly spread
            pixels = pixels[:: len(pixels) // (IMAGE_SIDE * IMAGE_SIDE) + 1]
        rays = camera.rays_through(pixels.flip(-1).float() + 0.5)
        covered[name] = float(hull.entry(rays).isfinite().float().mean())
    return covered


def _check_position(region: Region, scene: Float[Tensor, "2 3"], origin: Sequence[float]) -> None:
    low, high = torch.maximum(region.bounds[0], scene[0]), torch.minimum(region.bounds[1], scene[1])
    if not (low <= high).all():
        shift, extent = torch.tensor(origin, dtype=torch.float64), region.diagonal
        middle, center = (
            place_in_words(box.mean(0).double() + shift, extent) for box in (region.bounds, scene)
        )
        raise InputError(
            f"the region lies outside the scene: it is around ({middle}), the scene around ({center}), "
            "in the capture's own world units; check the pose, the box or the masks. What was placed in "
            "nerfstudio's viewer needs --nerfstudio CONFIG"
        )


def _check_cameras_outside(region: Region, cameras: Sequence[tuple[str, Camera]]) -> None:
    inside = region.contains(torch.stack([camera.center for _, camera in cameras]))
    if inside.any():
        names = [name for (name, _), is_in in zip(cameras, inside.tolist(), strict=True) if is_in]
        raise InputError(
            f"the region contains {len(names)} of the cameras ({first_few(names)}), which would see only its "
            "inside: make it smaller, or move it away from where the photographs were taken"
        )


def _refuse_unseen(region: Region, cameras: Sequence[tuple[str, Camera]], min_coverage: float) -> None:
    center = region.bounds.mean(0)[None]
    shown = sum(bool(camera.project(center).inside) for _, camera in cameras)
    if shown:
        raise InputError(
            f"the region is too small: it covers less than {100 * min_coverage:.2g} % of every image, "
            f"although its center is in {shown} of {len(cameras)}; make it larger, or move it nearer"
        )
    raise InputError(f"none of the {len(cameras)} photographs shows the region: check its position and size")


def _check_visible(
    coverage: dict[str, float], visible_in: tuple[str, ...], hidden: int, min_views: int, min_coverage: float
) -> None:
    if len(visible_in) < min_views:
        behind = f"; something else is in front of it in {hidden}" if hidden else ""
        which = f" ({first_few(visible_in)})" if visible_in else ""
        raise InputError(
            f"only {len(visible_in)} of the {len(coverage)} photographs{which} show the region on at least "
            f"{100 * min_coverage:.2g} % of the image, {min_views} are needed{behind}: check its position "
            "and size, or photograph it from more sides"
        )
    middle = median(coverage[name] for name in visible_in)
    if middle > MAX_COVERAGE:
        raise InputError(
            f"the region covers {100 * middle:.0f} % of the image in the median view, more than "
            f"{100 * MAX_COVERAGE:.0f} %, so that too little of the scene is left around it: make it smaller"
        )


def _disagreement(name: str, part: float, hull: VisualHull) -> str:
    others = first_few([other for other in hull.names if other != name])
    return (
        f"only {100 * part:.0f} % of the mask for {name} is left, the other masks ({others}) cut off "
        "the rest: draw all of them around the same object, rather too wide than too narrow"
    )
