"""What the photographs show around a region: how far things are, and the colours of points.

N points; h and w are a coarse picture's size. World coordinates and units.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from nerf_insert.cameras import Camera
from nerf_insert.capture import View
from nerf_insert.inpaint.fill_planes import Plane
from nerf_insert.progress import Task
from nerf_insert.regions.base import Region
from nerf_insert.rendering import Stack

RAYS = 120_000  # of all views together
FAR = 1e6  # stands for "never" where a finite number is needed
BEST = 12  # views whose colours of a point are weighed against one another
ALIKE = 0.08  # difference of sRGB colours at which a view's colour counts half


@dataclass(frozen=True, eq=False)
class Sight:
    """What one view shows within a ball around the region. Pixels of `camera` are several of the
    photograph's."""

    view: View
    camera: Camera
    looked: Bool[Tensor, "h w"]  # whether the pixel's ray meets the ball; if not, the rest says nothing
    distance: Float[Tensor, "h w"]  # to the scene as it is; infinity: never
    behind: Float[Tensor, "h w"]  # to the scene if the region were empty; 0 where the ray misses the region

    def surface(self) -> Float[Tensor, "P 3"]:
        """The points that are seen."""
        seen = self.looked & self.distance.isfinite()
        return self.camera.rays()[seen.reshape(-1)].at(self.distance[seen])

    def heights(self, plane: Plane, distance: Float[Tensor, "h w"]) -> Float[Tensor, "h w"]:
        """Heights over a plane of the points at a distance along each pixel's ray."""
        points = self.camera.rays().at(distance.reshape(-1).clamp_max(FAR))
        return plane.height(points).view_as(distance)


def look(
    scene: Stack, region: Region, views: Sequence[View], radius: float, task: Task, rays: int = RAYS
) -> list[Sight]:
    """What all views show within `radius` of the region's middle, at a size that takes about `rays` rays."""
    middle = region.bounds.mean(0)
    tiny = [view.camera.scaled(min(1, 64 / max(view.size))) for view in views]
    shares = [float(_meets(camera, middle, radius).float().mean()) for camera in tiny]
    pixels = sum(share * view.size[0] * view.size[1] for share, view in zip(shares, views, strict=True))
    scale = min(1.0, (rays / max(pixels, 1)) ** 0.5)
    sights = []
    for view in views:
        camera = view.camera.scaled(scale)
        looked = _meets(camera, middle, radius)
        chosen = camera.rays()[looked.reshape(-1)]
        distance, behind = torch.full(looked.shape, float("inf")), torch.zeros(looked.shape)
        distance[looked] = scene.render(chosen).depth
        crossing = region.entry(chosen).isfinite()
        carved = torch.zeros(chosen.count)
        carved[crossing] = scene.render(chosen[crossing], carve=region).depth
        behind[looked] = carved
        sights.append(Sight(view, camera, looked, distance, behind))
        task.advance(1)
    return sights


def _meets(camera: Camera, middle: Float[Tensor, " 3"], radius: float) -> Bool[Tensor, "h w"]:
    """The pixels whose rays come within `radius` of a point."""
    origins, directions = camera.rays()
    along = ((middle - origins) * directions).sum(-1).clamp_min(0)
    gap = (origins + along[:, None] * directions - middle).norm(dim=-1)
    return (gap < radius).view(camera.height, camera.width)


class Evidence:
    """What views say about N points of a plane, added up view by view."""

    def __init__(self, plane: Plane, points: Float[Tensor, "N 3"]):
        self.plane, self.points = plane, points
        self.on = torch.zeros(len(points))  # views that see the plane there
        self.through = torch.zeros(len(points))  # views that see past it: it has a hole or has ended
        self.clear = torch.zeros(len(points))  # views that see the plane there and nothing else close by
        self.shown = torch.zeros(len(points))  # views that look through the region and would see it there
        self._weights, self._colours = torch.zeros(len(points), BEST), torch.zeros(len(points), BEST, 3)

    def add(self, sight: Sight, photograph: Float[Tensor, "H W 3"]) -> None:
        plane, limit = self.plane, self.plane.tolerance
        projected = sight.camera.project(self.points)
        index = projected.inside.nonzero()[:, 0]
        x, y = projected.pixels[index].long().unbind(-1)
        looked = sight.looked[y, x]
        index, x, y = index[looked], x[looked], y[looked]
        heights = sight.heights(plane, sight.distance)
        highest = _highest(torch.where(sight.looked, heights, -FAR))[y, x]
        lowest = -_highest(torch.where(sight.looked, -heights, -FAR))[y, x]
        free, here = highest < limit, heights[y, x] > -limit
        clear = free & (lowest > -limit)
        self.on[index] += free & here
        self.through[index] += free & ~here
        self.clear[index] += clear
        behind = sight.behind[y, x]
        self.shown[index] += (behind > 0) & (sight.heights(plane, sight.behind)[y, x] < limit)
        index = index[clear]
        if len(index):
            distance = projected.distance[index]
            slant = plane.height(sight.camera.centre[None]).clamp_min(0) / distance
            self._keep(
                index, slant / distance**2, colours_at(self.points[index], sight.view.camera, photograph)
            )

    def _keep(self, index: Tensor, weight: Float[Tensor, " n"], colour: Float[Tensor, "n 3"]) -> None:
        """Put colours in the place of the least of those kept, where they weigh more."""
        least, place = self._weights[index].min(1)
        better = weight > least
        index, place = index[better], place[better]
        self._weights[index, place], self._colours[index, place] = weight[better], colour[better]

    def colour(self) -> Float[Tensor, "N 3"]:
        """Means of the best views' colours near their weighted median; black where no view is clear."""
        weights, colours = self._weights, self._colours
        order = colours.argsort(1)
        share = weights[..., None].expand_as(colours).gather(1, order).cumsum(1)
        middle = (share >= share[:, -1:] / 2).float().argmax(1, keepdim=True)
        median = colours.gather(1, order.gather(1, middle))
        weights = weights / (1 + ((colours - median).norm(dim=-1) / ALIKE) ** 4)
        return (weights[..., None] * colours).sum(1) / weights.sum(1).clamp_min(1e-12)[:, None]


def colours_at(
    points: Float[Tensor, "N 3"], camera: Camera, picture: Float[Tensor, "H W 3"]
) -> Float[Tensor, "N 3"]:
    """A picture's colours where points fall in it."""
    where = camera.project(points).pixels / torch.tensor([camera.width, camera.height]) * 2 - 1
    picture = picture.permute(2, 0, 1)[None]
    found = torch.nn.functional.grid_sample(
        picture, where[None, None], padding_mode="border", align_corners=False
    )
    return found[0, :, 0].T


def _highest(values: Float[Tensor, "h w"]) -> Float[Tensor, "h w"]:
    """The largest value of each pixel and its eight neighbours."""
    return torch.nn.functional.max_pool2d(values[None, None], 3, stride=1, padding=1)[0, 0]
