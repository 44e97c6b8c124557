"""The rays that a layer is fitted with, and what the scene shows along them outside the region.

A ray that crosses the region is a row of *entries*, front to back. The scene outside the region is composited
once: each interval between two visits to the region becomes one entry of fixed color and optical depth. The
layer's samples inside are the other entries, and only these are evaluated in a step. In the blend shell an
entry is a mixture of both. N is the number of rays, E that of entries; distances are in world units.
Everything is on the device of the scene's fields, except for the pixels.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from nerf_insert.capture.pixel_set import PixelSet
from nerf_insert.fields.layer import Layer
from nerf_insert.geometry.cameras import Rays
from nerf_insert.kernels import Samples, composite, merge, transmittance
from nerf_insert.regions.region import Region
from nerf_insert.rendering.shaded_samples import ShadedSamples, batches, interleave
from nerf_insert.rendering.stack import RAYS_PER_BATCH, LayerStack
from nerf_insert.training.optimizer import at_step

EARLY_STOP_EPS = 1e-3  # transmittance in front of a sample below which it is left out


class RayEntries(NamedTuple):
    """The entries of N rays, packed and sorted like `Samples`.

    Attributes:
        samples: Where the entries lie along their rays.
        weight: The layer's weight in each entry, 0..1; the scene below it has the rest.
        optical_depth: That of the scene below the layer.
        rgb: The color of the scene below the layer, sRGB.
    """

    samples: Samples
    weight: Float[Tensor, " E"]
    optical_depth: Float[Tensor, " E"]
    rgb: Float[Tensor, "E 3"]

    def take(self, rays: Int64[Tensor, " B"]) -> RayEntries:
        """Return the entries of the given rays, in that order; ray i of the result is `rays[i]`."""
        begin = self.samples.offsets[rays]
        counts = self.samples.offsets[rays + 1] - begin
        ray_index = torch.repeat_interleave(torch.arange(len(rays), device=rays.device), counts)
        offsets = counts.new_zeros(len(rays) + 1)
        torch.cumsum(counts, 0, out=offsets[1:])
        shift = (begin - offsets[:-1]).index_select(0, ray_index)
        index = torch.arange(len(ray_index), device=rays.device) + shift
        # index_select, here and below, is several times as fast as indexing on a CPU
        starts, ends, *rest = (
            part.index_select(0, index)
            for part in (self.samples.starts, self.samples.ends, self.weight, self.optical_depth, self.rgb)
        )
        return RayEntries(Samples(starts, ends, ray_index, offsets), *rest)


class CachedRays(NamedTuple):
    """N rays that cross the region visibly, and what the scene shows outside it.

    Attributes:
        pixels: Index into the `PixelSet` that the rays come from.
        rays: The rays, world coordinates.
        outside: The scene outside the region, one entry per interval, with weight 0.
        behind: The background's color, sRGB.
    """

    pixels: Int64[Tensor, " N"]
    rays: Rays
    outside: RayEntries
    behind: Float[Tensor, "N 3"]

    def take(self, index: Int64[Tensor, " B"]) -> CachedRays:
        """Return the given rays, in that order."""
        there = index.to(self.rays.origins.device)
        return CachedRays(self.pixels[index], self.rays[there], self.outside.take(there), self.behind[there])


def cache_rays(
    stack: LayerStack, region: Region, pixels: PixelSet, chosen: Int64[Tensor, " P"]
) -> CachedRays:
    """Render the scene outside the region along each ray once, and keep the rays that see the region.

    Args:
        stack: What lies below the layer to be fitted.
        region: The layer's region.
        pixels: The pixels of all views.
        chosen: Index into `pixels`.
    """
    kept, parts, behind = [], [], []
    for index in chosen.split(RAYS_PER_BATCH):
        rays = pixels.rays(index).to(stack.device)
        for some in batches(stack.base, rays):
            outside, back, sees = background_intervals(stack, region, rays[some])
            kept.append(index[some][sees.to(index.device)])
            parts.append(outside.take(sees.nonzero()[:, 0]))
            behind.append(back[sees])
    index = torch.cat(kept)
    rays = pixels.rays(index).to(stack.device)
    return CachedRays(index, rays, _concatenate(parts), torch.cat(behind))


def background_intervals(
    stack: LayerStack, region: Region, rays: Rays
) -> tuple[RayEntries, Float[Tensor, "N 3"], Bool[Tensor, " N"]]:
    """Composite the scene between visits of the rays to the region.

    Returns:
        One entry per interval; the background's color; which rays see the region.
    """
    outside, behind = stack.shade_outside(rays, region)
    inside = region.sample(rays)
    nothing = torch.full_like(inside.starts, -1)
    empty = ShadedSamples(inside, nothing, nothing.new_zeros(inside.count, 3))
    both = interleave([outside, empty])
    is_inside = both.density < 0
    optical_depth = (both.density * both.samples.lengths).masked_fill(is_inside, 0)
    front = transmittance(optical_depth, both.samples.offsets)
    sees = torch.zeros_like(rays.origins[:, 0], dtype=torch.bool)
    sees[both.samples.ray_index[is_inside & (front > EARLY_STOP_EPS)]] = True

    rest = (~is_inside).nonzero()[:, 0]
    ray_index, starts, ends, optical_depth, rgb, visits = (
        column.index_select(0, rest)
        for column in (
            both.samples.ray_index,
            both.samples.starts,
            both.samples.ends,
            optical_depth,
            both.rgb,
            torch.cumsum(is_inside, 0),
        )
    )
    if not len(visits):
        none = Samples.packed(starts, ends, ray_index, rays.count)
        return RayEntries(none, starts, optical_depth, rgb), behind.rgb, sees
    new = torch.ones_like(visits, dtype=torch.bool)
    new[1:] = (visits[1:] != visits[:-1]) | (ray_index[1:] != ray_index[:-1])
    first = new.nonzero()[:, 0]
    run = torch.cumsum(new, 0) - 1
    total = optical_depth.new_zeros(len(first)).index_add_(0, run, optical_depth)
    offsets = torch.cat([first, first.new_tensor([len(new)])])
    color = composite(optical_depth, rgb, (starts + ends) / 2, offsets)
    # An interval lies where its first sample does: behind all of one visit, in front of all of the next.
    samples = Samples.packed(starts[first], ends[first], ray_index[first], rays.count)
    rgb = color.rgb / color.accumulation.clamp_min(1e-9)[:, None]
    return RayEntries(samples, torch.zeros_like(total), total, rgb), behind.rgb, sees


def _concatenate(parts: list[RayEntries]) -> RayEntries:
    """Join the entries of several batches of rays."""
    before, index = 0, []
    for part in parts:
        index.append(part.samples.ray_index + before)
        before += part.samples.ray_count
    join = {name: torch.cat([getattr(p.samples, name) for p in parts]) for name in ("starts", "ends")}
    samples = Samples.packed(join["starts"], join["ends"], torch.cat(index), before)
    return RayEntries(
        samples, *(torch.cat([getattr(p, n) for p in parts]) for n in ("weight", "optical_depth", "rgb"))
    )


@torch.no_grad()
def entries_along(stack: LayerStack, layer: Layer, cached: CachedRays, step: float) -> RayEntries:
    """Merge the scene's intervals with the layer's samples, `step` long, and drop what is hidden."""
    outside, rays = cached.outside, cached.rays
    inside = layer.sample(rays, step=step)
    points = inside.midpoints(rays.origins, rays.directions)
    weight = layer.weight(points)
    optical_depth, rgb = torch.zeros_like(weight), torch.zeros_like(points)
    shell = (weight < 1).nonzero()[:, 0]
    for part in shell.split(1 << 20):
        directions = rays.directions[inside.ray_index[part]]
        density, rgb[part] = stack.query(points[part], directions, rendered=True)
        optical_depth[part] = density * inside.lengths[part]
    samples, order = merge(outside.samples, inside)
    weight, optical_depth, rgb = (
        torch.cat(both).index_select(0, order)
        for both in ((outside.weight, weight), (outside.optical_depth, optical_depth), (outside.rgb, rgb))
    )
    # Only entries outside the region hide for certain: the scene's part in the blend shell may vanish.
    front = transmittance(torch.where(weight > 0, 0, optical_depth), samples.offsets)
    visible = (front > EARLY_STOP_EPS).nonzero()[:, 0]
    rest = (column.index_select(0, visible) for column in (weight, optical_depth, rgb))
    return RayEntries(samples.at(visible), *rest)


def choose_pixels(candidates: Int64[Tensor, " P"], count: int, seed: int) -> Int64[Tensor, " Q"]:
    """Return at most `count` of the candidates, in order; the same ones for the same seed."""
    if len(candidates) <= count:
        return candidates
    order = torch.randperm(len(candidates), generator=at_step(seed, -1))
    return candidates[order[:count].sort().values]
