"""A loaded model at work on pictures of one size: seeds, batches, refusals, too little memory, stopping."""

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
from nerf_insert.inpaint.diffusion.loading import quietly, slice_up
from nerf_insert.inpaint.diffusion.request import Work
from nerf_insert.runtime.progress import Progress, Task

DARKEST = 1 / 255  # what is nowhere brighter is no picture


class Trouble(NamedTuple):
    """Why a picture that the model gave cannot be used."""

    what: str  # "... {}", the pictures' names
    advice: str


OVERFLOW = (
    "numbers of half precision overflow in some models: paint in full with --inpainter-option "
    "precision=full, or take another model or seed"
)
REFUSED = Trouble(
    "the model's safety checker refused {}",
    "change the prompt or the seed, or switch the checker off with --no-safety-checker",
)
NO_NUMBERS = Trouble("what the model gave for {} is not made of numbers", OVERFLOW)
BLACK = Trouble("the model gave nothing but black for {}", OVERFLOW)


@dataclass(frozen=True, eq=False)
class Shown:
    """One picture as the model sees it."""

    name: str
    picture: Float[Tensor, "h w 3"]
    mask: Bool[Tensor, "h w"]
    depth: Float[Tensor, "h w 3"] | None = None


@dataclass(frozen=True, eq=False)
class Wanted:
    """What all pictures of a call have in common."""

    prompt: str
    negative_prompt: str
    references: tuple[Any, ...]
    strength: float
    steps: int
    guidance: float
    control_scale: float


class Painter:
    def __init__(
        self, pipeline: Any, family: Family, batch: int, attempts: int, sliced: bool, progress: Progress
    ):
        self.pipeline, self.family, self.progress = pipeline, family, progress
        self.batch, self.attempts, self.sliced = batch, attempts, sliced

    def paint(self, shown: Sequence[Shown], wanted: Wanted, seed: int) -> list[Float[Tensor, "h w 3"]]:
        """All pictures painted, each from the same noise. Raises RunError when one cannot be used with any of
        the seeds that are tried, or does not fit into memory by itself."""
        painted: list[Tensor | Trouble | None] = [None] * len(shown)
        task = self.progress.task(f"Painting {len(shown)} pictures", total=len(shown))
        for attempt in range(self.attempts):
            missing = [index for index, picture in enumerate(painted) if not isinstance(picture, Tensor)]
            while missing:
                now, missing = missing[: self.batch], missing[self.batch :]
                result = self._try([shown[index] for index in now], wanted, seed + attempt, task)
                if result is None:  # not enough memory: the next try takes less of it
                    missing = now + missing
                    continue
                for index, picture in zip(now, result, strict=True):
                    painted[index] = picture
            good = [picture for picture in painted if isinstance(picture, Tensor)]
            if len(good) == len(shown):
                return good
            said, advice = sentence(shown, painted)
            if attempt + 1 < self.attempts:
                self.progress.warn(f"{said}: painting again from seed {seed + attempt + 1}")
        raise RunError(f"{said}, with {self.attempts} seeds: {advice}")

    def _try(
        self, shown: Sequence[Shown], wanted: Wanted, seed: int, task: Task
    ) -> list[Tensor | Trouble] | None:
        """One call: pictures, or what is wrong with them; None if memory did not suffice, with less of it
        taken from now on."""
        work = self._work(shown, wanted, seed, task)
        try:
            with quietly(), torch.no_grad():
                output = self.pipeline(**self.family.call(work))
        except (RuntimeError, MemoryError) as error:
            if not is_memory(error):
                raise
            self._take_less(error)
            return None
        pictures = [picture.float().cpu().movedim(0, -1) for picture in output.images]
        flags = self.family.refused(output) or [False] * len(pictures)
        return [
            (REFUSED if flag else trouble_with(picture, one)) or picture
            for flag, picture, one in zip(flags, pictures, shown, strict=True)
        ]

    def _work(self, shown: Sequence[Shown], wanted: Wanted, seed: int, task: Task) -> Work:
        steps = max(wanted.steps, math.ceil(1 / wanted.strength - 1e-6))  # at least one of them is made
        each = len(shown) / max(1.0, steps * wanted.strength)
        before = task.done

        def each_step() -> None:
            task.update(min(task.done + each, before + len(shown)))

        depths = [one.depth for one in shown if one.depth is not None]
        return Work(
            images=torch.stack([one.picture.movedim(-1, 0) for one in shown]),
            masks=torch.stack([one.mask[None].float() for one in shown]),
            depths=torch.stack([depth.movedim(-1, 0) for depth in depths]) if depths else None,
            references=wanted.references,
            prompt=wanted.prompt,
            negative_prompt=wanted.negative_prompt,
            strength=wanted.strength,
            steps=steps,
            guidance=wanted.guidance,
            control_scale=wanted.control_scale,
            generators=[torch.Generator().manual_seed(seed) for _ in shown],
            each_step=each_step,
        )

    def _take_less(self, error: BaseException) -> None:
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        if self.batch > 1:
            self.batch = max(1, self.batch // 2)
            self.progress.say(f"Not enough memory: {self.batch} at a time from now on.")
        elif not self.sliced:
            self.sliced = True
            slice_up(self.pipeline)
            self.progress.say("Not enough memory: attention and decoding go piece by piece from now on.")
        else:
            raise RunError(
                "there is not enough memory for a single picture: paint at a lower --resolution, with "
                "--memory offload or sequential, or choose a smaller model"
            ) from error


def trouble_with(picture: Float[Tensor, "h w 3"], shown: Shown) -> Trouble | None:
    """A picture that was black before may stay so."""
    if not bool(picture.isfinite().all()):
        return NO_NUMBERS
    return BLACK if float(picture.amax()) < DARKEST <= float(shown.picture.amax()) else None


def sentence(shown: Sequence[Shown], painted: Sequence[Tensor | Trouble | None]) -> tuple[str, str]:
    """(what is wrong with which pictures, what to do about it)."""
    names: dict[Trouble, list[str]] = {}
    for one, picture in zip(shown, painted, strict=True):
        if isinstance(picture, Trouble):
            names.setdefault(picture, []).append(one.name)
    said = " and ".join(trouble.what.format(", ".join(which)) for trouble, which in names.items())
    return said, "; ".join(dict.fromkeys(trouble.advice for trouble in names))


def is_memory(error: BaseException) -> bool:
    """Whether too little memory is the reason; on a CPU torch says so in words alone."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "allocate memory" in str(error)
