"""A ball that lies on a plane, and a sun: as meshes that cast shadows."""

import torch
import trimesh

from nerf_insert.geometry.mesh import Mesh
from nerf_insert.lighting.light import DiskLight, Occluder
from nerf_insert.lighting.surface import SceneSurface

UP = torch.tensor([0.0, 0.0, 1.0])
RADIUS = 0.3
LOW = torch.tensor([-RADIUS, -RADIUS, 0.0])
BOUNDS = torch.stack([LOW, torch.tensor([RADIUS, RADIUS, 2 * RADIUS])])  # the ball lies on z = 0
NO_SURFACE = SceneSurface(
    Mesh.plain(torch.zeros(0, 3), torch.zeros(0, 3, dtype=torch.int64)),
    *(torch.zeros(0, 3) for _ in range(3)),
    torch.zeros(0),
    0.02,
)


def plane(radiance=None, cells=40, half=1.6):
    """z = 0 as a surface of squares."""
    lines = torch.linspace(-half, half, cells + 1)
    x, y = (c.reshape(-1) for c in torch.meshgrid(lines, lines, indexing="ij"))
    index = torch.arange((cells + 1) ** 2).view(cells + 1, cells + 1)
    a, b, c, d = (q.reshape(-1) for q in (index[:-1, :-1], index[1:, :-1], index[1:, 1:], index[:-1, 1:]))
    faces = torch.cat([torch.stack([a, b, c], -1), torch.stack([a, c, d], -1)])
    vertices = torch.stack([x, y, 0 * x], -1)
    shown = torch.full((len(vertices), 3), 0.3) if radiance is None else radiance(vertices)
    front, normals = UP.expand(len(faces), 3), UP.expand(len(vertices), 3)
    return SceneSurface(Mesh.plain(vertices, faces), front, normals, shown, torch.zeros(len(vertices)), 0.02)


def ball(radiance=0.0):
    shape = trimesh.creation.icosphere(4, RADIUS)
    mesh = Mesh.plain(
        torch.tensor(shape.vertices) + torch.tensor([0.0, 0.0, RADIUS]), torch.tensor(shape.faces)
    )
    return Occluder(mesh.cast, lambda hits, directions: torch.full((len(hits.face), 3), radiance))


def sun(direction=(0.0, 0.0, 1.0), angle=0.002, distance=1e3, strength=1.0):
    direction = torch.nn.functional.normalize(torch.tensor(direction), dim=0)
    return DiskLight(torch.zeros(3), direction, distance, angle, torch.full((3,), strength))
