"""Splats fitted to images: seeds on the surfaces that depth maps show, and a fit on the CPU's rasterizer.

The images may show a part of space alone: their colors are over black, and pixels that a splat might wrongly
reach come with opacity 0. N splats, P pixels; world coordinates, colors are sRGB.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from nerf_insert.fields.splat_field import image_plane
from nerf_insert.geometry.cameras import Camera
from nerf_insert.kernels import plan_raster, project, rasterize, spherical_harmonics
from nerf_insert.runtime.progress import SILENT, Progress
from nerf_insert.splats.splats import SH_C0, SH_COUNTS, Splats
from nerf_insert.training.optimizer import Optimizer, at_step

SOLID = 0.5  # opacity of a pixel that shows a surface
WIDTH, THICKNESS = 0.6, 0.15  # of a seed, standard deviations in distances of neighbors
OPACITY = 0.9  # of a seed
STEEP = 1.05  # farthest over nearest of neighboring depths, above which they are not one surface
STEPS = {"means": 0.05, "log_scales": 0.02, "quaternions": 0.01, "opacity_logits": 0.05, "sh": 0.012}
MIN_OPACITY = 0.01  # of a splat that is kept


class Target(NamedTuple):
    """What pixels of a pinhole camera without distortion are to show.

    Attributes:
        camera: The camera.
        pixels: The pixels, row by row: H * W numbers at most.
        rgb: Colors over black.
        accumulation: Opacities.
        depth: Along the ray; infinity: nothing is there.
    """

    camera: Camera
    pixels: Int64[Tensor, " P"]
    rgb: Float[Tensor, "P 3"]
    accumulation: Float[Tensor, " P"]
    depth: Float[Tensor, " P"]

    @property
    def places(self) -> Float[Tensor, "P 2"]:
        """Pixel coordinates."""
        row, column = self.pixels // self.camera.width, self.pixels % self.camera.width
        return torch.stack([column, row], 1) + 0.5


def seed_splats(targets: Sequence[Target], most: int, degree: int = 0) -> Splats | None:
    """Place splats on the surfaces that images show, flat and about as far apart as they are wide.

    Args:
        targets: The images.
        most: Their largest number; the distance between them follows from it.
        degree: Degree of their spherical harmonics.

    Returns:
        The splats; None: the images show nothing solid.
    """
    columns = [_surface(target) for target in targets]
    if not any(len(points) for points, *_ in columns):
        return None
    points, normals, rgb, sizes = (torch.cat(column) for column in zip(*columns, strict=True))
    spacing = 1.0  # of neighbors, in pixels of the view that sees them best
    while True:
        index, number, width = _thinned(points, spacing * sizes)
        amount = int(number.max()) + 1
        if amount <= most:
            break
        spacing *= max(1.05, math.sqrt(amount / most))
    total, count = torch.zeros(amount, 10), torch.bincount(number, minlength=amount)
    rows = torch.cat([points[index], normals[index], rgb[index], width[:, None]], 1)
    total.index_add_(0, number, rows)
    mean = total / count[:, None]
    sh = torch.zeros(amount, SH_COUNTS[degree], 3)
    sh[:, 0] = (mean[:, 6:9] - 0.5) / SH_C0
    size = mean[:, 9:]
    scales = torch.cat([WIDTH * size, WIDTH * size, THICKNESS * size], 1).log()
    logits = torch.full((amount,), OPACITY).logit()
    return Splats(mean[:, :3].contiguous(), scales, _facing(mean[:, 3:6]), logits, sh)


def _thinned(
    points: Float[Tensor, "N 3"], widths: Float[Tensor, " N"]
) -> tuple[Int64[Tensor, " M"], Int64[Tensor, " M"], Float[Tensor, " M"]]:
    """Group points by cells as wide as they ask for, in powers of two.

    A coarse point in whose cell a finer one lies is left out: from nearby the surface is seen better.

    Returns:
        The points that stay, the group of each, and the width of its cell.
    """
    level = widths.log2().round().long()
    low = points.amin(0).double()
    kept, keys, finer = [], [], torch.zeros(0, dtype=torch.int64)
    for size in level.unique().tolist():
        index = (level == size).nonzero()[:, 0]
        cell = ((points.double() - low) / 2.0**size).long()
        taken = cell[finer].unique(dim=0)
        both = torch.cat([taken, cell[index]])
        _, number = both.unique(dim=0, return_inverse=True)
        free = ~torch.isin(number[len(taken) :], number[: len(taken)])
        index = index[free]
        kept.append(index)
        keys.append(torch.cat([cell[index], torch.full((len(index), 1), size)], 1))
        finer = torch.cat([finer, index])
    index = torch.cat(kept)
    _, number = torch.cat(keys).unique(dim=0, return_inverse=True)
    return index, number, torch.exp2(level[index].float())


def _surface(target: Target) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the points that an image shows, with normals, colors and the width of a pixel there."""
    camera, (height, width) = target.camera, (target.camera.height, target.camera.width)
    depth = torch.full((height * width,), math.inf)
    depth[target.pixels] = torch.where(target.accumulation > SOLID, target.depth, math.inf)
    rgb = torch.zeros(height * width, 3)
    rgb[target.pixels] = target.rgb / target.accumulation.clamp_min(SOLID)[:, None]
    rays = camera.rays()
    points = rays.at(depth.nan_to_num(posinf=0.0)).view(height, width, 3)
    grid = depth.view(height, width)
    block = torch.stack([grid[:-1, :-1], grid[1:, :-1], grid[:-1, 1:]])
    one = block.isfinite().all(0) & (block.amax(0) < STEEP * block.amin(0))
    right, down = points[:-1, 1:] - points[:-1, :-1], points[1:, :-1] - points[:-1, :-1]
    normal = torch.nn.functional.normalize(torch.linalg.cross(down, right), dim=-1)
    index = one.nonzero()
    row, column = index.unbind(1)
    at, flat = points[row, column], row * width + column
    return at, normal[row, column], rgb[flat], grid[row, column] / camera.fx


def _facing(normals: Float[Tensor, "N 3"]) -> Float[Tensor, "N 4"]:
    """Return quaternions that turn the z axis to the normals; any for a normal of length 0."""
    n = torch.nn.functional.normalize(normals, dim=1)
    q = torch.stack([1 + n[:, 2], -n[:, 1], n[:, 0], torch.zeros(len(n))], 1)
    q[n[:, 2] < -0.9999] = torch.tensor([0.0, 1.0, 0.0, 0.0])
    return torch.nn.functional.normalize(q, dim=1)


class _Offsets(nn.Module):
    """What is added to the seeds, in steps of a size that suits each number: one learning rate serves all."""

    def __init__(self, seeds: Splats):
        super().__init__()
        self.seeds = seeds
        for name, tensor in zip(STEPS, seeds.tensors(), strict=True):
            self.register_parameter(name, nn.Parameter(torch.zeros_like(tensor)))
        self.width = seeds.scales.amax(1, keepdim=True) / WIDTH

    def splats(self) -> Splats:
        moved = []
        for (name, step), seed in zip(STEPS.items(), self.seeds.tensors(), strict=True):
            offset = step * self.get_parameter(name)
            moved.append(seed + (offset * self.width if name == "means" else offset))
        return Splats(*moved)


def fit_splats(
    seeds: Splats, targets: Sequence[Target], steps: int, seed: int = 0, progress: Progress = SILENT
) -> Splats:
    """Fit splats to images; those that turn invisible are dropped.

    Args:
        seeds: Where to start.
        targets: The images; one a step, in a random order.
        steps: Steps of Adam.
        seed: Random seed of that order.
        progress: Reports the work.
    """
    offsets = _Offsets(seeds)
    optimizer = Optimizer(offsets, 1.0, max(1, steps), final_lr_scale=0.05, warmup_steps=8)
    order: list[int] = []
    with progress.task("Fitting the splats", total=steps) as task:
        for step in range(steps):
            if not order:
                order = torch.randperm(len(targets), generator=at_step(seed, step)).tolist()
            target = targets[order.pop()]
            rgb, accumulation = draw(offsets.splats(), target)
            loss = (rgb - target.rgb).abs().mean() + (accumulation - target.accumulation).abs().mean() / 3
            optimizer.step(loss, step)
            task.advance(1, f"loss {float(loss.detach()):.4f}")
    with torch.no_grad():
        fitted = Splats(*(tensor.detach() for tensor in offsets.splats().tensors()))
    return fitted[fitted.opacities > MIN_OPACITY]


def draw(splats: Splats, target: Target) -> tuple[Float[Tensor, "P 3"], Float[Tensor, " P"]]:
    """Return the colors over black and the opacities that splats show in the pixels of a target."""
    camera = target.camera
    plane = image_plane(camera)
    places = target.places * torch.tensor([plane.width / camera.width, plane.height / camera.height])
    projected = project(splats.means, splats.scales, splats.quaternions, splats.opacities, plane)
    plan = plan_raster(projected, plane.width, plane.height)
    rgb = spherical_harmonics(splats.means - plane.center, splats.sh)
    raster = rasterize(projected, rgb, places, plan)
    return raster.rgb, raster.accumulation
