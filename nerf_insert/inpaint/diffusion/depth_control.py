"""Control images for depth ControlNets: near is white, far is black.

These are trained on the output of monocular depth networks: the inverse of the depth along the camera's axis,
normalized so that the image uses all of 0..1.
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


def target_distances(
    source: str,
    scene: Float[Tensor, "H W"],
    camera: Camera,
    region: Region | None,
    guide: Guide,
    first: bool,
) -> Float[Tensor, "H W"]:
    """Return the distance along each pixel's ray to the surface that is to be inpainted.

    Args:
        source: What stands for the new content in the first round: "mesh" the guide's mesh, "region" the
            region's surface, "scene" what is there now. "auto" takes the mesh if there is one, else the
            region if it has a shape of its own (a visual hull or a mesh, not a box), else the scene.
        scene: Distances to the current scene, world units, inf where there is nothing.
        camera: The view's camera.
        region: The region of the edit.
        guide: Gives the mesh.
        first: Whether this is the first round; later the scene shows the new content.

    Returns:
        World units, inf where there is nothing.
    """
    if source == "auto":
        shaped = isinstance(region, VisualHull | MeshRegion)
        source = "scene" if not first else "mesh" if guide.mesh else "region" if shaped else "scene"
    if source == "scene":
        return scene
    rays = camera.rays()
    if source == "mesh" and guide.mesh is not None:
        surface = guide.mesh.cast(rays).distance
    elif source == "region" and region is not None:
        surface = region.entry(rays)
    else:
        return scene
    return torch.minimum(scene, surface.view(scene.shape).to(scene))


def inverse_depth(distance: Float[Tensor, "H W"], camera: Camera) -> Float[Tensor, "H W"]:
    """Convert distances along rays to inverse depth along the camera's axis, per world unit; 0: nothing."""
    forward = -camera.c2w[:, 2]
    along = (camera.rays().directions @ forward).view(distance.shape).clamp_min(1e-6)
    return torch.where(distance.isfinite(), 1 / (distance * along).clamp_min(1e-6), 0.0)


def normalize_depth(inverse: Float[Tensor, "h w"]) -> Float[Tensor, "h w 3"]:
    """Normalize the inverse depth of a crop to 0..1, as three equal channels."""
    present = inverse[inverse > 0]
    if not len(present):
        return torch.zeros(*inverse.shape, 3)
    far, near = present.quantile(FARTHEST), present.quantile(NEAREST)
    gray = ((inverse - far) / (near - far).clamp_min(1e-9)).clamp(0, 1)
    return gray[..., None].expand(-1, -1, 3).contiguous()
