"""Cameras, masks and meshes that the tests of regions share."""

import math

import numpy as np
import torch
import trimesh
from analytic import look_at

from nerf_insert.geometry.cameras import Camera
from nerf_insert.geometry.mesh import Mesh
from nerf_insert.regions import Region

FOX_LENS = (0.0578421, -0.0805099, 0.0, 0.0, -0.000980296, 0.00015575)  # a phone's, k1 k2 k3 k4 p1 p2


def cameras_around(count: int = 3, size=(160, 120), focal: float = 150.0) -> list[Camera]:
    """Cameras on a circle, all of them looking at (0, 0, 0.2)."""
    angles = [1.3 * k for k in range(count)]
    return [look_at((2 * math.cos(a), 2 * math.sin(a), 0.8), size=size, focal=focal) for a in angles]


def disc(camera: Camera, center=(0.0, 0.0, 0.2), radius: float = 0.3) -> torch.Tensor:
    """The mask of a ball: the pixels whose rays meet it."""
    rays = camera.rays()
    away = torch.tensor(center) - rays.origins
    along = (away * rays.directions).sum(-1)
    off = (away - along[:, None] * rays.directions).norm(dim=-1)
    return ((off <= radius) & (along > 0)).view(camera.height, camera.width)


def as_mesh(shape: trimesh.Trimesh, faces=None) -> Mesh:
    faces = shape.faces if faces is None else faces
    return Mesh.plain(torch.from_numpy(np.array(shape.vertices)), torch.from_numpy(np.array(faces)))


def points_around(region: Region, count: int, seed: int = 0, margin: float = 0.1) -> torch.Tensor:
    """Points spread evenly over the region's box and a margin around it."""
    generator = torch.Generator().manual_seed(seed)
    size = region.bounds[1] - region.bounds[0]
    return (
        region.bounds[0] - margin * size + torch.rand(count, 3, generator=generator) * size * (1 + 2 * margin)
    )


def first_hits(region: Region, rays) -> torch.Tensor:
    """What `entry` should say, by looking at every sample of every ray."""
    samples = region.sample(rays)
    first = torch.full((rays.count,), float("inf"))
    return first.scatter_reduce(0, samples.ray_index, samples.starts, "amin")
