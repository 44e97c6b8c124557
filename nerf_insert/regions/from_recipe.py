"""From a recipe's region tree and pose to pieces of space in world coordinates."""

from __future__ import annotations

from pathlib import Path

import torch
from jaxtyping import Bool
from torch import Tensor

from nerf_insert.capture.capture import Capture, View
from nerf_insert.errors import InputError
from nerf_insert.geometry.cameras import Camera
from nerf_insert.geometry.mesh import load_mesh
from nerf_insert.geometry.pose import Pose
from nerf_insert.io.images import image_size, read_mask
from nerf_insert.regions import BoxRegion, Dilated, Intersection, MeshRegion, Region, Union, VisualHull

DILATION = 0.08  # of a mesh that stands for a region, unless told otherwise, as a share of its diagonal


def load_pose(rows: list[list[float]] | None) -> Pose | None:
    return None if rows is None else Pose(torch.tensor(rows, dtype=torch.float64))


def build_region(tree: dict, capture: Capture) -> Region:
    """The region that a recipe's tree describes (`nerf_insert.scene.recipe` shows the form).

    Raises InputError for files that cannot be used and regions that come out empty.
    """
    if "union" in tree:
        return Union([build_region(part, capture) for part in tree["union"]])
    if "intersection" in tree:
        return Intersection([build_region(part, capture) for part in tree["intersection"]])
    if "mesh" in tree:
        mesh = load_mesh(tree["mesh"], load_pose(tree.get("pose")))
        diagonal = float((mesh.bounds[1] - mesh.bounds[0]).norm())
        dilate = tree.get("dilate")
        return MeshRegion(mesh, dilate=DILATION * diagonal if dilate is None else float(dilate))
    if "dilate" in tree:
        return Dilated(build_region(tree["dilate"]["region"], capture), float(tree["dilate"]["by"]))
    if "box" in tree:
        box = tree["box"]
        return BoxRegion(box["center"], box["size"], box.get("rotation"))
    return _hull(tree["masks"], capture)


def _hull(masks: dict[str, str], capture: Capture) -> VisualHull:
    views = {}
    for name, file in masks.items():
        view = capture.view(name)
        if view.name in views:
            raise InputError(f"there are two masks for {view.name}: give one per photograph")
        views[view.name] = drawn_mask(view, file)
    return VisualHull(list(views.values()), names=list(views))


def drawn_mask(view: View, file: str | Path) -> tuple[Camera, Bool[Tensor, "H W"]]:
    """The mask that a person drew on a view's photograph, and the view's camera in the mask's size.

    That is the size of the view, or the photograph's own where the capture is used scaled down: nothing of
    the mask is lost then. Raises InputError for any other size, and as `read_mask` does.
    """
    size = image_size(file)
    camera = view.camera if size == view.size else view.camera.resized(*image_size(view.path))
    return camera, read_mask(file, (camera.width, camera.height))
