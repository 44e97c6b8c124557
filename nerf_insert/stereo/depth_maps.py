"""Depth maps of photographs with known cameras, by multi-view stereo.

Where a surface is plain, a radiance field explains its photographs as well with colors that lie far behind
it. Correlation tells better: faint textures count as much as strong ones. So depth is measured before a base
is trained, in small copies of the photographs, and kept where several views agree.

V is the number of views, H and W are the size of a depth map, N is a number of rays.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float, Int64
from numpy import ndarray
from torch import Tensor

from nerf_insert.capture.pixel_set import PixelSet
from nerf_insert.geometry.cameras import PROJECTABLE, Camera, Rays
from nerf_insert.kernels.cpu.threads import run
from nerf_insert.stereo.patch_match import WORST, count_agreeing, drop_edges, finer, match
from nerf_insert.stereo.pinhole import Pinhole, find_partners, relate, undistort
from nerf_insert.stereo.plain_surfaces import continue_planes

if TYPE_CHECKING:
    from nerf_insert.runtime.progress import Progress

SIDE = 128  # pixels of a depth map's longer side
LEVELS = ((4, 3, 12), (2, 2, 0), (1, 1, 0))  # reduction, rounds, random planes at each pixel
VIEWS = 60  # that are matched, at most
PARTNERS = 5  # views that each is matched with
BEST_OF = 2  # of them, those that a surface fits best: others may not see it
NEAREST = 0.08  # least depth, in units of the cameras' spread
WORST_COST = 0.6  # 1 - correlation above which a plane is not believed
TOLERANCE = 0.02  # relative difference of depths that agree
AGREEING = 2  # views that have to, besides the own
JUMP = 0.05  # relative difference of inverse depth that is an edge between surfaces


class DepthMaps:
    """What is known of the depth of V views: a plane at each pixel, or nothing.

    Args:
        cameras: The views' cameras, of which `numbers` names those that have a map.
        maps: Inverse depth along the camera's axis, per world unit, at each pixel's center, and its growth
            per pixel to the right and down; NaN where nothing is known.
        numbers: The views that the maps belong to.
        views: The number of views, V.
    """

    def __init__(
        self,
        cameras: Sequence[Camera],
        maps: Sequence[Float[Tensor, "_ _ 3"]],
        numbers: Sequence[int],
        views: int,
    ):
        sizes = torch.tensor([known.shape[:2] for known in maps]).view(-1, 2)
        self._place = torch.full((views,), -1)
        self._place[list(numbers)] = torch.arange(len(maps))
        self._sizes = sizes
        self._begins = torch.cat([torch.zeros(1, dtype=torch.int64), sizes.prod(1).cumsum(0)])
        self._planes = torch.cat([torch.zeros(0, 3), *(known.reshape(-1, 3) for known in maps)])
        self._lenses = torch.tensor([[c.fx, c.fy, c.cx, c.cy] for c in cameras]).view(-1, 4)
        self._axes = torch.stack([camera.c2w[:, :3] for camera in cameras]) if maps else torch.zeros(0, 3, 3)

    def distances(self, view: Int64[Tensor, " N"], rays: Rays) -> Float[Tensor, " N"]:
        """Return the distances along rays of the views at which surfaces were measured; NaN: not known.

        Args:
            view: The view that each ray belongs to.
            rays: World coordinates, through any point of the view's image.
        """
        distance = torch.full((rays.count,), torch.nan)
        index = (self._place[view] >= 0).nonzero()[:, 0]
        if not len(index):
            return distance
        place = self._place[view[index]]
        x, y, z = (rays.directions[index, None] @ self._axes[place])[:, 0].unbind(-1)
        fx, fy, cx, cy = self._lenses[place].unbind(-1)
        u, v = cx - fx * x / z, cy + fy * y / z
        height, width = self._sizes[place].unbind(-1)
        seen = (z < 0) & (u >= 0) & (v >= 0) & (u < width) & (v < height)
        index, place, u, v, z = (part[seen] for part in (index, place, u, v, z))
        column, row = u.long(), v.long()
        plane = self._planes[self._begins[place] + row * width[seen] + column]
        inverse = plane[:, 0] + plane[:, 1] * (u - column - 0.5) + plane[:, 2] * (v - row - 0.5)
        distance[index] = torch.where(inverse > 0, 1 / (inverse * -z), torch.inf)
        distance[index] = torch.where(inverse.isnan(), torch.nan, distance[index])
        return distance


def measure_depth(
    pixels: PixelSet, usable: Int64[Tensor, " P"] | None, unit: float, progress: Progress, seed: int = 0
) -> DepthMaps:
    """Measure the depth of photographs by matching each with a few others.

    Of many views, `VIEWS` are taken, evenly in their order.

    Args:
        pixels: The photographs and their cameras.
        usable: Index of the pixels that no mask excludes; None: all.
        unit: The cameras' spread, in world units.
        progress: Gets a task.
        seed: Random seed.

    Raises:
        Stopped: The user stopped the work.
    """
    cameras = pixels.cameras
    able = [i for i, camera in enumerate(cameras) if camera.model in PROJECTABLE]
    count = min(VIEWS, len(able))
    numbers = [able[i * len(able) // count] for i in range(count)]
    with progress.task("Measuring depth in the photographs", total=len(LEVELS)) as task:
        shown = _pinholes(pixels, usable, numbers)
        partners = find_partners([one.camera for one in shown], unit, PARTNERS) if shown else []
        planes: list[ndarray] = []
        for level, (reduction, rounds, tries) in enumerate(LEVELS):
            small = [one.reduced(reduction) for one in shown]
            planes, costs = _match_level(small, partners, planes, unit, rounds, tries, seed + level)
            task.advance(1)
        known = []
        for plane, agree in zip(planes, _agreeing(shown, partners, planes, costs, unit), strict=True):
            kept = np.zeros(agree.shape, bool)
            drop_edges(plane, agree >= AGREEING, JUMP, kept)
            known.append(np.where(kept[..., None], plane, np.nan))
        maps = _with_plain_surfaces(shown, partners, known, unit, seed)
    scaled = [torch.from_numpy(one / unit).float() for one in maps]
    return DepthMaps([one.camera for one in shown], scaled, numbers, len(cameras))


def _pinholes(pixels: PixelSet, usable: Int64[Tensor, " P"] | None, numbers: Sequence[int]) -> list[Pinhole]:
    """Reduce some of the photographs."""
    counts = None
    if usable is not None:
        counts = torch.zeros(len(pixels), dtype=torch.bool)
        counts[usable.long()] = True
    images, reduced, begin = pixels.images(), {}, 0
    for i, (camera, image) in enumerate(zip(pixels.cameras, images, strict=True)):
        end = begin + image.shape[0] * image.shape[1]
        if i in numbers:
            own = None if counts is None else counts[begin:end].view(image.shape[:2])
            reduced[i] = undistort(camera, image, own, SIDE)
        begin = end
    return [reduced[i] for i in numbers]


def _match_level(
    shown: Sequence[Pinhole],
    partners: Sequence[Sequence[int]],
    coarser: Sequence[ndarray],
    unit: float,
    rounds: int,
    tries: int,
    seed: int,
) -> tuple[list[ndarray], list[ndarray]]:
    """Return each view's planes [H, W, 3], per `unit`, and their cost, from those of a coarser level."""
    planes, costs = [], []
    for i, one in enumerate(shown):
        height, width = one.image.shape
        planes.append(finer(coarser[i], height, width) if coarser else np.zeros((height, width, 3)))
        costs.append(np.full((height, width), WORST))

    def work(i: int) -> None:
        if len(partners[i]) < BEST_OF:
            return
        others, sizes = _stacked([shown[j].image for j in partners[i]])
        a, b = _relations(shown, i, partners[i], unit)
        one = shown[i]
        match(
            one.image, one.valid, one.lens, others, sizes, a, b, BEST_OF, NEAREST,
            planes[i], costs[i], rounds, tries, seed * len(shown) + i,
        )  # fmt: skip

    run(work, len(shown))
    return planes, costs


def _agreeing(
    shown: Sequence[Pinhole],
    partners: Sequence[Sequence[int]],
    planes: Sequence[ndarray],
    costs: Sequence[ndarray],
    unit: float,
) -> list[ndarray]:
    """Return for each pixel of each view how many partners have its surface where it has it."""
    agreeing = [np.zeros(one.image.shape, np.int64) for one in shown]

    def work(i: int) -> None:
        if not partners[i]:
            return
        inverse, sizes = _stacked([planes[j][..., 0] for j in partners[i]])
        others, _ = _stacked([costs[j] for j in partners[i]])
        a, b = _relations(shown, i, partners[i], unit)
        count_agreeing(
            planes[i], costs[i], WORST_COST, shown[i].valid, inverse, others, sizes, a, b,
            TOLERANCE, agreeing[i],
        )  # fmt: skip

    run(work, len(shown))
    return agreeing


def _with_plain_surfaces(
    shown: Sequence[Pinhole],
    partners: Sequence[Sequence[int]],
    known: Sequence[ndarray],
    unit: float,
    seed: int,
) -> list[ndarray]:
    """Return maps with plain surfaces, where more views have them than look through them."""
    wider = continue_planes(shown, known, unit, seed)
    unknown = [np.isnan(one[..., 0]) for one in wider]
    planes = [np.nan_to_num(one) for one in wider]
    costs = [np.where(missing, WORST, 0.0) for missing in unknown]
    for one, before, agree in zip(wider, known, _agreeing(shown, partners, planes, costs, unit), strict=True):
        one[(agree < 1) & np.isnan(before[..., 0])] = np.nan
    return wider


def _relations(
    shown: Sequence[Pinhole], i: int, partners: Sequence[int], unit: float
) -> tuple[ndarray, ndarray]:
    """Return `relate` of a view and each of its partners, [K, 3, 3] and [K, 3]."""
    a, b = zip(*(relate(shown[i].camera, shown[j].camera, unit) for j in partners), strict=True)
    return np.stack(a), np.stack(b)


def _stacked(images: Sequence[ndarray]) -> tuple[ndarray, ndarray]:
    """Return images of different sizes in one array, padded, and their heights and widths."""
    sizes = np.array([image.shape for image in images])
    stack = np.zeros((len(images), *sizes.max(0)), images[0].dtype)
    for image, place in zip(images, stack, strict=True):
        place[: image.shape[0], : image.shape[1]] = image
    return stack, sizes
