"""Fit a base field to the photographs of a capture.

N is the number of rays of a step. A step draws pixels from all views, marches their rays through the
occupancy grid and compares the composited colors with the photographs. Whatever is random in a step follows
from the seed and the step's number alone, so a run that was interrupted ends with the same base.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch
from jaxtyping import Float, Int, Int64
from torch import Tensor

from nerf_insert.capture.capture import Capture
from nerf_insert.capture.pixel_set import PixelSet
from nerf_insert.errors import InputError
from nerf_insert.fields.hash_field import FieldConfig
from nerf_insert.fields.scene_field import SceneField
from nerf_insert.geometry.cameras import Rays
from nerf_insert.io.files import read_tensors
from nerf_insert.io.images import may_be_transparent, to_uint8
from nerf_insert.kernels import composite, transmittance
from nerf_insert.rendering.stack import LayerStack
from nerf_insert.runtime.devices import device
from nerf_insert.stereo.depth_maps import DepthMaps, measure_depth
from nerf_insert.training.checkpoint import Checkpoint
from nerf_insert.training.exposure import BEGIN, Exposures, Observer
from nerf_insert.training.losses import mean_distortion_loss, misplacement
from nerf_insert.training.optimizer import Optimizer, at_step

if TYPE_CHECKING:
    from nerf_insert.runtime.progress import Progress

OCCUPANCY_EVERY = 16  # steps
OCCUPANCY_SETTLED = 0.3  # fraction of the steps after which the occupancy grid is trusted
EARLY_STOP_EPS = 1e-3  # transmittance in front of a sample below which it is left out
DISTORTION_WEIGHT = 0.01  # of the distortion loss
DEPTH_WEIGHT = 0.1  # of the loss on measured depth, at first
DEPTH_UNTIL = 0.5  # fraction of the steps after which it is not used
DEPTH_DECAY = 0.01  # of its weight, until then
# (until this fraction of the steps, length of samples relative to the last ones)
SAMPLE_LENGTHS = ((0.15, 4), (0.3, 2), (1.0, 1))


class BaseLoss(NamedTuple):
    """The loss of one step."""

    total: Float[Tensor, ""]
    error: Float[Tensor, ""]  # mean squared, of the colors; without gradient
    samples: int  # that were evaluated


@dataclass(frozen=True)
class TrainConfig:
    """How a base is trained.

    Attributes:
        steps: Steps of the optimizer.
        samples: Samples of one step; the number of rays follows.
        lr: Learning rate, which falls to a thirtieth.
        seed: Random seed.
    """

    steps: int = 1500
    samples: int = 1 << 17
    lr: float = 1e-2
    seed: int = 0

    def fingerprint(self) -> str:
        """Identify the run in its checkpoint, in the words of version 0.1.0."""
        return f"TrainConfig(steps={self.steps}, samples={self.samples}, rate={self.lr}, seed={self.seed})"


def gather_pixels(capture: Capture) -> PixelSet:
    """Collect the pixels of the training photographs; colors are premultiplied by alpha if there is any.

    Photographs are read one by one into one tensor: no second copy of all pixels is made.
    """
    cameras = [view.camera for view in capture.train]
    channels = 4 if any(may_be_transparent(view.path) for view in capture.train) else 3
    colors = torch.full((sum(c.width * c.height for c in cameras), channels), 255, dtype=torch.uint8)
    begin, opaque = 0, True
    for view in capture.train:
        image, alpha = view.photograph(), view.alpha() if channels == 4 else None
        end = begin + image.shape[0] * image.shape[1]
        if alpha is not None:
            image = image - (1 - alpha)[..., None] * torch.tensor(view.background)
            colors[begin:end, 3], opaque = to_uint8(alpha).reshape(-1), False
        colors[begin:end, :3] = to_uint8(image).reshape(-1, 3)
        begin = end
    return PixelSet(cameras, colors[:, :3].contiguous() if opaque else colors)


def usable_pixels(capture: Capture) -> Int[Tensor, " P"] | None:
    """Return the index into `gather_pixels` of the pixels that no mask of the capture excludes; None: all."""
    if all(view.mask_path is None for view in capture.train):
        return None
    sizes = [view.camera.width * view.camera.height for view in capture.train]
    kind = torch.int32 if sum(sizes) < 1 << 31 else torch.int64
    parts, begin = [], 0
    for view, size in zip(capture.train, sizes, strict=True):
        valid = view.valid()
        own = torch.arange(size) if valid is None else valid.reshape(-1).nonzero()[:, 0]
        parts.append((own + begin).to(kind))
        begin += size
    return torch.cat(parts)


def draw(count: int, among: int, usable: Int[Tensor, " P"] | None, generator: torch.Generator) -> Tensor:
    """Return the indices of random usable pixels, int64, of `among` pixels where all are usable."""
    chosen = torch.randint(among if usable is None else len(usable), (count,), generator=generator)
    return chosen if usable is None else usable[chosen].long()


def train_base(
    capture: Capture,
    config: TrainConfig,
    field: FieldConfig,
    progress: Progress,
    checkpoint: Path,
    pixels: PixelSet | None = None,
) -> SceneField:
    """Fit a base field to the training views. Resumes from `checkpoint` if that belongs to the same run.

    Args:
        capture: The photographs.
        config: How to train.
        field: The size of the field.
        progress: Gets a task of `config.steps` steps, with the metric "psnr".
        checkpoint: The file that keeps the state of the run.
        pixels: Other images of the training views to fit instead.

    Raises:
        InputError: The capture's masks exclude every pixel.
        Stopped: The user stopped the work.
    """
    pixels = pixels or gather_pixels(capture)
    usable = usable_pixels(capture)
    if usable is not None and not len(usable):
        raise InputError(f"the masks of the capture {capture.path} exclude every pixel of its training views")
    base = SceneField.for_cameras([view.camera for view in capture.train + capture.test], field, config.seed)
    base = base.to(device())
    optimizer = Optimizer(base, config.lr, config.steps)
    colors = pixels.colors.numpy().data
    digest = hashlib.sha256(colors).hexdigest()  # changes with the capture and --downscale
    same = {"config": config.fingerprint(), "field": str(field), "pictures": digest}
    saved = Checkpoint(checkpoint, base, same)
    start, extra = saved.load(optimizer)
    rays_per_step = extra.get("rays", 256)
    exposures = Exposures(len(capture.train))
    exposures.restore(extra.get("exposures"))
    depths = None
    if start < DEPTH_UNTIL * config.steps:
        depths = measure_depth(pixels, usable, 1 / base.scale, progress, config.seed)
    with progress.task("Training the base", total=config.steps, done=start) as task:
        for step in range(start, config.steps):
            generator = at_step(config.seed, step)
            chosen = draw(rays_per_step, len(pixels), usable, generator)
            length = sample_length_at(step, config.steps)
            exposed = exposures if step >= BEGIN * config.steps else None
            known = depths if step < DEPTH_UNTIL * config.steps else None
            weight = DEPTH_WEIGHT * DEPTH_DECAY ** (step / (DEPTH_UNTIL * config.steps))
            loss = base_loss(base, pixels, chosen, generator, length, exposed, known, weight)
            optimizer.step(loss.total, step)
            if step % OCCUPANCY_EVERY == 0:
                base.update_occupancy(generator, min(1.0, step / (OCCUPANCY_SETTLED * config.steps)))
            rays_per_step = next_rays(rays_per_step, loss.samples, config.samples)
            psnr = -10 * float(loss.error.log10())
            task.advance(1, note=f"{psnr:.1f} dB", metrics={"psnr": psnr})
            saved.maybe_save(optimizer, step + 1, {"rays": rays_per_step, "exposures": exposures.state()})
    if pixels.colors.shape[-1] == 4:
        base.background.copy_(torch.tensor(capture.train[0].background))
    else:
        base.background.copy_(far_color(base, pixels, usable))
    return base.eval().requires_grad_(False)


def sample_length_at(step: int, steps: int) -> float:
    """Return the length of samples at a step, relative to that at the end."""
    return next((length for until, length in SAMPLE_LENGTHS if step < until * steps), SAMPLE_LENGTHS[-1][1])


def next_rays(rays: int, samples: int, wanted: int) -> int:
    """Return the number of rays of the next step, so that it has about `wanted` samples."""
    return int(min(max(64, rays * wanted / max(samples, 1), rays / 2), 2 * rays, 1 << 15))


def unfinished_base(capture: Capture, checkpoint: Path) -> SceneField | None:
    """Load the base that a running training has saved last, to look at it; None if there is none yet.

    The base is assumed to have the default field.
    """
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


def far_color(base: SceneField, pixels: PixelSet, usable: Tensor | None) -> Float[Tensor, "3"]:
    """Return `color_of_farthest` of a random choice of the usable pixels."""
    chosen = draw(1 << 13, len(pixels), usable, at_step(0, -1))
    return color_of_farthest(base, pixels.rays(chosen), pixels.rgba(chosen)[0])


@torch.no_grad()
def color_of_farthest(base: SceneField, rays: Rays, colors: Float[Tensor, "N 3"]) -> Float[Tensor, "3"]:
    """Return the mean color of the farthest surfaces, a background for rays that miss the whole scene."""
    depth = LayerStack(base).render(rays).depth
    return colors[depth >= depth.quantile(0.98, interpolation="lower")].mean(0)


def base_loss(
    base: SceneField,
    pixels: PixelSet,
    chosen: Int64[Tensor, " N"],
    generator: torch.Generator,
    sample_length: float = 1.0,
    exposures: Exposures | None = None,
    depths: DepthMaps | None = None,
    depth_weight: float = 0.0,
) -> BaseLoss:
    """Return `rays_loss` of the chosen pixels, with their photographs' exposures and measured depth."""
    view, rays = pixels.view_and_xy(chosen)[0], pixels.rays(chosen)
    observer = None if exposures is None else Observer(exposures, view, exposures.gains[view])
    measured = None if depths is None else depths.distances(view, rays)
    colors = pixels.rgba(chosen)
    return rays_loss(base, rays, *colors, generator, sample_length, observer, measured, depth_weight)


def rays_loss(
    base: SceneField,
    rays: Rays,
    target: Float[Tensor, "N 3"],
    alpha: Float[Tensor, "N 1"],
    generator: torch.Generator,
    sample_length: float = 1.0,
    exposed: Observer | None = None,
    measured: Float[Tensor, " N"] | None = None,
    depth_weight: float = 0.0,
) -> BaseLoss:
    """Compare rays with their target colors over a random background, which an opaque scene learns to hide.

    Args:
        base: The field in training.
        rays: World coordinates.
        target: Colors, sRGB, premultiplied by `alpha`.
        alpha: Opacity, 0..1.
        generator: Where randomness comes from.
        sample_length: Length of samples, relative to that at the end of the training.
        exposed: The exposures of the rays' photographs; None: all the same.
        measured: Distances along the rays at which surfaces were measured, NaN where none was; None: nowhere.
        depth_weight: Weight of the loss on these distances.

    Returns:
        The mean squared error plus the losses on where the rays' weight is.
    """
    target_device = base.background.device
    rays, target, alpha = rays.to(target_device), target.to(target_device), alpha.to(target_device)
    behind = torch.rand(rays.count, 3, generator=generator).to(target_device)
    samples = base.sample(rays, torch.rand(rays.count, generator=generator).to(target_device), sample_length)
    evaluated = samples.count
    with torch.no_grad():  # samples behind surfaces get no gradient and are dropped
        optical_depth = base.density(samples.midpoints(rays.origins, rays.directions)) * samples.lengths
        front = transmittance(optical_depth, samples.offsets)
        base.update_ema(
            samples.midpoints(rays.origins, rays.directions), front * (1 - torch.exp(-optical_depth))
        )
        samples = samples.select(front > EARLY_STOP_EPS)
    lengths = samples.lengths
    density, rgb = base.query(
        samples.midpoints(rays.origins, rays.directions), rays.directions[samples.ray_index]
    )
    places, off = base.spacing(samples.distances), None
    if measured is not None:
        measured = base.spacing(measured.to(target_device))
        off = misplacement(places, measured, samples.ray_index)
    out = composite(density * lengths, rgb, places if off is None else off, samples.offsets)
    scene = out.rgb
    if exposed is not None:
        exposed.exposures.observe(exposed.view, out.rgb.detach(), target)
        scene = out.rgb * exposed.gains.to(out.rgb)
    rendered = scene + (1 - out.accumulation)[:, None] * behind
    error = ((rendered - target - (1 - alpha) * behind) ** 2).mean()
    loss = error + DISTORTION_WEIGHT * mean_distortion_loss(density * lengths, places, samples.offsets)
    if measured is not None:  # light that passes the surface is off as far as any
        misplaced = torch.where(measured.isnan(), 0, out.depth + 1 - out.accumulation)
        loss = loss + depth_weight * misplaced.mean()
    return BaseLoss(loss, error.detach(), evaluated)
