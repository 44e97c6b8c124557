"""Depth as models take it for control: a picture in which near is white and far is black.

ControlNets for depth are trained on what monocular depth networks give: the inverse of the distance along
the axis of view, stretched so that the picture uses all of 0..1.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from nerf_insert.geometry.cameras import Camera
from nerf_insert.inpaint.guide import Guide
from nerf_insert.regions import MeshRegion, VisualHull
from nerf_insert.regions.region import Region

SOURCES = ("auto", "scene", "region", "mesh")
NEAREST, FARTHEST = 0.98, 0.02  # quantiles of the inverse depth that become white and black


def distances(
    source: str,
    scene: Float[Tensor, "H W"],
    camera: Camera,
    region: Region | None,
    guide: Guide,
    first: bool,
) -> Float[Tensor, "H W"]:
    """Distance along each pixel's ray to what is to be there, world units, infinite where nothing is.

    `scene` is that of the scene as it is now. `source` says what stands in the region before anything was
    painted (`first`): "mesh" the guide's, "region" the region's own surface, "scene" what is there; "auto"
    takes the mesh if there is one, else the region if it has a shape of its own, as a hull of masks has and
    a box has not. Afterwards the scene knows.
    """
    if source == "auto":
        shaped = isinstance(region, VisualHull | MeshRegion)
        source = "scene" if not first else "mesh" if guide.mesh else "region" if shaped else "scene"
    if source == "scene":
        return scene
    rays = camera.rays()
    if source == "mesh" and guide.mesh is not None:
        there = guide.mesh.cast(rays).distance
    elif source == "region" and region is not None:
        there = region.entry(rays)
    else:
        return scene
    return torch.minimum(scene, there.view(scene.shape).to(scene))


def depth_picture(distance: Float[Tensor, "H W"], camera: Camera) -> Float[Tensor, "H W"]:
    """Inverse depth along the camera's axis, per world unit; 0 where nothing is."""
    forward = -camera.c2w[:, 2]
    along = (camera.rays().directions @ forward).view(distance.shape).clamp_min(1e-6)
    return torch.where(distance.isfinite(), 1 / (distance * along).clamp_min(1e-6), 0.0)


def stretched(inverse: Float[Tensor, "h w"]) -> Float[Tensor, "h w 3"]:
    """A window of such a picture over the whole range of 0..1, as three equal channels."""
    there = inverse[inverse > 0]
    if not len(there):
        return torch.zeros(*inverse.shape, 3)
    far, near = there.quantile(FARTHEST), there.quantile(NEAREST)
    gray = ((inverse - far) / (near - far).clamp_min(1e-9)).clamp(0, 1)
    return gray[..., None].expand(-1, -1, 3).contiguous()
