"""Where a region shows in all photographs, within a second, and in words whether it can be edited.

The pictures are small, those that `check_region` looks at. What stands in front of the region is taken
from depths of the whole scene that a thread renders meanwhile, `complete` says whether it is through: the
scene is opaque before the region begins exactly if it is so without what lies inside the region.
"""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy import ndimage
from torch import Tensor

from nerf_insert.app.scene_cache import OpenScene, array_url
from nerf_insert.app.shutdown import IN_FLIGHT
from nerf_insert.capture.capture import View
from nerf_insert.errors import InputError, RunError
from nerf_insert.geometry.cameras import Camera
from nerf_insert.regions.checks import RegionProjection, check_region, project_region, small_camera
from nerf_insert.regions.drawn_masks import drawn_mask
from nerf_insert.regions.region import Region
from nerf_insert.regions.spec import RegionSpec
from nerf_insert.regions.viewing_cone import ViewingCone

COLOR = (255, 122, 26)  # of the region
TINT = 70  # opacity of its inside, of 255
REGIONS = 6  # remembered, of each scene
STEPS = 48  # points of a guide line


@dataclass(frozen=True)
class Outlines:
    """`masks`: the region's visible part in small pictures, by the photograph's name."""

    masks: dict[str, Bool[Tensor, "h w"]] = field(default_factory=dict)
    words: str = ""
    problem: bool = False
    complete: bool = True  # whether it is known everywhere what stands in front of the region


def outlines(opened: OpenScene, region: Region) -> Outlines:
    views = opened.capture.views
    depths = dict(opened.depths)
    projections = {}
    for view, seen in zip(
        views, project_region(region, [small_camera(view.camera) for view in views]), strict=True
    ):
        nearest = depths.get(view.name)
        projections[view.name] = (
            seen if nearest is None else RegionProjection(seen.entry, seen.entry < nearest)
        )
    masks = {name: seen.visible for name, seen in projections.items()}
    train = [(view.name, view.camera) for view in opened.capture.train]
    try:
        report = check_region(region, train, projections=[projections[name] for name, _ in train])
    except InputError as problem:
        return Outlines(masks, sentence(problem), True, len(depths) >= len(views))
    words = f"The region shows in {len(report.visible_in)} of {len(train)} training photographs."
    words = " ".join([words, *(sentence(warning) for warning in report.warnings)])
    return Outlines(masks, words, False, len(depths) >= len(views))


def build_cached(opened: OpenScene, spec: RegionSpec) -> Region:
    """The region, from memory where it was asked for just now. Raises InputError in the checks' words,
    before any work starts."""
    key = json.dumps([spec.to_dict(), [Path(name).stat().st_mtime_ns for name in spec.files()]])
    with opened.lock:
        if key in opened.regions:
            opened.regions.move_to_end(key)
            return opened.regions[key]
    region = spec.build(opened.capture)
    with opened.lock:
        opened.regions[key] = region
        while len(opened.regions) > REGIONS:
            opened.regions.popitem(last=False)
    return region


def render_depths(opened: OpenScene) -> threading.Thread:
    """Start to render what stands in front, for all views that it is not known for."""

    def work() -> None:
        try:
            for view in opened.capture.views:
                with IN_FLIGHT.inside():
                    opened.depth(view)
        except (InputError, RunError, OSError):  # the scene went away meanwhile, or the server ends
            pass

    thread = threading.Thread(target=work, name="depths", daemon=True)
    thread.start()
    return thread


def drawn(mask: Bool[Tensor, "h w"]) -> str | None:
    """A picture to lay over the photograph: the region tinted, with a border; None where it is not seen."""
    if not bool(mask.any()):
        return None
    inside = mask.numpy()
    border = inside & ~ndimage.binary_erosion(inside, iterations=1)
    around = ndimage.binary_dilation(inside, iterations=1) & ~inside
    array = np.zeros((*inside.shape, 4), np.uint8)
    array[around] = (30, 12, 0, 150)
    array[inside] = (*COLOR, TINT)
    array[border] = (*COLOR, 255)
    return array_url(array)


def large(opened: OpenScene, region: Region, view: View, width: int) -> str | None:
    """The region in one photograph, sharply; what stands in front of it as coarse as the depths are."""
    camera = view.camera.scaled(width / view.camera.width)
    depth = opened.depths.get(view.name)
    hidden = None if depth is None else lambda camera: enlarged(depth, camera)
    return drawn(project_region(region, [camera], hidden)[0].visible)


def enlarged(depth: Float[Tensor, "h w"], camera: Camera) -> Float[Tensor, "H W"]:
    """A small picture's depths for a larger picture of the same view."""
    return torch.nn.functional.interpolate(depth[None, None], size=(camera.height, camera.width))[0, 0]


def guide_lines(opened: OpenScene, masks: dict[str, str], view: View) -> list[dict]:
    """Where, in a photograph, that lies which was painted on the others: the ray through the middle of each
    mask, as points (x, y) in shares of the picture's width and height."""
    lines = []
    for name, file in masks.items():
        other = opened.capture.view(name)
        if other.name == view.name:
            continue
        try:
            ray = ViewingCone(*drawn_mask(other, file)).center_ray
        except InputError:
            continue
        far = 4 * float((opened.capture.center_of_attention - other.camera.center).norm())
        distances = torch.logspace(-2, 0, STEPS) * far
        projection = view.camera.project(ray.origins + distances[:, None] * ray.directions)
        points = projection.pixels[projection.inside] / torch.tensor(view.size)
        if len(points) > 1:
            lines.append({"from": name, "points": points.tolist()})
    return lines


def sentence(text: object) -> str:
    text = str(text).strip()
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) else ".")
