"""A scene as points and as a mesh, both in the capture's world coordinates and both from rendered depth.

N is the number of points, R the resolution of the volume along its longest side.
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
from nerf_insert.rendering.stack import RAYS_PER_BATCH, LayerStack
from nerf_insert.runtime.progress import Progress
from nerf_insert.training.optimizer import at_step

SOLID = 0.5  # opacity from which on a pixel shows a surface
FAR = 4.0  # how many times as far as the cameras lie from their center points are kept
TRUNCATION = 4.0  # voxels
FEWEST = 2  # views that have to see a place


def export_points(
    stack: LayerStack, capture: Capture, count: int, file: Path, progress: Progress, seed: int = 0
) -> dict[str, Any]:
    """Write a PLY of `count` colored points that random pixels of the training views show.

    Raises RunError where the views show nothing solid, or where the disk fails.
    """
    import trimesh

    cameras = [view.camera for view in capture.train]
    pixels = PixelSet(cameras, [torch.zeros(c.height, c.width, 1, dtype=torch.uint8) for c in cameras])
    center, reach = _middle(capture)
    found: list[tuple[Tensor, Tensor]] = []
    have, asked = 0, 0
    with progress.task("Looking for points", total=count) as task:
        while have < count:
            chosen = torch.randint(len(pixels), (RAYS_PER_BATCH,), generator=at_step(seed, asked))
            asked += 1
            rays = pixels.rays(chosen)
            seen = stack.render(rays)
            points = rays.at(seen.depth.nan_to_num(posinf=0.0))
            near = (points - center).norm(dim=-1) < FAR * reach
            solid = seen.depth.isfinite() & (seen.accumulation > SOLID) & near
            found.append((points[solid], seen.rgb[solid]))
            have += int(solid.sum())
            task.update(have)
            if asked >= 20 and have < count * asked / 1e4:
                raise RunError("the training views show next to nothing solid: there are no points to export")
    points, rgb = (torch.cat(column)[:count] for column in zip(*found, strict=True))
    with replacing(file) as new:
        new.write_bytes(
            trimesh.PointCloud(points.numpy(), to_uint8(rgb).cpu().numpy()).export(file_type="ply")
        )
    return {"points": len(points), "file": str(file)}


def export_mesh(
    stack: LayerStack,
    capture: Capture,
    file: Path,
    progress: Progress,
    resolution: int = 192,
    box: Float[Tensor, "2 3"] | None = None,
) -> dict[str, Any]:
    """Fuse the depth that all views see into a signed distance (Curless and Levoy, SIGGRAPH 1996), and write
    its surface as a GLB or PLY with a color at each vertex. `box`: lowest and highest corner, by default
    the room in which the cameras are.

    Raises RunError where there is no surface, or where the disk fails.
    """
    import trimesh
    from skimage.measure import marching_cubes

    if box is None:
        center, reach = _middle(capture)
        box = torch.stack([center - reach, center + reach])
    side = float((box[1] - box[0]).max()) / resolution
    distance, seen = _fuse(stack, capture, box, side, progress)
    try:
        corners, faces, _, _ = marching_cubes(
            distance.numpy(), 0.0, spacing=(side,) * 3, mask=(seen >= FEWEST).numpy()
        )
    except (ValueError, RuntimeError):
        raise RunError("the views show no surface in the box: there is no mesh to export") from None
    vertices = torch.from_numpy(corners.astype(np.float32)) + box[0]
    mesh = trimesh.Trimesh(
        vertices.numpy(), faces, vertex_colors=to_uint8(_colors(stack, capture, vertices)).cpu().numpy()
    )
    with replacing(file) as new:
        new.write_bytes(mesh.export(file_type=file.suffix[1:]))
    return {"vertices": len(vertices), "faces": len(faces), "file": str(file)}


def _fuse(
    stack: LayerStack, capture: Capture, box: Float[Tensor, "2 3"], side: float, progress: Progress
) -> tuple[Float[Tensor, "X Y Z"], Float[Tensor, "X Y Z"]]:
    """The mean signed distance to the surface at the voxels' corners, in truncations, negative inside; by
    how many views each is seen."""
    shape = [max(2, int(n) + 1) for n in ((box[1] - box[0]) / side).ceil()]
    axes = [box[0][k] + side * torch.arange(n) for k, n in enumerate(shape)]
    total, seen = torch.zeros(shape), torch.zeros(shape)
    with progress.task("Fusing what the views see", total=len(capture.views)) as task:
        for view in capture.views:
            picture = stack.render_image(view.camera)
            depth = picture.depth.masked_fill(picture.accumulation < SOLID, torch.inf)
            for k in range(shape[0]):  # a slice at a time, for memory
                grid = torch.stack(torch.meshgrid(axes[0][k : k + 1], axes[1], axes[2], indexing="ij"), -1)
                where = view.camera.project(grid.reshape(-1, 3))
                index = where.inside.nonzero()[:, 0]
                x, y = where.pixels[index].long().unbind(-1)
                signed = (depth[y, x] - where.distance[index]) / (TRUNCATION * side)
                index, signed = index[signed > -1], signed[signed > -1]
                total[k].view(-1)[index] += signed.clamp_max(1)
                seen[k].view(-1)[index] += 1
            task.advance(1)
    return total / seen.clamp_min(1), seen


@torch.no_grad()
def _colors(stack: LayerStack, capture: Capture, points: Float[Tensor, "N 3"]) -> Float[Tensor, "N 3"]:
    """Of points on the surface, as the nearest camera sees them."""
    centers = torch.stack([view.camera.center for view in capture.views])
    parts = []
    for part in points.split(1 << 16):
        away = part - centers[torch.cdist(part, centers).argmin(1)]
        parts.append(stack.query(part, torch.nn.functional.normalize(away, dim=-1))[1])
    return torch.cat(parts) if parts else points


def _middle(capture: Capture) -> tuple[Float[Tensor, "3"], float]:
    """Where the cameras look, and how far away the farthest of them is."""
    center = capture.center_of_attention
    return center, max(float((view.camera.center - center).norm()) for view in capture.views)
