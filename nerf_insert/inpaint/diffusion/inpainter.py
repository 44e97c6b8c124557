"""The inpainter `diffusion`.

A view is cropped around its mask, inpainted at the model's resolution and pasted back. In the first round,
when the scene shows nothing of the edit yet, several views are inpainted in one image; later each view is
inpainted alone, from the current render. All views start from the same noise.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from nerf_insert.hub.weights import find_model
from nerf_insert.inpaint.api import EditContext, Inpainter, InpaintView
from nerf_insert.inpaint.diffusion.cropping import Crop, crop_around
from nerf_insert.inpaint.diffusion.depth_control import inverse_depth, normalize_depth, target_distances
from nerf_insert.inpaint.diffusion.families import Family, family_of
from nerf_insert.inpaint.diffusion.libraries import check_libraries
from nerf_insert.inpaint.diffusion.loading import half_type, load
from nerf_insert.inpaint.diffusion.model_choice import (
    check_model,
    choose_model,
    find_family_for_file,
    plan_model,
    with_model_file,
)
from nerf_insert.inpaint.diffusion.options import DiffusionOptions
from nerf_insert.inpaint.diffusion.placement import ComputeDevice, DevicePlan
from nerf_insert.inpaint.diffusion.sampler import Sampler, SamplerInput, SamplerParams
from nerf_insert.inpaint.diffusion.tiling import Sheet, group_by_size, join_inputs
from nerf_insert.inpaint.guide import Guide
from nerf_insert.inpaint.mesh.inpainter import MeshInpainter
from nerf_insert.io.images import to_uint8
from nerf_insert.regions.region import Region
from nerf_insert.runtime.progress import SILENT, Progress


class DiffusionInpainter(Inpainter):
    """Inpaints with a diffusion model, from a prompt, reference images, or a mesh to start from.

    Attributes:
        options: The validated options.
        progress: Where work is reported; set by `prepare`.
        region: The region of the edit, world coordinates; set by `prepare`.
        family: The family with its model; set by `check`.
        plan: How the model runs; set by `check`.
        settled: The model, if the choice was left to this class; set by `check`.
        first_strength: Strength of the first round; later rounds have less.
    """

    def __init__(self, **options: Any):
        """Validate the options.

        Args:
            options: Those of DiffusionOptions.

        Raises:
            InputError: An option is unknown or has a bad value.
        """
        self.options = DiffusionOptions.parse(options)
        self.progress: Progress = SILENT
        self.region: Region | None = None
        self.family: Family | None = None
        self.plan: DevicePlan | None = None
        self.settled: dict[str, Any] = {}
        self.first_strength = 1.0
        self._mesh: MeshInpainter | None = None
        self._sampler: Sampler | None = None

    # --- before any work

    def check(self, guide: Guide) -> None:
        """Find the model and check that it can inpaint this guide on this machine.

        Raises:
            InputError: It cannot; the message says what to do.
        """
        check_libraries(self.options)
        device, name = ComputeDevice.detect(self.options.device), self.options.model
        if name == "auto":
            self.family, self.plan = choose_model(guide, self.options, device)
            self.settled = {"model": self.family.model.name}
            return
        if Path(name).expanduser().is_file():
            self.options = with_model_file(self.options, name)
            self.family = find_family_for_file(guide, self.options, name)
        else:
            self.family = family_of(find_model(name))
            check_model(self.family, guide, self.options)
        self.plan = plan_model(self.family, self.options, device)

    def prepare(self, context: EditContext) -> None:
        """Report which model is used and how. It is loaded when the first view is inpainted."""
        self.progress, self.region = context.progress, context.region
        self.first_strength = context.strength
        family, plan, guide = *self._checked(context.guide), context.guide
        precision = half_type(family, plan) if plan.half else "float32"
        file = self.options.weights
        name = family.model.name + (f", weights of {Path(file).name}" if file else "")
        batch = f", {plan.batch} images at once" if plan.batch > 1 else ""
        sliced = ", with sliced attention and decoding" if plan.sliced else ""
        self.progress.say(
            f"Painting with {family.title} ({name}) on {plan.device.title} in {precision}{batch}{sliced}: "
            f"{plan.reason}."
        )
        if guide.negative_prompt and not family.reads_negative:
            self.progress.warn(f"{family.title} does not read negative prompts")
        if guide.prompt and not family.reads_text:
            self.progress.warn(f"{family.title} does not read text, only reference images")
        if guide.mesh is not None and self.options.mesh_strength < 1:
            self._mesh = MeshInpainter()
            self._mesh.prepare(context)

    # --- inpainting

    def inpaint(
        self, views: Sequence[InpaintView], guide: Guide, *, strength: float, seed: int
    ) -> list[Float[Tensor, "_ _ 3"]]:
        """Inpaint each view where its mask is true; see Inpainter.inpaint.

        Raises:
            RunError: The model's images cannot be used, or memory does not suffice for a single one.
        """
        sampler = self._load_sampler(guide)
        first = strength >= self.first_strength
        if first and self._mesh is not None:
            strength = min(strength, self.options.mesh_strength)
        params = self._params(guide, strength)
        inputs = [self._start(view, guide, first) for view in views]
        results: list[Tensor | None] = [None] * len(views)
        for index, view in enumerate(views):
            if not view.mask.any():
                results[index] = view.original.clone()
        if first and self.options.tile > 1:
            self._paint_jointly(views, inputs, params, seed, sampler, results)
        self._paint_singly(views, inputs, params, seed, sampler, results)
        return [result for result in results if result is not None]

    def _paint_jointly(
        self,
        views: Sequence[InpaintView],
        starts: Sequence[tuple[Tensor, Tensor | None]],
        params: SamplerParams,
        seed: int,
        sampler: Sampler,
        results: list[Tensor | None],
    ) -> None:
        """Inpaint views with crops of one size in sheets, and fill in their results.

        Every sheet but the first also shows the first inpainted view, so that the model continues it.
        """
        tile = self.options.tile
        missing = [index for index, result in enumerate(results) if result is None]
        side = self.side // Sheet.of(min(tile, len(missing))).columns
        crops = {index: self._crop(views[index], side) for index in missing}
        for group in group_by_size(crops):
            if len(group) < 2 or side < 4 * self._family.multiple:
                continue
            inputs = {index: self._input(views[index], starts[index], crops[index]) for index in group}
            example: SamplerInput | None = None  # the first view, inpainted
            while group:
                room = tile if example is None else tile - 1
                now, group = group[:room], group[room:]
                cells = ([example] if example else []) + [inputs[index] for index in now]
                sheet = Sheet.of(len(cells))
                images = sheet.split(sampler.sample([join_inputs(sheet, cells)], params, seed)[0])
                for index, image in zip(now, images[-len(now) :], strict=True):
                    view = views[index]
                    results[index] = crops[index].paste(image, view.original, view.mask)
                    if example is None:
                        given = inputs[index]
                        whole = torch.where(given.mask[..., None], image, given.image)
                        example = SamplerInput(given.name, whole, torch.zeros_like(given.mask), given.depth)

    def _paint_singly(
        self,
        views: Sequence[InpaintView],
        starts: Sequence[tuple[Tensor, Tensor | None]],
        params: SamplerParams,
        seed: int,
        sampler: Sampler,
        results: list[Tensor | None],
    ) -> None:
        """Inpaint the remaining views, each in an image of its own, and fill in their results."""
        missing = [index for index, result in enumerate(results) if result is None]
        crops = {index: self._crop(views[index], self.side) for index in missing}
        for group in group_by_size(crops):
            inputs = [self._input(views[index], starts[index], crops[index]) for index in group]
            for index, image in zip(group, sampler.sample(inputs, params, seed), strict=True):
                results[index] = crops[index].paste(image, views[index].original, views[index].mask)

    # --- what the model is given

    @property
    def side(self) -> int:
        """Side of what is inpainted at once, pixels."""
        return self.options.resolution or self._family.default_side()

    def _crop(self, view: InpaintView, side: int) -> Crop:
        return crop_around(view.mask, side=side, multiple=self._family.multiple, context=self.options.context)

    def _start(self, view: InpaintView, guide: Guide, first: bool) -> tuple[Tensor, Tensor | None]:
        """Return the image to start from and the inverse depth, both of the whole view."""
        image, depth = view.image, None
        if first and self._mesh is not None:
            composite = self._mesh.inpaint([view], guide)[0]
            image = torch.where(view.mask[..., None], composite, view.image)
        if self._depth:
            away = target_distances(self.options.depth, view.depth, view.camera, self.region, guide, first)
            depth = inverse_depth(away, view.camera)
        return image, depth

    def _input(self, view: InpaintView, start: tuple[Tensor, Tensor | None], crop: Crop) -> SamplerInput:
        """Crop what the model is given of a view."""
        image, depth = start
        return SamplerInput(
            name=view.name,
            image=crop.image(image).clamp(0, 1),
            mask=crop.mask(view.mask),
            depth=None if depth is None else normalize_depth(crop.image(depth)),
        )

    def _params(self, guide: Guide, strength: float) -> SamplerParams:
        """Combine guide and options with the family's defaults."""
        options, family = self.options, self._family
        return SamplerParams(
            prompt=guide.prompt,
            negative_prompt=guide.negative_prompt,
            references=tuple(map(to_pil, guide.references)) if family.references != "none" else (),
            strength=strength,
            steps=options.steps or family.default_steps(),
            guidance=family.default_guidance() if options.guidance is None else options.guidance,
            control_scale=family.control_scale if options.control_scale is None else options.control_scale,
        )

    # --- the model

    @property
    def _depth(self) -> bool:
        return self.options.controlnet is not None

    @property
    def _family(self) -> Family:
        assert self.family is not None, "check(guide) comes first"
        return self.family

    def _checked(self, guide: Guide) -> tuple[Family, DevicePlan]:
        """Return the family and the plan, after `check` if it was not called yet."""
        if self.plan is None:
            self.check(guide)
        assert self.plan is not None
        return self._family, self.plan

    def _load_sampler(self, guide: Guide) -> Sampler:
        """Load the model, once."""
        if self._sampler is None:
            family, plan = self._checked(guide)
            with self.progress.task(f"Loading {family.title}", total=1) as task:
                pipeline = load(
                    family, self.options, plan, depth=self._depth, reference=bool(guide.references)
                )
                task.advance(1)
            self._sampler = Sampler(
                pipeline, family, plan.batch, self.options.attempts, plan.sliced, self.progress
            )
        return self._sampler


def to_pil(image: Float[Tensor, "h w 3"]) -> Any:
    """Convert an image, sRGB in 0..1, for diffusers."""
    from PIL import Image

    return Image.fromarray(to_uint8(image).cpu().numpy())
