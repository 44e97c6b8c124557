"""Fields and regions given by formulas, and a renderer that knows nothing of ours."""

from dataclasses import dataclass

import torch
from analytic import AnalyticField

from nerf_insert.geometry.cameras import Rays
from nerf_insert.regions import Region


class Ball(Region):
    """All within `radius` of `center`."""

    exact = True

    def __init__(self, center, radius):
        self.center, self.radius = torch.tensor(center), radius
        self.bounds = torch.stack([self.center - radius, self.center + radius])

    def contains(self, points):
        return self.distance(points) <= 0

    def distance(self, points):
        return (points - self.center.to(points)).norm(dim=-1) - self.radius

    def save(self, folder):
        return {"kind": "ball"}


class Haze(AnalyticField):
    """Thin fog whose density and color change slowly, so that coarse and fine sampling agree."""

    def __init__(self, density=1.5, step=0.01, background=(0.1, 0.2, 0.3)):
        super().__init__(balls=(), floor=False, step=step)
        self.density = density
        self.background = None if background is None else torch.tensor(background)
        self.bounds = torch.tensor([[-1.0, -1.0, -1.0], [1.0, 1.0, 1.0]])

    def query(self, points, directions):
        x, y, z = points.unbind(-1)
        density = self.density * (1 + 0.5 * torch.sin(2 * x + 3 * y - z))
        return density, 0.5 + 0.4 * torch.stack([torch.sin(2 * x), torch.sin(2 * y), torch.cos(2 * z)], -1)


@dataclass
class FormulaLayer:
    """A layer of constant density and color, with a blend shell `blend_width` wide."""

    region: Region
    density: float
    color: tuple
    blend_width: float = 0.0

    def sample(self, rays: Rays):
        return self.region.sample(rays)

    def query(self, points, directions):
        density = points.new_full((len(points),), self.density)
        return density, points.new_tensor(self.color).expand(len(points), 3).clone()

    def weight(self, points):
        if not self.blend_width:
            return torch.ones_like(points[:, 0])
        t = (-self.region.distance(points) / self.blend_width).clamp(0, 1)
        return t**2 * (3 - 2 * t)


def in_plain_words(base, layers, points, directions):
    """Density and color by the rule as it is written: from the top, the first layer whose region contains
    the point; in its shell, a mixture with what lies below it."""
    density, rgb = base.query(points, directions)
    for layer in layers:  # from the bottom, each over what is there
        share = layer.weight(points) * layer.region.contains(points)
        own, color = layer.query(points, directions)
        upper, lower = share * own, (1 - share) * density
        density = upper + lower
        rgb = (upper[:, None] * color + lower[:, None] * rgb) / density.clamp_min(1e-30)[:, None]
    return density, rgb


def brute_force(base, layers, rays, step=0.0025, hole=None):
    """RGB and accumulation of rays by many equal steps in float64, in the base's box, which has to hold all
    layers; `hole`: a region taken to be empty."""
    distances = torch.arange(step / 2, 4.0, step, dtype=torch.float64)
    directions = rays.directions.double()[:, None].expand(-1, len(distances), 3)
    points = rays.origins.double()[:, None] + distances[:, None] * directions
    inside = ((points >= base.bounds[0]) & (points <= base.bounds[1])).all(-1)
    density, rgb = torch.zeros(inside.shape, dtype=torch.float64), torch.zeros_like(points)
    density[inside], rgb[inside] = in_plain_words(base, layers, points[inside], directions[inside])
    if hole is not None:
        density *= ~hole.contains(points.reshape(-1, 3)).view(inside.shape)
    optical_depth = density * step
    weights = torch.exp(optical_depth - optical_depth.cumsum(-1)) * (1 - torch.exp(-optical_depth))
    accumulation = weights.sum(-1)
    return (weights[..., None] * rgb).sum(1) + (1 - accumulation)[:, None] * base.background, accumulation


def straight_rays(count=64, seed=0):
    """Rays from a sphere of radius 2 to points within 0.6 of the origin."""
    generator = torch.Generator().manual_seed(seed)
    origins = torch.nn.functional.normalize(torch.randn(count, 3, generator=generator), dim=-1) * 2
    targets = (torch.rand(count, 3, generator=generator) - 0.5) * 1.2
    return Rays(origins, torch.nn.functional.normalize(targets - origins, dim=-1))
