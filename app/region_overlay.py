"""Where a region shows in all photographs, within a second, and whether it can be edited.

The images are small: those that `check_region` uses. What occludes the region is taken from depths of the
whole scene, which a thread renders meanwhile; `complete` says whether all are there. That is exact: the scene
is opaque in front of the region if and only if it is so without the region's content.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy import ndimage
from torch import Tensor

from nerf_insert.app.messages import as_sentence
from nerf_insert.app.scene_cache import OpenScene, array_data_url
from nerf_insert.app.shutdown import IN_FLIGHT
from nerf_insert.capture.capture import View
from nerf_insert.editing.region_views import scene_reach
from nerf_insert.errors import InputError, RunError
from nerf_insert.geometry.cameras import Camera
from nerf_insert.regions.checks import RegionProjection, check_region, project_region, small_camera
from nerf_insert.regions.drawn_masks import drawn_mask
from nerf_insert.regions.region import Region
from nerf_insert.regions.spec import RegionSpec
from nerf_insert.regions.viewing_cone import ViewingCone

COLOR = (255, 122, 26)  # of the region, sRGB
TINT = 70  # opacity of its inside, of 255
SHADOW = (30, 12, 0, 150)  # RGBA around its border
MAX_REGIONS = 6  # cached per scene
LINE_POINTS = 48  # of a guide line


@dataclass(frozen=True)
class RegionOverlays:
    """The region's visible part in small images, and what the checks say.

    Attributes:
        masks: The visible part, by the photograph's name.
        words: The checks' result in words.
        problem: Whether an edit there cannot succeed.
        complete: Whether occluders are known in all photographs.
    """

    masks: dict[str, Bool[Tensor, "_ _"]] = field(default_factory=dict)
    words: str = ""
    problem: bool = False
    complete: bool = True


def find_overlays(open_scene: OpenScene, region: Region) -> RegionOverlays:
    """Find where a region shows in all photographs, and check it."""
    views = open_scene.capture.views
    depths = dict(open_scene.depths)
    projections = {}
    unoccluded = project_region(region, [small_camera(view.camera) for view in views])
    for view, projection in zip(views, unoccluded, strict=True):
        depth = depths.get(view.name)
        if depth is not None:
            projection = RegionProjection(projection.entry, projection.entry < depth)
        projections[view.name] = projection
    masks = {name: projection.visible for name, projection in projections.items()}
    complete = len(depths) >= len(views)
    train = [(view.name, view.camera) for view in open_scene.capture.train]
    try:
        report = check_region(region, train, projections=[projections[name] for name, _ in train])
    except InputError as problem:
        return RegionOverlays(masks, as_sentence(problem), True, complete)
    words = f"The region is visible in {len(report.visible_in)} of {len(train)} training photographs."
    words = " ".join([words, *(as_sentence(warning) for warning in report.warnings)])
    return RegionOverlays(masks, words, False, complete)


def build_cached(open_scene: OpenScene, spec: RegionSpec) -> Region:
    """Build the region of a recipe, or return it from the cache.

    Raises:
        InputError: The region cannot be built.
    """
    key = json.dumps([spec.to_dict(), [Path(name).stat().st_mtime_ns for name in spec.files()]])
    with open_scene.lock:
        if key in open_scene.regions:
            open_scene.regions.move_to_end(key)
            return open_scene.regions[key]
    capture = open_scene.capture
    if open_scene.location.trained:
        capture = replace(capture, reach=scene_reach(open_scene.stack()))
    region = spec.build(capture, open_scene.selector())
    with open_scene.lock:
        open_scene.regions[key] = region
        while len(open_scene.regions) > MAX_REGIONS:
            open_scene.regions.popitem(last=False)
    return region


def render_depths(open_scene: OpenScene) -> threading.Thread:
    """Start a thread that renders the missing depths of all views."""

    def render() -> None:
        try:
            for view in open_scene.capture.views:
                with IN_FLIGHT.track():
                    open_scene.depth(view)
        except (InputError, RunError, OSError):  # the scene is gone, or the server shuts down
            pass

    thread = threading.Thread(target=render, name="depths", daemon=True)
    thread.start()
    return thread


def draw_mask(mask: Bool[Tensor, "h w"]) -> str | None:
    """Draw a region as a PNG to lay over the photograph: tinted, with a border; None if it is not visible."""
    if not bool(mask.any()):
        return None
    inside = mask.numpy()
    border = inside & ~np.asarray(ndimage.binary_erosion(inside, iterations=1), bool)
    around = ndimage.binary_dilation(inside, iterations=1) & ~inside
    image = np.zeros((*inside.shape, 4), np.uint8)
    image[around] = SHADOW
    image[inside] = (*COLOR, TINT)
    image[border] = (*COLOR, 255)
    return array_data_url(image)


def draw_in_view(open_scene: OpenScene, region: Region, view: View, width: int) -> str | None:
    """Draw a region in one photograph, sharply; occluders are as coarse as the depths are."""
    camera = view.camera.scaled(width / view.camera.width)
    depth = open_scene.depths.get(view.name)
    occluders = None if depth is None else lambda camera: resize_depth(depth, camera)
    return draw_mask(project_region(region, [camera], occluders)[0].visible)


def resize_depth(depth: Float[Tensor, "h w"], camera: Camera) -> Float[Tensor, "H W"]:
    """Resize the depths of a small image to the size of another camera of the same view."""
    size = (camera.height, camera.width)
    return torch.nn.functional.interpolate(depth[None, None], size=size)[0, 0]


def guide_lines(open_scene: OpenScene, masks: Mapping[str, str], view: View) -> list[dict[str, Any]]:
    """Return, for a photograph, the rays through the middles of the masks on the others.

    Args:
        open_scene: The scene.
        masks: Mask files by the photograph's name.
        view: The photograph in which the rays are drawn.

    Returns:
        Lines as {"from": name, "points": [[x, y], ...]}, in fractions of the image's width and height.
    """
    lines = []
    for name, file in masks.items():
        other = open_scene.capture.view(name)
        if other.name == view.name:
            continue
        try:
            ray = ViewingCone(*drawn_mask(other, file)).center_ray
        except InputError:
            continue
        far = 4 * float((open_scene.capture.center_of_attention - other.camera.center).norm())
        distances = torch.logspace(-2, 0, LINE_POINTS) * far
        projection = view.camera.project(ray.origins + distances[:, None] * ray.directions)
        points = projection.pixels[projection.inside] / torch.tensor(view.size)
        if len(points) > 1:
            lines.append({"from": name, "points": points.tolist()})
    return lines
