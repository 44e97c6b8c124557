"""Fitting a base to the photographs of a capture.

N is the number of rays of a step. A step draws pixels from all views, marches their rays through the
occupancy grid and compares what is composited with the photographs. Everything random in a step follows
from the seed and the step's number alone, so a run that was interrupted ends where it would have ended.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from nerf_insert.capture.capture import Capture
from nerf_insert.capture.pixel_set import PixelSet
from nerf_insert.errors import InputError
from nerf_insert.fields.hash_field import FieldConfig
from nerf_insert.fields.scene_field import SceneField
from nerf_insert.geometry.cameras import Rays
from nerf_insert.io.files import read_tensors
from nerf_insert.io.images import to_uint8
from nerf_insert.kernels import composite, transmittance
from nerf_insert.rendering.stack import LayerStack
from nerf_insert.runtime.devices import device
from nerf_insert.training.checkpoint import Checkpoint
from nerf_insert.training.losses import distortion
from nerf_insert.training.optimizer import Optimizer, at_step

if TYPE_CHECKING:
    from nerf_insert.runtime.progress import Progress

OCCUPANCY_EVERY = 16  # steps
SETTLED = 0.3  # share of the steps after which the occupancy grid is trusted
EARLY_STOP_EPS = 1e-3  # transmittance in front of a sample below which it is left out
DISTORTION = 0.01  # weight of the distortion loss
STRETCH = ((0.15, 4), (0.3, 2), (1.0, 1))  # (until this share of the steps, samples' length)


@dataclass(frozen=True)
class TrainConfig:
    steps: int = 1500
    samples: int = 1 << 17  # samples of a step; the number of rays follows
    rate: float = 1e-2  # the first step size of Adam; it falls to a thirtieth
    seed: int = 0


def gather_pixels(capture: Capture) -> PixelSet:
    """The training photographs; where they have alpha, colors are premultiplied by it."""
    pictures = []
    for view in capture.train:
        picture, alpha = view.photograph(), view.alpha()
        if alpha is not None:
            shown_through = (1 - alpha)[..., None] * torch.tensor(view.background)
            picture = torch.cat([picture - shown_through, alpha[..., None]], -1)
        pictures.append(to_uint8(picture))
    if len({picture.shape[-1] for picture in pictures}) > 1:  # some photographs have alpha, some none
        pictures = [
            p if p.shape[-1] == 4 else torch.nn.functional.pad(p, (0, 1), value=255) for p in pictures
        ]
    return PixelSet([view.camera for view in capture.train], pictures)


def usable_pixels(capture: Capture) -> Tensor:
    """Index into `gather_pixels` of the pixels that no mask of the capture excludes."""
    everything = []
    for view in capture.train:
        valid = view.valid()
        size = (view.camera.height, view.camera.width)
        everything.append((torch.ones(size, dtype=torch.bool) if valid is None else valid).reshape(-1))
    return torch.cat(everything).nonzero()[:, 0]


def train_base(
    capture: Capture,
    config: TrainConfig,
    field: FieldConfig,
    progress: Progress,
    checkpoint: Path,
    pixels: PixelSet | None = None,
) -> SceneField:
    """Fit a base to the training views, or to other pictures of them (`pixels`). Resumes from
    `checkpoint` if that belongs to the same run."""
    pixels = pixels or gather_pixels(capture)
    usable = usable_pixels(capture)
    if not len(usable):
        raise InputError(f"the masks of the capture {capture.path} exclude every pixel of its training views")
    base = SceneField.for_cameras([view.camera for view in capture.train + capture.test], field, config.seed)
    base = base.to(device())
    optimizer = Optimizer(base, config.rate, config.steps)
    seen = hashlib.sha256(pixels.colors.numpy()).hexdigest()  # another capture, or another --downscale
    same = {"config": str(config), "field": str(field), "pictures": seen}
    saved = Checkpoint(checkpoint, base, same)
    start, extra = saved.load(optimizer)
    rays_per_step = extra.get("rays", 256)
    with progress.task("Training the base", total=config.steps, done=start) as task:
        for step in range(start, config.steps):
            generator = at_step(config.seed, step)
            chosen = usable[torch.randint(len(usable), (rays_per_step,), generator=generator)]
            stretch = stretch_at(step, config.steps)
            loss, samples = base_loss(base, pixels, chosen, generator, stretch)
            optimizer.step(loss, step)
            if step % OCCUPANCY_EVERY == 0:
                base.update_occupancy(generator, min(1.0, step / (SETTLED * config.steps)))
            rays_per_step = next_rays(rays_per_step, samples, config.samples)
            psnr = -10 * float(loss.detach().log10())
            task.advance(1, note=f"{psnr:.1f} dB", metrics={"psnr": psnr})
            saved.maybe_save(optimizer, step + 1, {"rays": rays_per_step})
    if pixels.colors.shape[-1] == 4:
        base.background.copy_(torch.tensor(capture.train[0].background))
    else:
        base.background.copy_(far_color(base, pixels, usable))
    return base.eval().requires_grad_(False)


def stretch_at(step: int, steps: int) -> float:
    """The samples' length at a step, in those of the end."""
    return next((length for until, length in STRETCH if step < until * steps), STRETCH[-1][1])


def next_rays(rays: int, samples: int, wanted: int) -> int:
    """How many rays the next step should have if this one's `rays` had so many samples."""
    return int(min(max(64, rays * wanted / max(samples, 1), rays / 2), 2 * rays, 1 << 15))


def unfinished_base(capture: Capture, checkpoint: Path) -> SceneField | None:
    """The base that a run still going on has saved last, to look at; None before it has saved any. It is
    taken to have the usual field."""
    try:
        tensors, _ = read_tensors(checkpoint)
    except InputError:  # not there, or just being replaced
        return None
    base = SceneField.for_cameras([view.camera for view in capture.train + capture.test], FieldConfig())
    saved = {name[7:]: tensor for name, tensor in tensors.items() if name.startswith("module.")}
    try:
        base.load_state_dict(saved)
    except RuntimeError:  # of another size
        return None
    return base.eval().requires_grad_(False)


def far_color(base: SceneField, pixels: PixelSet, usable: Tensor) -> Float[Tensor, "3"]:
    """`color_of_farthest` of some of the usable pixels."""
    chosen = usable[torch.randint(len(usable), (1 << 13,), generator=at_step(0, -1))]
    return color_of_farthest(base, pixels.rays(chosen), pixels.rgba(chosen)[0])


@torch.no_grad()
def color_of_farthest(base: SceneField, rays: Rays, colors: Float[Tensor, "N 3"]) -> Float[Tensor, "3"]:
    """The mean color of what is farthest away, to show where a new view looks past all that was seen."""
    depth = LayerStack(base).render(rays).depth
    return colors[depth >= depth.quantile(0.98, interpolation="lower")].mean(0)


def base_loss(
    base: SceneField, pixels: PixelSet, chosen: Tensor, generator: torch.Generator, stretch: float = 1.0
) -> tuple[Tensor, int]:
    """`rays_loss` of chosen pixels."""
    return rays_loss(base, pixels.rays(chosen), *pixels.rgba(chosen), generator, stretch)


def rays_loss(
    base: SceneField,
    rays: Rays,
    target: Float[Tensor, "N 3"],
    alpha: Float[Tensor, "N 1"],
    generator: torch.Generator,
    stretch: float = 1.0,
) -> tuple[Tensor, int]:
    """Mean squared error over a random background, which an opaque scene learns to hide; the number of
    samples that were looked at. `target` is premultiplied by `alpha`."""
    where = base.background.device
    rays, target, alpha = rays.to(where), target.to(where), alpha.to(where)
    behind = torch.rand(rays.count, 3, generator=generator).to(where)
    samples = base.sample(rays, torch.rand(rays.count, generator=generator).to(where), stretch)
    looked_at = samples.count
    with torch.no_grad():  # what lies behind surfaces is found once and then left out
        optical_depth = base.density(samples.midpoints(rays.origins, rays.directions)) * samples.lengths
        arriving = transmittance(optical_depth, samples.offsets)
        base.update_ema(
            samples.midpoints(rays.origins, rays.directions), arriving * (1 - torch.exp(-optical_depth))
        )
        samples = samples.select(arriving > EARLY_STOP_EPS)
    lengths = samples.lengths
    density, rgb = base.query(
        samples.midpoints(rays.origins, rays.directions), rays.directions[samples.ray_index]
    )
    out = composite(density * lengths, rgb, samples.distances, samples.offsets)
    shown = out.rgb + (1 - out.accumulation)[:, None] * behind
    error = ((shown - target - (1 - alpha) * behind) ** 2).mean()
    return error + DISTORTION * distortion(
        density * lengths, base.spacing(samples), samples.offsets
    ), looked_at
