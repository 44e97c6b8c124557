"""Run a loaded model on images of one size: seeds, batches, rejected images, too little memory, stopping."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from nerf_insert.errors import RunError
from nerf_insert.inpaint.diffusion.families import Family
from nerf_insert.inpaint.diffusion.libraries import silence_libraries
from nerf_insert.inpaint.diffusion.loading import enable_slicing
from nerf_insert.inpaint.diffusion.request import InpaintRequest
from nerf_insert.runtime.progress import Progress, Task

BLACK_LEVEL = 1 / 255  # an image that is nowhere brighter counts as black


class Defect(NamedTuple):
    """Why an image that the model gave cannot be used.

    Attributes:
        description: With {} for the names of the images.
        advice: What to do about it.
    """

    description: str
    advice: str


OVERFLOW = (
    "half precision overflows in some models: use --inpainter-option precision=full, or another model or seed"
)
REJECTED = Defect(
    "the model's safety checker refused {}",
    "change the prompt or the seed, or switch the checker off with --no-safety-checker",
)
NOT_FINITE = Defect("what the model gave for {} is not made of numbers", OVERFLOW)
BLACK = Defect("the model gave nothing but black for {}", OVERFLOW)


@dataclass(frozen=True, eq=False)
class SamplerInput:
    """One image as the model is given it: a crop of a view, or a sheet of several.

    Attributes:
        name: Its name in messages.
        image: What inpainting starts from, sRGB in 0..1.
        mask: Where to inpaint.
        depth: The control image; None without a ControlNet.
    """

    name: str
    image: Float[Tensor, "h w 3"]
    mask: Bool[Tensor, "h w"]
    depth: Float[Tensor, "h w 3"] | None = None


@dataclass(frozen=True, eq=False)
class SamplerParams:
    """What all images of a call have in common; see InpaintRequest."""

    prompt: str
    negative_prompt: str
    references: tuple[Any, ...]
    strength: float
    steps: int
    guidance: float
    control_scale: float


class Sampler:
    """A loaded pipeline with its batch size, which shrinks when memory runs out.

    Attributes:
        pipeline: The diffusers pipeline.
        family: The family that it belongs to.
        batch: Images at once.
        attempts: Seeds to try for an image.
        sliced: Whether attention and decoding are sliced.
        progress: Where work and warnings are reported.
    """

    def __init__(
        self, pipeline: Any, family: Family, batch: int, attempts: int, sliced: bool, progress: Progress
    ):
        self.pipeline, self.family, self.progress = pipeline, family, progress
        self.batch, self.attempts, self.sliced = batch, attempts, sliced

    def sample(
        self, inputs: Sequence[SamplerInput], params: SamplerParams, seed: int
    ) -> list[Float[Tensor, "_ _ 3"]]:
        """Inpaint images of one size, each from the same noise.

        An image that cannot be used (rejected, black, not finite) is inpainted again with the next seed.

        Raises:
            RunError: An image cannot be used with any of the seeds, or does not fit into memory alone.
        """
        results: list[Tensor | Defect | None] = [None] * len(inputs)
        task = self.progress.task(f"Inpainting {len(inputs)} images", total=len(inputs))
        problem, advice = "", ""
        for attempt in range(self.attempts):
            missing = [index for index, result in enumerate(results) if not isinstance(result, Tensor)]
            while missing:
                now, missing = missing[: self.batch], missing[self.batch :]
                batch = self._call([inputs[index] for index in now], params, seed + attempt, task)
                if batch is None:  # out of memory: try again with less
                    missing = now + missing
                    continue
                for index, result in zip(now, batch, strict=True):
                    results[index] = result
            good = [result for result in results if isinstance(result, Tensor)]
            if len(good) == len(inputs):
                return good
            problem, advice = describe_defects(inputs, results)
            if attempt + 1 < self.attempts:
                self.progress.warn(f"{problem}: painting again from seed {seed + attempt + 1}")
        raise RunError(f"{problem}, with {self.attempts} seeds: {advice}")

    def _call(
        self, inputs: Sequence[SamplerInput], params: SamplerParams, seed: int, task: Task
    ) -> list[Tensor | Defect] | None:
        """Call the pipeline once; None if memory ran out, after reducing what the next call needs."""
        request = self._request(inputs, params, seed, task)
        try:
            with silence_libraries(), torch.no_grad():
                output = self.pipeline(**self.family.call_arguments(request))
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            self._reduce_memory(error)
            return None
        images = [image.float().cpu().movedim(0, -1) for image in output.images]
        flags = self.family.rejected(output) or [False] * len(images)
        return [
            (REJECTED if flag else find_defect(image, given)) or image
            for flag, image, given in zip(flags, images, inputs, strict=True)
        ]

    def _request(
        self, inputs: Sequence[SamplerInput], params: SamplerParams, seed: int, task: Task
    ) -> InpaintRequest:
        """Build the request of one call."""
        steps = max(params.steps, math.ceil(1 / params.strength - 1e-6))  # so that at least one is run
        progress_per_step = len(inputs) / max(1.0, steps * params.strength)
        before = task.done

        def on_step() -> None:
            task.update(min(task.done + progress_per_step, before + len(inputs)))

        depths = [given.depth for given in inputs if given.depth is not None]
        return InpaintRequest(
            images=torch.stack([given.image.movedim(-1, 0) for given in inputs]),
            masks=torch.stack([given.mask[None].float() for given in inputs]),
            depths=torch.stack([depth.movedim(-1, 0) for depth in depths]) if depths else None,
            references=params.references,
            prompt=params.prompt,
            negative_prompt=params.negative_prompt,
            strength=params.strength,
            steps=steps,
            guidance=params.guidance,
            control_scale=params.control_scale,
            generators=[torch.Generator().manual_seed(seed) for _ in inputs],
            on_step=on_step,
        )

    def _reduce_memory(self, error: BaseException) -> None:
        """Halve the batch, then slice attention and decoding, then give up."""
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        if self.batch > 1:
            self.batch = max(1, self.batch // 2)
            self.progress.say(f"Not enough memory: {self.batch} at a time from now on.")
        elif not self.sliced:
            self.sliced = True
            enable_slicing(self.pipeline)
            self.progress.say("Not enough memory: attention and decoding are sliced from now on.")
        else:
            raise RunError(
                "there is not enough memory for a single image: use a lower --resolution, --memory offload "
                "or sequential, or a smaller model"
            ) from error


def find_defect(image: Float[Tensor, "h w 3"], given: SamplerInput) -> Defect | None:
    """Check an image that the model gave. It may be black if it was black before."""
    if not bool(image.isfinite().all()):
        return NOT_FINITE
    return BLACK if float(image.amax()) < BLACK_LEVEL <= float(given.image.amax()) else None


def describe_defects(
    inputs: Sequence[SamplerInput], results: Sequence[Tensor | Defect | None]
) -> tuple[str, str]:
    """Return what is wrong with which images, and what to do about it."""
    names: dict[Defect, list[str]] = {}
    for given, result in zip(inputs, results, strict=True):
        if isinstance(result, Defect):
            names.setdefault(result, []).append(given.name)
    problem = " and ".join(defect.description.format(", ".join(which)) for defect, which in names.items())
    return problem, "; ".join(dict.fromkeys(defect.advice for defect in names))


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether memory ran out; on a CPU only torch's message says so."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "allocate memory" in str(error)
