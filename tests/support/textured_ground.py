"""Photographs of the plane z = 0 with a texture, from cameras around, whose depth is known in closed form."""

import math

import torch

from nerf_insert.geometry.cameras import Camera

WIDTH, HEIGHT = 96, 72


def look_at_origin(azimuth, elevation, radius=1.0, **lens):
    """Return a camera that looks at the origin, z up; angles in degrees."""
    a, e = math.radians(azimuth), math.radians(elevation)
    back = torch.tensor([math.cos(e) * math.cos(a), math.cos(e) * math.sin(a), math.sin(e)])
    right = torch.linalg.cross(torch.tensor([0.0, 0.0, 1.0]), back)
    right /= right.norm()
    c2w = torch.stack([right, torch.linalg.cross(back, right), back, radius * back], 1)
    return Camera(c2w, 90.0, 90.0, WIDTH / 2, HEIGHT / 2, WIDTH, HEIGHT, **lens)


def ring(count=7, **lens):
    """Return cameras on an arc, at different heights, about 15 degrees apart."""
    return [look_at_origin(15 * i, 40 + 8 * (i % 3), **lens) for i in range(count)]


def ground_distance(rays):
    """Return the distances along rays to the plane z = 0; infinity for those that look up."""
    distance = -rays.origins[:, 2] / rays.directions[:, 2]
    return torch.where(distance > 0, distance, torch.inf)


def photograph(camera, contrast, plain=0.0):
    """Render the plane z = 0 with a texture of waves without a period, four rays a pixel.

    Within the radius `plain` around the origin it has none.
    """
    y, x = torch.meshgrid(torch.arange(camera.height), torch.arange(camera.width), indexing="ij")
    total = torch.zeros(camera.height * camera.width)
    for dx, dy in ((0.25, 0.25), (0.75, 0.25), (0.25, 0.75), (0.75, 0.75)):
        rays = camera.rays_through(torch.stack([x + dx, y + dy], -1).reshape(-1, 2).float())
        at = rays.at(ground_distance(rays).clamp_max(50))
        waves = [(17, 5, 0.3), (-7, 19, 1.1), (29, -11, 2.0), (3, -31, 0.7), (41, 23, 1.9), (-13, 37, 0.1)]
        texture = sum(torch.sin(a * at[:, 0] + b * at[:, 1] + c) for a, b, c in waves) / len(waves)
        total += torch.where(at.norm(dim=-1) < plain, 0.3, texture)
    gray = (0.5 + contrast * total / 4).clamp(0, 1) * 255
    return gray.round().to(torch.uint8).view(camera.height, camera.width, 1).expand(-1, -1, 3)
