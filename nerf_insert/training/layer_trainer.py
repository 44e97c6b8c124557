"""Fitting a layer to pictures, with everything around it frozen.

A ray that crosses the region is a row of *entries*, front to back. What the scene has outside the region
is composited once: each stretch of it between two visits to the region is one entry of fixed color and
optical depth. The samples inside are the others, and only these are evaluated in a step. In the blend shell
an entry is both, in shares. N is the number of rays, E that of entries; distances are in world units. All
is on the device of the scene's fields, but for the pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from nerf_insert.capture.pixel_set import PixelSet
from nerf_insert.errors import Stopped
from nerf_insert.fields.layer import Layer
from nerf_insert.geometry.cameras import Rays
from nerf_insert.kernels import Composite, Samples, composite, merge, transmittance
from nerf_insert.regions.region import Region
from nerf_insert.rendering.shaded_samples import ShadedSamples, interleave, mix
from nerf_insert.rendering.stack import RAYS_PER_BATCH, LayerStack
from nerf_insert.runtime.eta import EtaEstimator
from nerf_insert.runtime.progress import SILENT, Progress
from nerf_insert.training.checkpoint import Checkpoint
from nerf_insert.training.losses import distortion
from nerf_insert.training.optimizer import Optimizer, at_step
from nerf_insert.training.view_corrections import ViewCorrections

EARLY_STOP_EPS = 1e-3  # transmittance in front of a sample below which it is left out
# (share of the steps, length of the samples in steps of the region) of each stage of a fit: the usual ones;
# where pictures are judged by what the layer shows; and there, of a layer that has its shape already
STAGES = ((0.0, 3.0), (0.2, 2.0))
JUDGED = ((0.0, 4.0), (0.12, 2.0), (0.35, 1.0))
JUDGED_AGAIN = ((0.0, 2.0), (0.3, 1.0))
# shares of the steps after which it is looked at again how the pictures contradict one another
REVISED = (0.15, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


@dataclass(frozen=True)
class FitConfig:
    steps: int = 400
    rays: int = 4096  # of one step
    rate: float = 5e-2
    warm_up: int = 32  # steps in which the rate grows
    damped: float = 1.0  # factor on the rate of the perceptrons
    max_rays: int = 400_000  # kept of all those that cross the region
    huber: float = 0.1  # residual from which the loss grows linearly
    distortion: float = 3e-3  # weight of the distortion loss, lengths in diagonals of the region
    seed: int = 0


class RayEntries(NamedTuple):
    """What lies along N rays, packed and sorted like `Samples`."""

    samples: Samples
    weight: Float[Tensor, " E"]  # the layer's share
    optical_depth: Float[Tensor, " E"]  # of what lies below the layer
    rgb: Float[Tensor, "E 3"]  # of what lies below the layer

    def take(self, rays: Int64[Tensor, " B"]) -> RayEntries:
        """The entries of some rays, in that order, which are numbered anew."""
        begin = self.samples.offsets[rays]
        counts = self.samples.offsets[rays + 1] - begin
        ray_index = torch.repeat_interleave(torch.arange(len(rays), device=rays.device), counts)
        offsets = counts.new_zeros(len(rays) + 1)
        torch.cumsum(counts, 0, out=offsets[1:])
        is_empty = (begin - offsets[:-1]).index_select(0, ray_index)
        index = torch.arange(len(ray_index), device=rays.device) + is_empty
        # index_select, here and below: on a processor several times as fast as indexing
        starts, ends, *rest = (
            part.index_select(0, index)
            for part in (self.samples.starts, self.samples.ends, self.weight, self.optical_depth, self.rgb)
        )
        return RayEntries(Samples(starts, ends, ray_index, offsets), *rest)


class CachedRays(NamedTuple):
    """N rays that cross the region visibly, and what the scene has outside it."""

    pixels: Int64[Tensor, " N"]  # index into the `Pixels` that the rays come from
    rays: Rays
    outside: RayEntries  # the scene's stretches, weight 0
    behind: Float[Tensor, "N 3"]  # sRGB of what shows where a ray has met nothing

    def take(self, index: Int64[Tensor, " B"]) -> CachedRays:
        """Some of the rays, in that order."""
        there = index.to(self.rays.origins.device)
        return CachedRays(self.pixels[index], self.rays[there], self.outside.take(there), self.behind[there])


def cache_rays(
    stack: LayerStack, region: Region, pixels: PixelSet, chosen: Int64[Tensor, " P"]
) -> CachedRays:
    """Look at each of the chosen pixels' rays once and keep those that see the region."""
    kept, parts, behind = [], [], []
    for index in chosen.split(RAYS_PER_BATCH):
        rays = pixels.rays(index).to(stack.device)
        outside, back, sees = _background_intervals(stack, region, rays)
        kept.append(index[sees.to(index.device)])
        parts.append(outside.take(sees.nonzero()[:, 0]))
        behind.append(back[sees])
    index = torch.cat(kept)
    rays = pixels.rays(index).to(stack.device)
    return CachedRays(index, rays, _concatenate(parts), torch.cat(behind))


def _background_intervals(stack: LayerStack, region: Region, rays: Rays) -> tuple[RayEntries, Tensor, Tensor]:
    """The scene outside the region, one entry per stretch; the color behind; which rays see the region."""
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
    # A stretch stands where its first sample does: behind all of one visit, in front of all of the next.
    samples = Samples.packed(starts[first], ends[first], ray_index[first], rays.count)
    rgb = color.rgb / color.accumulation.clamp_min(1e-9)[:, None]
    return RayEntries(samples, torch.zeros_like(total), total, rgb), behind.rgb, sees


def _concatenate(parts: list[RayEntries]) -> RayEntries:
    """Entries of several batches of rays, one after the other."""
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
    """The scene's stretches with the layer's samples between them, those left out that nobody sees."""
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
    # Only what lies outside the region surely hides: the share of the scene in the shell may go.
    front = transmittance(torch.where(weight > 0, 0, optical_depth), samples.offsets)
    seen = (front > EARLY_STOP_EPS).nonzero()[:, 0]
    rest = (column.index_select(0, seen) for column in (weight, optical_depth, rgb))
    return RayEntries(samples.at(seen), *rest)


def shade_entries(
    layer: Layer, rays: Rays, entries: RayEntries, offsets: Float[Tensor, " N"], note: bool = True
) -> tuple[Composite, Float[Tensor, ""]]:
    """What rays show along their entries, before any background, and how spread out that is.

    `offsets` in 0..1 says where within its sample each ray looks at the layer, which takes note of what
    was seen there if `note` is set.
    """
    samples = entries.samples
    active = (entries.weight > 0).nonzero()[:, 0]
    ray, starts, ends, weight, *below = (
        part.index_select(0, active)
        for part in (samples.ray_index, samples.starts, samples.ends, *entries[1:])
    )
    origins, directions, offsets = (
        part.index_select(0, ray) for part in (rays.origins, rays.directions, offsets)
    )
    lengths = ends - starts
    points = origins + (starts + offsets * lengths)[:, None] * directions
    density, rgb = layer.query(points, directions)
    mixed, color = mix(weight, (density * lengths, rgb), tuple(below))
    optical_depth = entries.optical_depth.index_copy(0, active, mixed)
    if note:
        with torch.no_grad():
            front = transmittance(optical_depth, samples.offsets).index_select(0, active)
            share = front * -torch.expm1(-mixed)
            layer.update_ema(points, share)
    rgb = entries.rgb.index_copy(0, active, color)
    loss = distortion(optical_depth, samples.distances / layer.region.diagonal, samples.offsets)
    return composite(optical_depth, rgb, samples.distances, samples.offsets), loss


def fit_layer(
    layer: Layer,
    stack: LayerStack,
    cached: CachedRays,
    targets: Float[Tensor, "N 3"] | ViewCorrections,
    config: FitConfig,
    progress: Progress,
    label: str = "Fitting the layer",
    fresh: bool = True,
    checkpoint: Checkpoint | None = None,
    outlook: EtaEstimator | None = None,
) -> None:
    """Fit the layer so that the cached rays show `targets` (sRGB); `stack` is what lies below it.

    Samples start long and in the whole region; as the layer takes shape they get short and stay where
    it is dense. A layer that is not `fresh` has its shape already. Targets that may contradict one another
    come as an `Agreement` of the same rays, which is revised on the way. Goes on from the checkpoint, if
    there is one, with the same result. `outlook` is told of "steps" and "rays".
    """
    outlook = outlook or EtaEstimator(SILENT, label, {})
    optimizer = Optimizer(layer, config.rate, config.steps, warm_up=config.warm_up, damped=config.damped)
    start = checkpoint.load(optimizer)[0] if checkpoint else 0
    outlook.skip("steps", start)
    agreement = targets if isinstance(targets, ViewCorrections) else None
    stages = stages_of(judged=agreement is not None, fresh=fresh)
    bounds = [round(share * config.steps) for share, _ in stages] + [config.steps]
    if not isinstance(targets, ViewCorrections):
        targets = targets.to(cached.rays.origins.device)
    revisions = {round(share * config.steps) for share in REVISED} if agreement else set()
    entries = None
    with progress.task(label, total=config.steps, done=start) as task:
        for stage, (_, length) in enumerate(stages):
            begin, end = max(start, bounds[stage]), bounds[stage + 1]
            if begin >= end:
                outlook.skip("rays", cached.rays.count)
                continue
            if begin == bounds[stage]:
                layer.update_occupancy() if stage else layer.forget_occupancy()
            with outlook.spending("rays", cached.rays.count):
                entries = entries_along(stack, layer, cached, length * layer.region.step)
            for step in range(begin, end):
                with outlook.spending("steps", 1):
                    if agreement and step in revisions:
                        agreement.revise(_shown(layer, cached, entries, agreement.looked_at))
                    loss = fit_loss(layer, cached, entries, targets, config, at_step(config.seed, step))
                    optimizer.step(loss, step)
                if checkpoint:
                    checkpoint.maybe_save(optimizer, step + 1)
                try:
                    figure = float(loss.detach())
                    task.advance(1, note=f"loss {figure:.4f}", metrics={"loss": figure})
                except Stopped:
                    if checkpoint:
                        checkpoint.save(optimizer, step + 1)
                    raise
        if agreement:
            entries = entries or entries_along(stack, layer, cached, stages[-1][1] * layer.region.step)
            agreement.revise(_shown(layer, cached, entries, agreement.looked_at))
    layer.update_occupancy()


def stages_of(judged: bool, fresh: bool) -> tuple[tuple[float, float], ...]:
    """The stages of a fit, to pictures that are judged on the way or not."""
    if not judged:
        return STAGES
    return JUDGED if fresh else JUDGED_AGAIN


def fit_loss(
    layer: Layer,
    cached: CachedRays,
    entries: RayEntries,
    targets: Float[Tensor, "N 3"] | ViewCorrections,
    config: FitConfig,
    generator: torch.Generator,
) -> Tensor:
    device = cached.rays.origins.device
    batch = torch.randint(cached.rays.count, (config.rays,), generator=generator).to(device)
    offsets = torch.rand(config.rays, generator=generator).to(device)
    out, distorted = shade_entries(layer, cached.rays[batch], entries.take(batch), offsets)
    shown = out.rgb + (1 - out.accumulation)[:, None] * cached.behind[batch]
    if isinstance(targets, ViewCorrections):
        error = targets.loss(shown, batch, config.huber)
    else:
        error = torch.nn.functional.huber_loss(shown, targets[batch], delta=config.huber)
    return error + config.distortion * distorted


@torch.no_grad()
def _shown(
    layer: Layer, cached: CachedRays, entries: RayEntries, chosen: Int64[Tensor, " B"]
) -> Float[Tensor, "B 3"]:
    """What some of the rays show with the layer as it is."""
    parts = []
    for index in chosen.to(cached.rays.origins.device).split(RAYS_PER_BATCH):
        middle = torch.full_like(index, 0.5, dtype=torch.float32)
        out, _ = shade_entries(layer, cached.rays[index], entries.take(index), middle, note=False)
        parts.append(out.rgb + (1 - out.accumulation)[:, None] * cached.behind[index])
    return torch.cat(parts)


def choose(count: int, config: FitConfig, candidates: Int64[Tensor, " P"]) -> Int64[Tensor, " Q"]:
    """At most `count` of the candidates, the same ones for the same seed, in order."""
    if len(candidates) <= count:
        return candidates
    order = torch.randperm(len(candidates), generator=at_step(config.seed, -1))
    return candidates[order[:count].sort().values]
