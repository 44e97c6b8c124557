"""Exact depth views of a ball on a floor, whose place, normals and colors are known."""

import torch
from analytic import look_at

from nerf_insert.rendering.depth_view import DepthView

BOX = torch.tensor([[-1.0, -1.0, -0.3], [1.0, 1.0, 1.0]])
CENTER, RADIUS = torch.tensor([0.1, -0.1, 0.4]), 0.4
EYES = [
    (2.0, 0.1, 1.2),
    (0.1, 2.0, 1.0),
    (-1.9, 0.3, 1.3),
    (0.2, -2.1, 1.0),
    (1.4, 1.4, 2.0),
    (-1.3, -1.4, 1.6),
]


def ball_on_floor(rays):
    """Distance to a ball on the floor z = 0, and its color: red ball, gray floor."""
    toward = CENTER - rays.origins
    along = (toward * rays.directions).sum(-1)
    off = toward.square().sum(-1) - along**2
    ball = torch.where(
        (off < RADIUS**2) & (along > 0), along - (RADIUS**2 - off).clamp_min(0).sqrt(), float("inf")
    )
    floor = -rays.origins[:, 2] / rays.directions[:, 2]
    floor = torch.where(floor > 0, floor, float("inf"))
    color = torch.where((ball < floor)[:, None], torch.tensor([0.6, 0.1, 0.1]), torch.tensor([0.3, 0.3, 0.3]))
    return torch.minimum(ball, floor), color


def depth_views(size=(64, 48)):
    out = []
    for eye in EYES:
        camera = look_at(eye, (0.0, 0.0, 0.3), size, focal=0.9 * size[0])
        depth, color = ball_on_floor(camera.rays())
        shape = (camera.height, camera.width)
        out.append(DepthView(camera=camera, depth=depth.view(shape), color=color.view(*shape, 3)))
    return out
