"""Fitting a base to the photographs of a capture.

N is the number of rays of a step. A step draws pixels from all views, marches their rays through the
occupancy grid and compares what is composited with the photographs. Everything random in a step follows
from the seed and the step's number alone, so a run that was interrupted ends where it would have ended.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from nerf_insert.base import Base
from nerf_insert.capture import Capture
from nerf_insert.checkpoints import Checkpoint
from nerf_insert.fields import FieldConfig
from nerf_insert.kernels import composite
from nerf_insert.pixels import Pixels
from nerf_insert.progress import Progress

OCCUPANCY_EVERY = 16  # steps
OCCUPANCY_CELLS = 1 << 18


@dataclass(frozen=True)
class TrainConfig:
    steps: int = 2000
    samples: int = 1 << 17  # samples of a step; the number of rays follows
    rate: float = 1e-2  # the first step size of Adam; it falls to a thirtieth
    seed: int = 0


class Optimiser:
    """Adam as Instant NGP uses it (appendix E), with a rate that falls exponentially."""

    def __init__(self, module: nn.Module, rate: float, steps: int, floor: float = 1 / 30):
        self.adam = torch.optim.Adam(module.parameters(), lr=rate, betas=(0.9, 0.99), eps=1e-15, fused=True)
        self.rate, self.steps, self.floor = rate, steps, floor

    def step(self, loss: Tensor, at: int) -> None:
        """One step down the gradient of `loss`; `at` counts steps from 0."""
        warm = min(1.0, (at + 1) / 32)
        for group in self.adam.param_groups:
            group["lr"] = self.rate * warm * self.floor ** (at / self.steps)
        self.adam.zero_grad(set_to_none=True)
        loss.backward()
        self.adam.step()


def at_step(seed: int, step: int) -> torch.Generator:
    """The source of all that is random in one step."""
    return torch.Generator().manual_seed((seed * 1_000_003 + step) & 0x7FFF_FFFF_FFFF_FFFF)


def gather_pixels(capture: Capture) -> Pixels:
    """The training photographs; where they have alpha, colours are premultiplied by it."""
    return Pixels([view.camera for view in capture.train], [view.pixels() for view in capture.train])


def train_base(
    capture: Capture,
    config: TrainConfig,
    field: FieldConfig,
    progress: Progress,
    checkpoint: Path,
) -> Base:
    """Fit a base to the training views. Resumes from `checkpoint` if that belongs to the same run."""
    pixels = gather_pixels(capture)
    usable = torch.cat([view.usable().reshape(-1) for view in capture.train]).nonzero()[:, 0]
    base = Base.for_cameras([view.camera for view in capture.train + capture.test], field, config.seed)
    optimiser = Optimiser(base, config.rate, config.steps)
    saved = Checkpoint(checkpoint, base, optimiser.adam, same={"config": str(config), "field": str(field)})
    start, extra = saved.load()
    rays_per_step = extra.get("rays", 256)
    with progress.task("Training the base", total=config.steps, done=start) as task:
        for step in range(start, config.steps):
            generator = at_step(config.seed, step)
            chosen = usable[torch.randint(len(usable), (rays_per_step,), generator=generator)]
            loss, samples = base_loss(base, pixels, chosen, generator)
            optimiser.step(loss, step)
            if step % OCCUPANCY_EVERY == 0:
                base.update_occupancy(generator, OCCUPANCY_CELLS)
            wanted = rays_per_step * config.samples / max(samples, 1)
            rays_per_step = int(min(max(64, wanted, rays_per_step / 2), 2 * rays_per_step, 1 << 15))
            task.advance(1, note=f"{-10 * float(loss.detach().log10()):.1f} dB")
            saved.maybe_save(step + 1, {"rays": rays_per_step})
    base.background.copy_(torch.ones(3) if capture.has_alpha else torch.zeros(3))
    return base.eval().requires_grad_(False)


def base_loss(base: Base, pixels: Pixels, chosen: Tensor, generator: torch.Generator) -> tuple[Tensor, int]:
    """Mean squared error over a random background, which an opaque scene learns to hide; the number of
    samples that it took."""
    rays = pixels.rays(chosen)
    target, alpha = pixels.rgba(chosen)
    behind = torch.rand(len(chosen), 3, generator=generator)
    samples = base.sample(rays, offsets=torch.rand(len(chosen), generator=generator))
    density, rgb = base.query(samples.midpoints(*rays), rays.directions[samples.ray_index])
    out = composite(density * samples.lengths, rgb, samples.distances, samples.offsets)
    shown = out.rgb + (1 - out.accumulation)[:, None] * behind
    return ((shown - target - (1 - alpha) * behind) ** 2).mean(), samples.count
