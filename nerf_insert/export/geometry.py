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
from nerf_insert.errors import InputError, RunError
from nerf_insert.export.glb import glb_bytes
from nerf_insert.geometry.color import srgb_to_linear
from nerf_insert.geometry.up_axis import upright
from nerf_insert.io.files import replacing
from nerf_insert.io.images import to_uint8
from nerf_insert.regions.spec import Box
from nerf_insert.rendering.depth_view import DepthView
from nerf_insert.rendering.outputs import check_folder
from nerf_insert.rendering.stack import RAYS_PER_BATCH, LayerStack
from nerf_insert.rendering.tsdf import TsdfGrid
from nerf_insert.runtime.progress import SILENT, Progress
from nerf_insert.scene.renders import Layers, layer_stack
from nerf_insert.scene.scene import Scene
from nerf_insert.training.optimizer import at_step

MIN_OPACITY = 0.5  # of a pixel that shows a surface
MAX_DISTANCE = 4.0  # of points from the capture's center, in that of the farthest camera
POINTS_AT_ONCE = 1 << 16
MESH_SUFFIXES = (".glb", ".ply")
MIN_YIELD = 0.01  # points found of those asked for, per 100 batches of rays; with less the search ends


def export_pointcloud(
    scene: Scene,
    file: str | Path,
    *,
    count: int = 1_000_000,
    seed: int = 0,
    layers: Layers = True,
    progress: Progress = SILENT,
) -> dict[str, Any]:
    """Write a PLY point cloud of what random pixels of the training views show.

    Args:
        scene: The scene; points are in world coordinates.
        file: The PLY to write.
        count: How many points to write.
        seed: Random seed of the pixels.
        layers: Which layers to include, see `layer_stack`.
        progress: Reports the work.

    Returns:
        `{"points": number of points, "file": path}`.

    Raises:
        RunError: The views show next to nothing solid, or the file cannot be written.
    """
    import trimesh

    file, capture, stack = Path(file), scene.capture, layer_stack(scene, layers)
    check_folder(file.parent)
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
    cloud = trimesh.PointCloud(_written(capture, points), to_uint8(rgb).cpu().numpy())
    with replacing(file) as new:
        new.write_bytes(_binary(cloud.export(file_type="ply")))
    return {"points": len(points), "file": str(file)}


def export_mesh(
    scene: Scene,
    file: str | Path,
    *,
    resolution: int = 192,
    box: Box | None = None,
    layers: Layers = True,
    progress: Progress = SILENT,
) -> dict[str, Any]:
    """Write the scene's surface as a mesh with a color at each vertex.

    A GLB is as its standard says: y-up, with colors in linear light. Inserted again, or opened in Blender, it
    stands where it was in the same colors. A PLY is in world coordinates with sRGB colors.

    The depth of all views is fused into a signed distance (`rendering.tsdf`), and triangles are extracted by
    marching cubes.

    Args:
        scene: The scene.
        file: The GLB or PLY to write.
        resolution: Voxels along the longest side of the box.
        box: What to take, an axis-aligned box; by default the space in which the cameras are.
        layers: Which layers to include, see `layer_stack`.
        progress: Reports the work.

    Returns:
        `{"vertices": number, "faces": number, "file": path}`.

    Raises:
        InputError: The capture has panoramas, into which points cannot be projected; the box is rotated; or
            the file is neither GLB nor PLY.
        RunError: There is no surface in the box, or the file cannot be written.
    """
    import trimesh
    from skimage.measure import marching_cubes

    file, capture = Path(file), scene.capture
    if file.suffix.lower() not in MESH_SUFFIXES:
        raise InputError(f"{file}: meshes are written as {' or '.join(MESH_SUFFIXES)}")
    check_folder(file.parent)
    corners_of_box = _corners(box, capture)
    cell = float((corners_of_box[1] - corners_of_box[0]).max()) / resolution
    stack = layer_stack(scene, layers)
    grid = _fuse(stack, capture, corners_of_box, cell, progress)
    try:
        corners, faces, _, _ = marching_cubes(
            grid.mean().numpy(), 0.0, spacing=(grid.cell,) * 3, mask=grid.known().numpy()
        )
    except (ValueError, RuntimeError):
        raise RunError("the views show no surface in the box: there is no mesh to export") from None
    vertices = torch.from_numpy(corners.astype(np.float32)) + corners_of_box[0]
    colors = to_uint8(_colors(stack, capture, vertices)).cpu()
    written = _written(capture, vertices)
    if file.suffix.lower() == ".glb":
        turn = upright("y", capture.up)[:3, :3].numpy()
        turned = (written @ turn).astype(np.float32)  # undone when it is read
        content = glb_bytes(turned, faces, srgb_to_linear(colors.float() / 255).numpy())
    else:
        mesh = trimesh.Trimesh(written, faces, vertex_colors=colors.numpy())
        content = _binary(mesh.export(file_type="ply"))
    with replacing(file) as new:
        new.write_bytes(content)
    return {"vertices": len(vertices), "faces": len(faces), "file": str(file)}


def _written(capture: Capture, points: Float[Tensor, "N 3"]) -> np.ndarray:
    """Return points in the capture's own coordinates: float64 where those are far from zero."""
    return capture.outside(points).numpy() if any(capture.origin) else points.numpy()


def _binary(content: object) -> bytes:
    """Return what trimesh exported, which is bytes for PLY and GLB."""
    assert isinstance(content, bytes)
    return content


def _corners(box: Box | None, capture: Capture) -> Float[Tensor, "2 3"]:
    """Return the lowest and the highest corner of a box; of the space in which the cameras are for None."""
    if box is None:
        center, reach = _camera_range(capture)
        return torch.stack([center - reach, center + reach])
    if any(box.rotation or ()):
        raise InputError("the box of a mesh export cannot be rotated")
    center, half = capture.inside(box.center), torch.tensor(box.size).float() / 2
    return torch.stack([center - half, center + half])


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
