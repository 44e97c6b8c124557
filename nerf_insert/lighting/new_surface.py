"""The surface of a thing that one stack of layers shows in a region and another does not.

World coordinates and units.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from nerf_insert.capture.view import View
from nerf_insert.geometry.cameras import Camera
from nerf_insert.geometry.color import srgb_to_linear
from nerf_insert.lighting.depth_fusion import fuse_tsdf
from nerf_insert.lighting.surface import SceneSurface
from nerf_insert.regions.region import Region
from nerf_insert.rendering.depth_view import DepthView
from nerf_insert.rendering.stack import LayerStack

CELLS = 96  # of the surface along the region
SAME_CELLS = 2.0  # distance from the other surface up to which a surface is the same
SAME_BELOW = 0.25  # the same, in cells of that surface, across it
MAX_VIEWS = 20  # that the surface is fused from
PIXELS = 40_000  # of each of them


def new_surface(
    stack: LayerStack, views: Sequence[View], region: Region, below: SceneSurface
) -> SceneSurface | None:
    """Return the surface that a stack shows in a region, without what another surface has there.

    Args:
        stack: With the thing.
        views: The photographs whose cameras look at it.
        region: Where it is.
        below: The surface without it.

    Returns:
        The surface; None if there is none.
    """
    from scipy.spatial import KDTree

    chosen = [views[k * len(views) // MAX_VIEWS] for k in range(MAX_VIEWS)]
    chosen = list({view.name: view for view in chosen}.values())
    seen = fuse_tsdf([_rendered(stack, view.camera, region) for view in chosen], region.bounds, CELLS)
    vertices, faces = seen.mesh.vertices, seen.mesh.faces
    if not len(faces):
        return None
    old = torch.zeros(len(vertices), dtype=torch.bool)
    if len(below.mesh.vertices):
        distance, nearest = KDTree(below.mesh.vertices.numpy()).query(vertices.numpy())
        near = torch.from_numpy(distance < SAME_CELLS * seen.cell + below.cell)
        nearest = torch.from_numpy(nearest)
        height = ((vertices - below.mesh.vertices[nearest]) * below.normals[nearest]).sum(-1)
        old = near & (height < SAME_CELLS * seen.cell + SAME_BELOW * below.cell)
    new = ~old[faces].all(-1)
    if not bool(new.any()):
        return None
    mesh = replace(seen.mesh, faces=faces[new], corner_colors=seen.mesh.corner_colors[new])
    return replace(seen, mesh=mesh, front=seen.front[new])


def _rendered(stack: LayerStack, camera: Camera, region: Region) -> DepthView:
    """A small render of a region as a depth view; nothing is seen elsewhere."""
    small = camera.scaled(min(1.0, (PIXELS / (camera.width * camera.height)) ** 0.5))
    image = stack.render_masked(small, region.project(small))
    return DepthView(camera=small, depth=image.depth, color=srgb_to_linear(image.rgb))
