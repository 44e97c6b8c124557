"""Is this region worth an edit? Asked before any time is spent."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import median
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from nerf_insert.errors import InputError, first_few
from nerf_insert.geometry.cameras import Camera, Rays
from nerf_insert.regions.csg import DilatedRegion, IntersectionRegion, UnionRegion
from nerf_insert.regions.region import Region
from nerf_insert.regions.visual_hull import VisualHull

SIDE = 128  # pixels along the longer side of the pictures that are looked at
MIN_VIEWS = 3
MIN_SHARE = 0.001  # of a picture: less of the region does not count as seeing it
MAX_SHARE = 0.6  # of the median picture
AGREE, DISAGREE = 0.7, 0.25  # of a mask within the hull: warn below the one, refuse below the other

Occluders = Callable[[Camera], Float[Tensor, "H W"]]


class Look(NamedTuple):
    """A region in one camera's picture."""

    entry: Float[Tensor, "H W"]  # the distance at which the pixel's ray meets it, infinity where it does not
    visible: Bool[Tensor, "H W"]


@dataclass(frozen=True)
class Report:
    """What a region looks like from the cameras."""

    shares: dict[str, float]  # of each picture, that the region covers
    seen_by: tuple[str, ...]  # views that see enough of it
    mask_coverage: dict[str, float]  # of each mask that a hull was made of, how much the hull covers
    warnings: tuple[str, ...]


def check_region(
    region: Region,
    cameras: Sequence[tuple[str, Camera]],
    occluders: Occluders | None = None,
    scene_bounds: Float[Tensor, "2 3"] | None = None,
    min_views: int = MIN_VIEWS,
    min_share: float = MIN_SHARE,
    looks: Sequence[Look] | None = None,
) -> Report:
    """Look at a region from (a small version of) every camera, given with its view's name.

    `occluders` gives for a camera the distance along each pixel's ray at which the scene outside the
    region becomes opaque. `scene_bounds`: the box that the scene fills. `looks`: one for each camera, for
    who has taken them already; `occluders` is then not asked. Raises InputError, saying what
    to do, when an edit there cannot come out well.
    """
    if scene_bounds is not None:
        _check_place(region, scene_bounds)
    _check_cameras_outside(region, cameras)
    looks = look(region, [small(camera) for _, camera in cameras], occluders) if looks is None else looks
    shares = {
        name: float(seen.visible.float().mean()) for (name, _), seen in zip(cameras, looks, strict=True)
    }
    crossed = [bool(seen.entry.isfinite().any()) for seen in looks]
    hidden = sum(any_ and share < min_share for any_, share in zip(crossed, shares.values(), strict=True))
    seen_by = tuple(name for name, share in shares.items() if share >= min_share)
    if not seen_by and not hidden:
        _refuse_unseen(region, cameras, min_share)
    _check_seen(shares, seen_by, hidden, min_views, min_share)
    coverage, warnings = {}, []
    for hull in hulls(region):
        for name, share in mask_coverage(hull).items():
            coverage[name] = share
            if share < AGREE:
                warnings.append(_disagreement(name, share, hull))
            if share < DISAGREE:
                raise InputError(f"the masks disagree: {warnings[-1]}")
    return Report(shares, seen_by, coverage, tuple(warnings))


def small(camera: Camera) -> Camera:
    """The camera with a picture of the size that regions are looked at in."""
    return camera.scaled(min(1.0, SIDE / max(camera.width, camera.height)))


def look(region: Region, cameras: Sequence[Camera], occluders: Occluders | None = None) -> list[Look]:
    """The region in the pictures of all cameras, looked up together, which is quicker."""
    rays = [camera.rays() for camera in cameras]
    entry = region.entry(Rays(torch.cat([r.origins for r in rays]), torch.cat([r.directions for r in rays])))
    looks = []
    for part, camera in zip(entry.split([r.count for r in rays]), cameras, strict=True):
        part = part.view(camera.height, camera.width)
        looks.append(Look(part, part < (occluders(camera) if occluders else float("inf"))))
    return looks


def hulls(region: Region) -> Iterator[VisualHull]:
    """The visual hulls that a region is made of."""
    if isinstance(region, VisualHull):
        yield region
    elif isinstance(region, UnionRegion | IntersectionRegion):
        for part in region.regions:
            yield from hulls(part)
    elif isinstance(region, DilatedRegion):
        yield from hulls(region.region)


def mask_coverage(hull: VisualHull) -> dict[str, float]:
    """For each mask, by its name, the share of its pixels through which a ray meets the hull."""
    covered = {}
    for name, cone in zip(hull.names, hull.cones, strict=True):
        camera, mask = cone.camera, cone.mask
        pixels = mask.nonzero()
        if len(pixels) > SIDE * SIDE:  # enough of them, evenly
            pixels = pixels[:: len(pixels) // (SIDE * SIDE) + 1]
        rays = camera.rays_through(pixels.flip(-1).float() + 0.5)
        covered[name] = float(hull.entry(rays).isfinite().float().mean())
    return covered


def _check_place(region: Region, scene: Float[Tensor, "2 3"]) -> None:
    low, high = torch.maximum(region.bounds[0], scene[0]), torch.minimum(region.bounds[1], scene[1])
    if not (low <= high).all():
        middle, center = (
            ", ".join(f"{v:.3g}" for v in box.mean(0).tolist()) for box in (region.bounds, scene)
        )
        raise InputError(
            f"the region lies outside the scene: it is around ({middle}), the scene around ({center}), "
            "in the capture's own world units; check the pose, the box or the masks"
        )


def _check_cameras_outside(region: Region, cameras: Sequence[tuple[str, Camera]]) -> None:
    inside = region.contains(torch.stack([camera.center for _, camera in cameras]))
    if inside.any():
        names = [name for (name, _), is_in in zip(cameras, inside.tolist(), strict=True) if is_in]
        raise InputError(
            f"the region contains {len(names)} of the cameras ({first_few(names)}), which would see nothing "
            "but the inside of it: make it smaller or move it away from where the photographs were taken"
        )


def _refuse_unseen(region: Region, cameras: Sequence[tuple[str, Camera]], min_share: float) -> None:
    center = region.bounds.mean(0)[None]
    shown = sum(bool(camera.project(center).inside) for _, camera in cameras)
    if shown:
        raise InputError(
            f"the region is too small: it covers less than {100 * min_share:.2g} % of every picture, "
            f"although its middle is in {shown} of {len(cameras)}; make it larger, or move it nearer"
        )
    raise InputError(f"none of the {len(cameras)} photographs shows the region: check its place and size")


def _check_seen(
    shares: dict[str, float], seen_by: tuple[str, ...], hidden: int, min_views: int, min_share: float
) -> None:
    if len(seen_by) < min_views:
        behind = f"; something else is in front of it in {hidden}" if hidden else ""
        which = f" ({first_few(seen_by)})" if seen_by else ""
        raise InputError(
            f"only {len(seen_by)} of the {len(shares)} photographs{which} show the region on at least "
            f"{100 * min_share:.2g} % of the picture, {min_views} are needed{behind}: check its place and "
            "size, or photograph that place from more sides"
        )
    middle = median(shares[name] for name in seen_by)
    if middle > MAX_SHARE:
        raise InputError(
            f"the region covers {100 * middle:.0f} % of the picture in the median view, more than "
            f"{100 * MAX_SHARE:.0f} %, so that too little of the scene is left around it: make it smaller"
        )


def _disagreement(name: str, share: float, hull: VisualHull) -> str:
    others = first_few([other for other in hull.names if other != name])
    return (
        f"only {100 * share:.0f} % of the mask for {name} is left, the other masks ({others}) cut off "
        "the rest: draw all of them around the same thing, rather too wide than too narrow"
    )
