"""Fit a layer to images, with everything around it frozen.

Samples start long and cover the whole region; as the layer takes shape they get shorter and stay where it is
dense. Whatever is random follows from the seed and the step, so a fit that was stopped ends with the same
layer. N is the number of rays, B that of rays in a batch; distances are in world units.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from nerf_insert.errors import Stopped
from nerf_insert.fields.layer import Layer
from nerf_insert.geometry.cameras import Rays
from nerf_insert.kernels import Composite, composite, transmittance
from nerf_insert.rendering.shaded_samples import mix
from nerf_insert.rendering.stack import RAYS_PER_BATCH, LayerStack
from nerf_insert.runtime.eta import EtaEstimator
from nerf_insert.runtime.progress import SILENT, Progress
from nerf_insert.training.checkpoint import Checkpoint
from nerf_insert.training.losses import mean_distortion_loss, misplacement
from nerf_insert.training.optimizer import Optimizer, at_step
from nerf_insert.training.ray_cache import CachedRays, RayEntries, entries_along
from nerf_insert.training.view_corrections import ViewCorrections

# Stages of a fit: (fraction of the steps at which it begins, length of samples in steps of the region).
STAGES = ((0.0, 3.0), (0.2, 2.0))
STAGES_CORRECTED = ((0.0, 4.0), (0.12, 2.0), (0.35, 1.0))  # images are corrected by what the layer shows
STAGES_REFINE = ((0.0, 2.0), (0.3, 1.0))  # the same, of a layer that has its shape already
# Rays that are compared before cells are given up, and when a ray wrongly sees through the layer: its opacity
# is less than TRANSPARENT, and its color is off by more than DIFFERENT.
COMPARED_RAYS = 16_384
TRANSPARENT = 0.5
DIFFERENT = 0.1
DEPTH_WEIGHT = 0.003  # of the loss on known distances
NO_WEIGHT = 1e-3  # weight of a ray in its place that counts as none
# Fractions of the steps at which the corrections are estimated anew.
REVISION_STEPS = (0.15, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


@dataclass(frozen=True)
class FitConfig:
    """How a layer is fitted.

    Attributes:
        steps: Steps of the optimizer.
        rays: Rays of one step.
        lr: Learning rate.
        warmup_steps: Steps in which the learning rate grows.
        mlp_lr_scale: Factor on the learning rate of the MLPs.
        max_rays: Rays kept of all those that see the region.
        huber: Residual above which the loss grows linearly.
        distortion: Weight of the distortion loss, whose distances are fractions of the region's diagonal.
        seed: Random seed.
    """

    steps: int = 400
    rays: int = 4096
    lr: float = 5e-2
    warmup_steps: int = 32
    mlp_lr_scale: float = 1.0
    max_rays: int = 400_000
    huber: float = 0.1
    distortion: float = 3e-3
    seed: int = 0


class FitStep(NamedTuple):
    """A step of a fit that is done: its number from 1, the number of all steps, and its loss."""

    step: int
    steps: int
    loss: float


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
    eta: EtaEstimator | None = None,
    known: Float[Tensor, " N"] | None = None,
) -> None:
    """Run `fit_steps` to the end.

    Raises:
        Stopped: The user stopped the work.
    """
    for _ in fit_steps(layer, stack, cached, targets, config, progress, label, fresh, checkpoint, eta, known):
        pass


def fit_steps(
    layer: Layer,
    stack: LayerStack,
    cached: CachedRays,
    targets: Float[Tensor, "N 3"] | ViewCorrections,
    config: FitConfig,
    progress: Progress,
    label: str = "Fitting the layer",
    fresh: bool = True,
    checkpoint: Checkpoint | None = None,
    eta: EtaEstimator | None = None,
    known: Float[Tensor, " N"] | None = None,
) -> Generator[FitStep, None, None]:
    """Fit the layer so that the cached rays show `targets`, one optimizer step per item.

    Closing the generator early saves the checkpoint. Resumes from the checkpoint, with the same result.

    Args:
        layer: Trained in place.
        stack: What lies below the layer.
        cached: The rays to fit.
        targets: Their colors (sRGB); or, if they may be inconsistent, their `ViewCorrections`, which are
            revised on the way.
        config: How to fit.
        progress: Gets a task of `config.steps` steps.
        label: The task's description.
        fresh: Whether the layer has no shape yet.
        checkpoint: Where the state of the fit is kept, if anywhere.
        eta: Told of "steps" and "rays".
        known: Distances along the rays at which the layer is opaque, NaN where that is not known; None:
            nowhere.

    Raises:
        Stopped: The user stopped the work.
    """
    eta = eta or EtaEstimator(SILENT, label, {})
    optimizer = Optimizer(
        layer, config.lr, config.steps, warmup_steps=config.warmup_steps, mlp_lr_scale=config.mlp_lr_scale
    )
    start = checkpoint.load(optimizer)[0] if checkpoint else 0
    eta.skip("steps", start)
    corrections = targets if isinstance(targets, ViewCorrections) else None
    stages = fit_stages(corrected=corrections is not None, fresh=fresh)
    bounds = [round(fraction * config.steps) for fraction, _ in stages] + [config.steps]
    if not isinstance(targets, ViewCorrections):
        targets = targets.to(cached.rays.origins.device)
    known = None if known is None else known.to(cached.rays.origins.device)
    revisions = {round(fraction * config.steps) for fraction in REVISION_STEPS} if corrections else set()
    entries = None
    with progress.task(label, total=config.steps, done=start) as task:
        for stage, (_, length) in enumerate(stages):
            begin, end = max(start, bounds[stage]), bounds[stage + 1]
            if begin >= end:
                eta.skip("rays", cached.rays.count)
                continue
            if begin == bounds[stage] and not stage:
                layer.forget_occupancy()
            elif begin == bounds[stage]:
                wanted = None
                if not isinstance(targets, ViewCorrections):  # what these show may be nowhere
                    # a fit that resumes just here has no entries yet
                    before = stages[stage - 1][1] * layer.region.step
                    entries = entries or entries_along(stack, layer, cached, before)
                    compared = torch.randperm(cached.rays.count, generator=at_step(config.seed, begin))
                    compared = compared[:COMPARED_RAYS]
                    wanted = _where_nothing_shows(layer, cached, entries, targets, compared, known)
                layer.update_occupancy(wanted)
            with eta.spending("rays", cached.rays.count):
                entries = entries_along(stack, layer, cached, length * layer.region.step)
            for step in range(begin, end):
                with eta.spending("steps", 1):
                    if corrections and step in revisions:
                        corrections.revise(_render(layer, cached, entries, corrections.sampled))
                    generator = at_step(config.seed, step)
                    loss = fit_loss(layer, cached, entries, targets, config, generator, known)
                    optimizer.step(loss, step)
                if checkpoint:
                    checkpoint.maybe_save(optimizer, step + 1)
                value = float(loss.detach())
                try:
                    task.advance(1, note=f"loss {value:.4f}", metrics={"loss": value})
                    yield FitStep(step + 1, config.steps, value)
                except (Stopped, GeneratorExit):
                    if checkpoint:
                        checkpoint.save(optimizer, step + 1)
                    raise
        if corrections:
            entries = entries or entries_along(stack, layer, cached, stages[-1][1] * layer.region.step)
            corrections.revise(_render(layer, cached, entries, corrections.sampled))
    layer.update_occupancy()


def fit_stages(corrected: bool, fresh: bool) -> tuple[tuple[float, float], ...]:
    """Return the stages of a fit, to images that are corrected on the way or not."""
    if not corrected:
        return STAGES
    return STAGES_CORRECTED if fresh else STAGES_REFINE


def fit_loss(
    layer: Layer,
    cached: CachedRays,
    entries: RayEntries,
    targets: Float[Tensor, "N 3"] | ViewCorrections,
    config: FitConfig,
    generator: torch.Generator,
    known: Float[Tensor, " N"] | None = None,
) -> Float[Tensor, ""]:
    """Return the loss of one random batch of the cached rays.

    That is Huber loss, distortion loss, and that of weight which is not at a `known` distance.
    """
    device = cached.rays.origins.device
    batch = torch.randint(cached.rays.count, (config.rays,), generator=generator).to(device)
    offsets = torch.rand(config.rays, generator=generator).to(device)
    there = None if known is None else known[batch]
    out, spread = shade_entries(layer, cached.rays[batch], entries.take(batch), offsets, known=there)
    rendered = out.rgb + (1 - out.accumulation)[:, None] * cached.behind[batch]
    if isinstance(targets, ViewCorrections):
        error = targets.loss(rendered, batch, config.huber)
    else:
        error = torch.nn.functional.huber_loss(rendered, targets[batch], delta=config.huber)
    loss = error + config.distortion * spread
    if there is not None:
        placed = out.accumulation - out.depth  # weight at the known distance
        missing = torch.where(there.isnan(), 0, -torch.log((placed + NO_WEIGHT) / (1 + NO_WEIGHT)))
        loss = loss + DEPTH_WEIGHT * missing.mean()
    return loss


def shade_entries(
    layer: Layer,
    rays: Rays,
    entries: RayEntries,
    offsets: Float[Tensor, " N"],
    update: bool = True,
    known: Float[Tensor, " N"] | None = None,
) -> tuple[Composite, Float[Tensor, ""]]:
    """Composite rays along their entries, without a background.

    Args:
        layer: Evaluated where it has a weight.
        rays: The rays, world coordinates.
        entries: Their entries.
        offsets: Where in each sample a ray evaluates the layer, 0..1.
        update: Whether the layer's occupancy statistics are updated.
        known: Distances at which the rays' weight should be; the depth of the composite is then its
            `misplacement`.

    Returns:
        The composite and the mean distortion loss, whose distances are in diagonals of the region.
    """
    samples = entries.samples
    active = (entries.weight > 0).nonzero()[:, 0]
    ray, starts, ends, weight, depth_below, rgb_below = (
        part.index_select(0, active)
        for part in (samples.ray_index, samples.starts, samples.ends, *entries[1:])
    )
    origins, directions, offsets = (
        part.index_select(0, ray) for part in (rays.origins, rays.directions, offsets)
    )
    lengths = ends - starts
    points = origins + (starts + offsets * lengths)[:, None] * directions
    density, rgb = layer.query(points, directions)
    mixed, color = mix(weight, (density * lengths, rgb), (depth_below, rgb_below))
    optical_depth = entries.optical_depth.index_copy(0, active, mixed)
    if update:
        with torch.no_grad():
            front = transmittance(optical_depth, samples.offsets).index_select(0, active)
            layer.update_ema(points, front * -torch.expm1(-mixed))
    rgb = entries.rgb.index_copy(0, active, color)
    depth, places = samples.distances, samples.distances / layer.region.diagonal
    if known is not None:
        depth = misplacement(places, known / layer.region.diagonal, samples.ray_index)
    spread = mean_distortion_loss(optical_depth, places, samples.offsets)
    return composite(optical_depth, rgb, depth, samples.offsets), spread


@torch.no_grad()
def _where_nothing_shows(
    layer: Layer,
    cached: CachedRays,
    entries: RayEntries,
    targets: Float[Tensor, "N 3"],
    chosen: Int64[Tensor, " B"],
    known: Float[Tensor, " N"] | None,
) -> Float[Tensor, "M 3"]:
    """Return the samples in the region of those rays that see through the layer but should not.

    A layer that became transparent there, as large parts of a removal do in its first steps, would never be
    sampled there again, and a hole would stay.
    """
    chosen = chosen.to(cached.rays.origins.device)
    through = torch.cat(
        [
            index[_opacity(layer, cached.rays[index], entries.take(index)) < TRANSPARENT]
            for index in chosen.split(RAYS_PER_BATCH)
        ]
    )
    if not len(through):
        return cached.rays.origins[:0]
    shown = _render(layer, cached, entries, through)
    differs = (shown - targets[through]).abs().amax(-1) > DIFFERENT
    missing = through[differs if known is None else differs | ~known[through].isnan()]
    rays, part = cached.rays[missing], entries.take(missing)
    return part.samples.midpoints(rays.origins, rays.directions)[part.weight > 0]


def _opacity(layer: Layer, rays: Rays, entries: RayEntries) -> Float[Tensor, " B"]:
    """Return how opaque the layer alone is along each ray, 0..1."""
    active = (entries.weight > 0).nonzero()[:, 0]
    points = entries.samples.midpoints(rays.origins, rays.directions).index_select(0, active)
    ray, lengths, weight = (
        part.index_select(0, active)
        for part in (entries.samples.ray_index, entries.samples.lengths, entries.weight)
    )
    density, _ = layer.query(points, rays.directions.index_select(0, ray))
    return -torch.expm1(-torch.zeros_like(rays.origins[:, 0]).index_add(0, ray, density * lengths * weight))


@torch.no_grad()
def _render(
    layer: Layer, cached: CachedRays, entries: RayEntries, chosen: Int64[Tensor, " B"]
) -> Float[Tensor, "B 3"]:
    """Render some of the cached rays with the layer as it is."""
    parts = []
    for index in chosen.to(cached.rays.origins.device).split(RAYS_PER_BATCH):
        middle = torch.full_like(index, 0.5, dtype=torch.float32)
        out, _ = shade_entries(layer, cached.rays[index], entries.take(index), middle, update=False)
        parts.append(out.rgb + (1 - out.accumulation)[:, None] * cached.behind[index])
    return torch.cat(parts)
