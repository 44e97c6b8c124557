"""A scene as a point cloud and as a mesh, both from rendered depth.

World coordinates are those of the capture's transforms.json, colors are sRGB in 0..1. N is the number of
points.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from nerf_insert.capture.capture import Capture
from nerf_insert.capture.pixel_set import PixelSet
from nerf_insert.errors import RunError
from nerf_insert.io.files import replacing
from nerf_insert.io.images import to_uint8
from nerf_insert.rendering.depth_view import DepthView
from nerf_insert.rendering.stack import RAYS_PER_BATCH, LayerStack
from nerf_insert.rendering.tsdf import TsdfGrid
from nerf_insert.runtime.progress import Progress
from nerf_insert.training.optimizer import at_step

MIN_OPACITY = 0.5  # of a pixel that shows a surface
MAX_DISTANCE = 4.0  # of points from the capture's center, in that of the farthest camera
POINTS_AT_ONCE = 1 << 16
MIN_YIELD = 0.01  # points found of those asked for, per 100 batches of rays; with less the search ends


def export_points(
    stack: LayerStack, capture: Capture, count: int, file: Path, progress: Progress, seed: int = 0
) -> dict[str, Any]:
    """Write a PLY point cloud of what random pixels of the training views show.

    Args:
        stack: The scene, with or without its layers.
        capture: Its capture; points are in the world coordinates of its transforms.json.
        count: How many points to write.
        file: The PLY to write.
        progress: Reports the work.
        seed: Random seed of the pixels.

    Returns:
        `{"points": number of points, "file": path}`.

    Raises:
        RunError: The views show next to nothing solid, or the file cannot be written.
    """
    import trimesh

    cameras = [view.camera for view in capture.train]
    pixels = PixelSet(cameras, [torch.zeros(c.height, c.width, 1, dtype=torch.uint8) for c in cameras])
    center, reach = _camera_range(capture)
    found: list[tuple[Tensor, Tensor]] = []
    total, batches = 0, 0
    with progress.task("Looking for points", total=count) as task:
        while total < count:
            chosen = torch.randint(len(pixels), (RAYS_PER_BATCH,), generator=at_step(seed, batches))
            batches += 1
            rays = pixels.rays(chosen)
            rendered = stack.render(rays)
            points = rays.at(rendered.depth.nan_to_num(posinf=0.0))
            near = (points - center).norm(dim=-1) < MAX_DISTANCE * reach
            solid = rendered.depth.isfinite() & (rendered.accumulation > MIN_OPACITY) & near
            found.append((points[solid], rendered.rgb[solid]))
            total += int(solid.sum())
            task.update(total)
            if batches >= 20 and total < count * MIN_YIELD * batches / 100:
                raise RunError("the training views show next to nothing solid: there are no points to export")
    points, rgb = (torch.cat(column)[:count] for column in zip(*found, strict=True))
    cloud = trimesh.PointCloud(points.numpy(), to_uint8(rgb).cpu().numpy())
    with replacing(file) as new:
        new.write_bytes(cloud.export(file_type="ply"))
    return {"points": len(points), "file": str(file)}


def export_mesh(
    stack: LayerStack,
    capture: Capture,
    file: Path,
    progress: Progress,
    resolution: int = 192,
    box: Float[Tensor, "2 3"] | None = None,
) -> dict[str, Any]:
    """Write the scene's surface as a mesh with a color at each vertex.

    The depth of all views is fused into a signed distance (`rendering.tsdf`), and triangles are extracted by
    marching cubes.

    Args:
        stack: The scene, with or without its layers.
        capture: Its capture; vertices are in the world coordinates of its transforms.json.
        file: The GLB or PLY to write.
        progress: Reports the work.
        resolution: Voxels along the longest side of the box.
        box: Lowest and highest corner of what to take, world coordinates; by default the space in which the
            cameras are.

    Returns:
        `{"vertices": number, "faces": number, "file": path}`.

    Raises:
        InputError: The capture has panoramas, into which points cannot be projected.
        RunError: There is no surface in the box, or the file cannot be written.
    """
    import trimesh
    from skimage.measure import marching_cubes

    if box is None:
        center, reach = _camera_range(capture)
        box = torch.stack([center - reach, center + reach])
    grid = _fuse(stack, capture, box, float((box[1] - box[0]).max()) / resolution, progress)
    try:
        corners, faces, _, _ = marching_cubes(
            grid.mean().numpy(), 0.0, spacing=(grid.cell,) * 3, mask=grid.known().numpy()
        )
    except (ValueError, RuntimeError):
        raise RunError("the views show no surface in the box: there is no mesh to export") from None
    vertices = torch.from_numpy(corners.astype(np.float32)) + box[0]
    colors = to_uint8(_colors(stack, capture, vertices)).cpu().numpy()
    mesh = trimesh.Trimesh(vertices.numpy(), faces, vertex_colors=colors)
    with replacing(file) as new:
        new.write_bytes(mesh.export(file_type=file.suffix[1:]))
    return {"vertices": len(vertices), "faces": len(faces), "file": str(file)}


def _fuse(
    stack: LayerStack, capture: Capture, box: Float[Tensor, "2 3"], cell: float, progress: Progress
) -> TsdfGrid:
    """Fuse the depth of all views at the voxels' corners."""
    grid = TsdfGrid(box, cell)
    with progress.task("Fusing the depth of all views", total=len(capture.views)) as task:
        for view in capture.views:
            rendered = stack.render_image(view.camera)
            depth = rendered.depth.masked_fill(rendered.accumulation < MIN_OPACITY, torch.inf)
            grid.integrate(DepthView(camera=view.camera, depth=depth), interpolate=False)
            task.advance(1)
    return grid


@torch.no_grad()
def _colors(stack: LayerStack, capture: Capture, points: Float[Tensor, "N 3"]) -> Float[Tensor, "N 3"]:
    """Colors of points on the surface, as the nearest camera sees them."""
    centers = torch.stack([view.camera.center for view in capture.views])
    parts = []
    for part in points.split(POINTS_AT_ONCE):
        away = part - centers[torch.cdist(part, centers).argmin(1)]
        parts.append(stack.query(part, torch.nn.functional.normalize(away, dim=-1))[1])
    return torch.cat(parts) if parts else points


def _camera_range(capture: Capture) -> tuple[Float[Tensor, "3"], float]:
    """The point that the cameras look at, and the distance of the farthest of them."""
    center = capture.center_of_attention
    return center, max(float((view.camera.center - center).norm()) for view in capture.views)
