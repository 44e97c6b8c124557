"""A radiance field given by a formula: colored balls over a floor, with closed-form answers."""

import torch

from nerf_insert.geometry.cameras import Camera, Rays
from nerf_insert.kernels import Samples, march

DENSITY = 80.0  # per world unit: a ball of radius 0.2 stops all but e^-32 of the light


class AnalyticField:
    """Balls (center, radius, color) above the floor z = 0, which has a chequered color."""

    def __init__(self, balls=((0.0, 0.0, 0.3, 0.25, (0.9, 0.2, 0.1)),), floor=True, step=0.01):
        self.balls, self.floor, self.step = balls, floor, step
        self.scale = 1.0
        self.background = torch.zeros(3)
        self.bounds = torch.tensor([[-2.0, -2.0, -0.1], [2.0, 2.0, 1.5]])

    def sample(self, rays: Rays) -> Samples:
        return march(
            rays.origins,
            rays.directions,
            torch.ones(4, 4, 4, dtype=torch.bool),
            bounds=self.bounds,
            step=self.step,
        )

    def content_bounds(self):
        return self.bounds

    def is_empty(self, points):
        return ((points < self.bounds[0]) | (points > self.bounds[1])).any(-1)

    def query(self, points, directions):
        density = torch.zeros(len(points))
        rgb = torch.zeros(len(points), 3)
        if self.floor:
            on = points[:, 2] < 0
            tile = ((points[:, 0] * 4).floor() + (points[:, 1] * 4).floor()) % 2
            density[on] = DENSITY
            rgb[on] = (0.3 + 0.4 * tile[on])[:, None].expand(-1, 3)
        for x, y, z, radius, color in self.balls:
            inside = (points - torch.tensor([x, y, z])).norm(dim=-1) < radius
            density[inside] = DENSITY
            rgb[inside] = torch.tensor(color)
        return density, rgb


def look_at(eye, target=(0.0, 0.0, 0.2), size=(64, 48), focal=60.0) -> Camera:
    """A camera at `eye` that looks at `target` with world +z up in the picture."""
    eye, target = torch.tensor(eye), torch.tensor(target)
    back = torch.nn.functional.normalize(eye - target, dim=0)
    right = torch.nn.functional.normalize(torch.linalg.cross(torch.tensor([0.0, 0.0, 1.0]), back), dim=0)
    c2w = torch.stack([right, torch.linalg.cross(back, right), back, eye], -1)
    return Camera(c2w, focal, focal, size[0] / 2, size[1] / 2, *size)
