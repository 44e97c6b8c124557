"""The scene's surface from the depth of many views: smooth, without haze and floaters, fast to cast rays at.

A radiance field's own depth is noisy and slow to render; light and shadow need many rays. So depth maps are
fused into a truncated signed distance field (`rendering.tsdf`), and that is turned into triangles.
World coordinates and units.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from nerf_insert.geometry.mesh import Mesh
from nerf_insert.geometry.mesh_normals import geometric_normals
from nerf_insert.lighting.surface import SceneSurface, surface_radiance
from nerf_insert.lighting.surface_nets import denoised, surface_net, without_small_pieces
from nerf_insert.rendering.depth_view import DepthView
from nerf_insert.rendering.tsdf import TsdfGrid


def fuse_tsdf(
    views: Sequence[DepthView], bounds: Float[Tensor, "2 3"], resolution: int = 128
) -> SceneSurface:
    """Fuse depth views into the surface within an axis-aligned box.

    Args:
        views: Depth views with colors.
        bounds: Lowest and highest corner of the box, world coordinates.
        resolution: Cells along the box's longest side.
    """
    cell = float((bounds[1] - bounds[0]).max()) / resolution
    grid = TsdfGrid(bounds, cell)
    near_surface = grid.near(views)  # elsewhere is free space, or nothing is known
    for view in views:
        grid.integrate(view, near_surface)
    vertices, faces = denoised(*without_small_pieces(*surface_net(grid.distance())))
    mesh = Mesh.plain(vertices * cell + bounds[0], faces)
    front, normals = _normals(mesh)
    radiance, spread = surface_radiance(views, mesh.vertices, normals, tolerance=2 * cell)
    return SceneSurface(mesh, front, normals, radiance, spread, cell)


def _normals(mesh: Mesh) -> tuple[Float[Tensor, "F 3"], Float[Tensor, "V 3"]]:
    """Unit normals of the faces by the right-hand rule, and their means by area at the vertices."""
    front = geometric_normals(mesh.vertices, mesh.faces)
    a, b, c = mesh.vertices[mesh.faces].unbind(1)
    area = torch.linalg.cross(b - a, c - a).norm(dim=-1, keepdim=True)
    normals = torch.zeros_like(mesh.vertices)
    for corner in mesh.faces.unbind(1):
        normals.index_add_(0, corner, area * front)
    return front, torch.nn.functional.normalize(normals, dim=-1)
