"""What photographs show of a plane: where it is seen, hidden or ended, and its colors.

World coordinates and units, sRGB colors in 0..1. N is the number of points of the plane.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from nerf_insert.geometry.planes import Plane
from nerf_insert.geometry.sampling import sample_bilinear
from nerf_insert.inpaint.fill.depth_views import FAR_DISTANCE, RegionDepthView

MAX_COLOR_VIEWS = 12  # whose colors of a point are compared with one another
COLOR_SCALE = 0.08  # difference from the median at which a view's color counts half
HEIGHTS = 13  # that a plane is tried at
MIN_HEIGHT_VIEWS = 3  # that have to see a point for its color to tell the plane's height
MIN_HEIGHT_GAIN = 1 / 255  # of colors: a smaller one is no reason to move the plane


class PlaneObservations:
    """What views show at N points of a plane, added up view by view."""

    def __init__(self, plane: Plane, points: Float[Tensor, "N 3"]):
        self.plane, self.points = plane, points
        self.on = torch.zeros(len(points))  # views that see the plane there
        self.through = torch.zeros(len(points))  # views that see past it: it has a hole or has ended
        self.clear = torch.zeros(len(points))  # views that see the plane there and nothing else close by
        self.shown = torch.zeros(len(points))  # views that would see it only if the region were empty
        self.barred = torch.zeros(len(points))  # views to which something else hides it
        self._weights = torch.zeros(len(points), MAX_COLOR_VIEWS)
        self._colors = torch.zeros(len(points), MAX_COLOR_VIEWS, 3)

    def add(self, view: RegionDepthView, photograph: UInt8[Tensor, "H W 3"]) -> None:
        """Add what a view shows.

        Args:
            view: Its depth.
            photograph: sRGB.
        """
        plane, limit = self.plane, self.plane.tolerance
        index, x, y = view.locate(self.points)
        highest, lowest, height = (heights[y, x] for heights in _height_range(view, plane))
        free, here = highest < limit, height > -limit
        clear = free & (lowest > -limit)
        self.on[index] += free & here
        self.through[index] += free & ~here
        self.clear[index] += clear
        behind = view.heights(plane, view.empty_depth)[y, x]
        shown = (view.empty_depth[y, x] > 0) & (behind < limit) & (height > limit)
        self.shown[index] += shown
        self.barred[index] += (height > limit) & ~shown
        index = index[clear]
        if len(index):
            points = self.points[index]
            self._keep(index, _fineness(plane, points, view), _colors(points, view, photograph))

    def _keep(self, index: Tensor, weight: Float[Tensor, " n"], color: Float[Tensor, "n 3"]) -> None:
        """Replace the color of the least weight by the new one, where that weighs more."""
        least, slot = self._weights[index].min(1)
        better = weight > least
        index, slot = index[better], slot[better]
        self._weights[index, slot], self._colors[index, slot] = weight[better], color[better]

    def spread(self) -> Float[Tensor, " N"]:
        """Return the weighted mean difference of the views' colors from their median; 0 without a view."""
        away = (self._colors - self._median()).norm(dim=-1)
        return (self._weights * away).sum(1) / self._weights.sum(1).clamp_min(1e-20)

    def _median(self) -> Float[Tensor, "N 1 3"]:
        weights, colors = self._weights, self._colors
        order = colors.argsort(1)
        cumulative = weights[..., None].expand_as(colors).gather(1, order).cumsum(1)
        middle = (cumulative >= cumulative[:, -1:] / 2).float().argmax(1, keepdim=True)
        return colors.gather(1, order.gather(1, middle))

    def color(self) -> Float[Tensor, "N 3"]:
        """Return means of the finest views' colors near their weighted median; black without a clear view."""
        weights, colors, median = self._weights, self._colors, self._median()
        # The finest views count most in the mean, for sharpness; in the median all do, against glare.
        weights = weights**2 / (1 + ((colors - median).norm(dim=-1) / COLOR_SCALE) ** 4)
        return (weights[..., None] * colors).sum(1) / weights.sum(1).clamp_min(1e-20)[:, None]


def align_height(
    plane: Plane,
    points: Float[Tensor, "N 3"],
    views: Sequence[RegionDepthView],
    photographs: Sequence[UInt8[Tensor, "_ _ 3"]],
) -> Plane:
    """Move a plane along its normal to where the photographs agree best about its colors.

    Photographs are sharper than the scene's own geometry.

    Args:
        plane: Moved by at most its tolerance.
        points: Points of it whose colors are compared.
        views: Depth around the region.
        photographs: Of the same views, sRGB.
    """
    heights = torch.linspace(-1, 1, HEIGHTS) * plane.tolerance
    moved = points + heights[:, None, None] * plane.axes[2]
    total, squares = torch.zeros(HEIGHTS, len(points), 3), torch.zeros(HEIGHTS, len(points))
    weights, count = torch.zeros(2, len(points))
    for view, photograph in zip(views, photographs, strict=True):
        index, x, y = view.locate(points)
        index = index[_height_range(view, plane)[0][y, x] < plane.tolerance]
        if not len(index):
            continue
        weight = _fineness(plane, points[index], view)
        color = _colors(moved[:, index].reshape(-1, 3), view, photograph).view(HEIGHTS, -1, 3)
        total[:, index] += weight[:, None] * color
        squares[:, index] += weight * (color**2).sum(-1)
        weights[index] += weight
        count[index] += 1
    known = count >= MIN_HEIGHT_VIEWS
    if not known.any():
        return plane
    weights = weights[known].clamp_min(1e-12)
    variance = squares[:, known] / weights - ((total[:, known] / weights[:, None]) ** 2).sum(-1)
    spread = variance.clamp_min(0).sqrt().mean(1)
    best = int(spread.argmin())
    too_plain = spread[best] > spread[HEIGHTS // 2] - MIN_HEIGHT_GAIN
    if too_plain or best in (0, HEIGHTS - 1):
        return plane
    return replace(plane, origin=plane.origin + heights[best] * plane.axes[2])


def _fineness(plane: Plane, points: Float[Tensor, "N 3"], view: RegionDepthView) -> Float[Tensor, " N"]:
    """Pixels of the photograph per area of the plane, up to the lens."""
    distance = (points - view.camera.center).norm(dim=-1)
    return plane.height(view.camera.center[None]).clamp_min(0) / distance**3


def _colors(
    points: Float[Tensor, "N 3"], view: RegionDepthView, photograph: UInt8[Tensor, "H W 3"]
) -> Float[Tensor, "N 3"]:
    """A photograph's colors where points fall in it."""
    return sample_bilinear(photograph.float() / 255, view.view.camera.project(points).pixels)


def _height_range(view: RegionDepthView, plane: Plane) -> tuple[Tensor, Tensor, Tensor]:
    """The highest and the lowest point over a plane that is seen at a pixel or beside it; and that at it."""
    heights = view.heights(plane, view.depth)
    highest = _max_of_neighbors(torch.where(view.valid, heights, -FAR_DISTANCE))
    return highest, -_max_of_neighbors(torch.where(view.valid, -heights, -FAR_DISTANCE)), heights


def _max_of_neighbors(values: Float[Tensor, "h w"]) -> Float[Tensor, "h w"]:
    """The largest value of each pixel and its eight neighbors."""
    return torch.nn.functional.max_pool2d(values[None, None], 3, stride=1, padding=1)[0, 0]
