"""What the photographs show around a region: how far things are, and the colors of points.

N points; h and w are a coarse picture's size. World coordinates and units.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from nerf_insert.capture.capture import View
from nerf_insert.geometry.cameras import Camera
from nerf_insert.geometry.sampling import sample_bilinear
from nerf_insert.inpaint.fill.planes import Plane
from nerf_insert.regions.region import Region
from nerf_insert.rendering.stack import LayerStack
from nerf_insert.runtime.progress import Task

RAYS = 120_000  # of all views together
FEW = 20_000  # rays of all views together that tell where in a region something is
ENOUGH = 50  # points of them, at least
EDGE = 0.01  # share of what they meet that may lie beyond either end
FAR = 1e6  # stands for "never" where a finite number is needed
BEST = 12  # views whose colors of a point are weighed against one another
GREY = 1 / 255  # of colors in 0..1: less is no difference
HEIGHTS = 13  # that a plane is tried at
ALIKE = 0.08  # difference of sRGB colors at which a view's color counts half


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


def content(
    scene: LayerStack, region: Region, views: Sequence[View]
) -> tuple[Float[Tensor, " 3"], Float[Tensor, ""]]:
    """Middle and diagonal of a box around what the views see in the region: less than the region where
    that reaches far before or behind what was marked, as a hull of masks from one side does. The
    region's own where nothing is seen in it."""
    middle, radius = region.bounds.mean(0), region.diagonal / 2
    points = []
    for camera in _scaled(views, middle, radius, FEW):
        rays = camera.rays()
        rays = rays[region.entry(rays).isfinite()]
        met = rays.at(scene.render(rays).depth.clamp_max(FAR))
        points.append(met[region.contains(met)])
    met = torch.cat(points)
    if len(met) < ENOUGH:
        return middle, region.diagonal
    ends = torch.stack([met.quantile(EDGE, 0), met.quantile(1 - EDGE, 0)])
    return ends.mean(0), (ends[1] - ends[0]).norm()


def look(
    scene: LayerStack,
    region: Region,
    views: Sequence[View],
    middle: Float[Tensor, " 3"],
    radius: float,
    task: Task,
    rays: int = RAYS,
) -> list[Sight]:
    """What all views show within `radius` of `middle`, at a size that takes about `rays` rays."""
    sights = []
    for view, camera in zip(views, _scaled(views, middle, radius, rays), strict=True):
        looked = _meets(camera, middle, radius)
        chosen = camera.rays()[looked.reshape(-1)]
        distance, behind = torch.full(looked.shape, float("inf")), torch.zeros(looked.shape)
        distance[looked] = scene.render(chosen).depth
        crossing = region.entry(chosen).isfinite()
        carved = torch.zeros(chosen.count)
        carved[crossing] = scene.render(chosen[crossing], exclude=region).depth
        behind[looked] = carved
        sights.append(Sight(view, camera, looked, distance, behind))
        task.advance(1)
    return sights


def _scaled(views: Sequence[View], middle: Float[Tensor, " 3"], radius: float, rays: int) -> list[Camera]:
    """The views' cameras at a size at which about so many rays come within `radius` of `middle`."""
    tiny = [view.camera.scaled(min(1, 64 / max(view.size))) for view in views]
    shares = [float(_meets(camera, middle, radius).float().mean()) for camera in tiny]
    pixels = sum(share * view.size[0] * view.size[1] for share, view in zip(shares, views, strict=True))
    scale = min(1.0, (rays / max(pixels, 1)) ** 0.5)
    return [view.camera.scaled(scale) for view in views]


def _meets(camera: Camera, middle: Float[Tensor, " 3"], radius: float) -> Bool[Tensor, "h w"]:
    """The pixels whose rays come within `radius` of a point."""
    rays = camera.rays()
    along = ((middle - rays.origins) * rays.directions).sum(-1).clamp_min(0)
    gap = (rays.at(along) - middle).norm(dim=-1)
    return (gap < radius).view(camera.height, camera.width)


class Evidence:
    """What views say about N points of a plane, added up view by view."""

    def __init__(self, plane: Plane, points: Float[Tensor, "N 3"]):
        self.plane, self.points = plane, points
        self.on = torch.zeros(len(points))  # views that see the plane there
        self.through = torch.zeros(len(points))  # views that see past it: it has a hole or has ended
        self.clear = torch.zeros(len(points))  # views that see the plane there and nothing else close by
        self.shown = torch.zeros(len(points))  # views that would see it only if the region were empty
        self.barred = torch.zeros(len(points))  # views to which something else hides it
        self._weights, self._colors = torch.zeros(len(points), BEST), torch.zeros(len(points), BEST, 3)

    def add(self, sight: Sight, photograph: UInt8[Tensor, "H W 3"]) -> None:
        plane, limit = self.plane, self.plane.tolerance
        index, x, y = _where(sight, self.points)
        highest, lowest, height = (heights[y, x] for heights in _extremes(sight, plane))
        free, here = highest < limit, height > -limit
        clear = free & (lowest > -limit)
        self.on[index] += free & here
        self.through[index] += free & ~here
        self.clear[index] += clear
        behind = sight.heights(plane, sight.behind)[y, x]
        shown = (sight.behind[y, x] > 0) & (behind < limit) & (height > limit)
        self.shown[index] += shown
        self.barred[index] += (height > limit) & ~shown
        index = index[clear]
        if len(index):
            points = self.points[index]
            self._keep(index, _fineness(plane, points, sight), _colors(points, sight, photograph))

    def _keep(self, index: Tensor, weight: Float[Tensor, " n"], color: Float[Tensor, "n 3"]) -> None:
        """Put colors in the place of the least of those kept, where they weigh more."""
        least, place = self._weights[index].min(1)
        better = weight > least
        index, place = index[better], place[better]
        self._weights[index, place], self._colors[index, place] = weight[better], color[better]

    def color(self) -> Float[Tensor, "N 3"]:
        """Means of the best views' colors near their weighted median; black where no view is clear."""
        weights, colors = self._weights, self._colors
        order = colors.argsort(1)
        share = weights[..., None].expand_as(colors).gather(1, order).cumsum(1)
        middle = (share >= share[:, -1:] / 2).float().argmax(1, keepdim=True)
        median = colors.gather(1, order.gather(1, middle))
        # The finest views count most in the mean, for sharpness; in the median all do, against glare.
        weights = weights**2 / (1 + ((colors - median).norm(dim=-1) / ALIKE) ** 4)
        return (weights[..., None] * colors).sum(1) / weights.sum(1).clamp_min(1e-20)[:, None]


def _where(sight: Sight, points: Float[Tensor, "N 3"]) -> tuple[Tensor, Tensor, Tensor]:
    """Which points fall in a sight's picture where it looked, and into which of its columns and rows."""
    projected = sight.camera.project(points)
    index = projected.inside.nonzero()[:, 0]
    x, y = projected.pixels[index].long().unbind(-1)
    looked = sight.looked[y, x]
    return index[looked], x[looked], y[looked]


def _fineness(plane: Plane, points: Float[Tensor, "N 3"], sight: Sight) -> Float[Tensor, " N"]:
    """Pixels of the photograph per area of the plane, up to the lens."""
    distance = (points - sight.camera.center).norm(dim=-1)
    return plane.height(sight.camera.center[None]).clamp_min(0) / distance**3


def _colors(
    points: Float[Tensor, "N 3"], sight: Sight, photograph: UInt8[Tensor, "H W 3"]
) -> Float[Tensor, "N 3"]:
    """A photograph's colors, sRGB in 0..1, where points fall in it."""
    return sample_bilinear(photograph.float() / 255, sight.view.camera.project(points).pixels)


def settle(
    plane: Plane,
    points: Float[Tensor, "N 3"],
    sights: Sequence[Sight],
    photographs: Sequence[UInt8[Tensor, "H W 3"]],
) -> Plane:
    """The plane moved along its normal, by its tolerance at most, to where the photographs agree best
    about the colors of `points` of it: they are sharper than the scene's own geometry."""
    heights = torch.linspace(-1, 1, HEIGHTS) * plane.tolerance
    moved = points + heights[:, None, None] * plane.axes[2]
    total, squares = torch.zeros(HEIGHTS, len(points), 3), torch.zeros(HEIGHTS, len(points))
    weights, views = torch.zeros(2, len(points))
    for sight, photograph in zip(sights, photographs, strict=True):
        index, x, y = _where(sight, points)
        index = index[_extremes(sight, plane)[0][y, x] < plane.tolerance]
        if not len(index):
            continue
        weight = _fineness(plane, points[index], sight)
        color = _colors(moved[:, index].reshape(-1, 3), sight, photograph).view(HEIGHTS, -1, 3)
        total[:, index] += weight[:, None] * color
        squares[:, index] += weight * (color**2).sum(-1)
        weights[index] += weight
        views[index] += 1
    told = views >= 3
    if not told.any():
        return plane
    weights = weights[told].clamp_min(1e-12)
    variance = squares[:, told] / weights - ((total[:, told] / weights[:, None]) ** 2).sum(-1)
    spread = variance.clamp_min(0).sqrt().mean(1)
    best = int(spread.argmin())
    if spread[best] > spread[HEIGHTS // 2] - GREY or best in (0, HEIGHTS - 1):  # too little pattern to tell
        return plane
    return replace(plane, origin=plane.origin + heights[best] * plane.axes[2])


def _extremes(sight: Sight, plane: Plane) -> tuple[Float[Tensor, "h w"], Float[Tensor, "h w"], Tensor]:
    """The highest and the lowest that is seen at a pixel or beside it, over a plane; and at it."""
    heights = sight.heights(plane, sight.distance)
    high = _highest(torch.where(sight.looked, heights, -FAR))
    return high, -_highest(torch.where(sight.looked, -heights, -FAR)), heights


def _highest(values: Float[Tensor, "h w"]) -> Float[Tensor, "h w"]:
    """The largest value of each pixel and its eight neighbors."""
    return torch.nn.functional.max_pool2d(values[None, None], 3, stride=1, padding=1)[0, 0]
