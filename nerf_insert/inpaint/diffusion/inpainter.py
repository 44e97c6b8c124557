"""The inpainter `diffusion`.

A view is cropped around its mask, inpainted at the model's resolution and pasted back. In the first round,
when the scene shows nothing of the edit yet, several views are inpainted in one image; later each view is
inpainted alone, from the current render. All views start from the same noise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from nerf_insert.errors import InputError
from nerf_insert.hub.catalog import MODELS, entry_names
from nerf_insert.hub.weights import Model, check_weights_file, find_model, installed_models
from nerf_insert.inpaint.api import EditContext, Inpainter, InpaintView
from nerf_insert.inpaint.diffusion.cropping import Crop, crop_around
from nerf_insert.inpaint.diffusion.depth_control import inverse_depth, normalize_depth, target_distances
from nerf_insert.inpaint.diffusion.families import Family, family_of
from nerf_insert.inpaint.diffusion.inventory import other_installed_models
from nerf_insert.inpaint.diffusion.loading import (
    check_addons,
    check_addons_load,
    check_weights,
    half_type,
    load,
    suggest_source,
)
from nerf_insert.inpaint.diffusion.options import DiffusionOptions
from nerf_insert.inpaint.diffusion.placement import ComputeDevice, DevicePlan, plan_placement
from nerf_insert.inpaint.diffusion.sampler import Sampler, SamplerInput, SamplerParams
from nerf_insert.inpaint.diffusion.tiling import Sheet
from nerf_insert.inpaint.guide import Guide
from nerf_insert.inpaint.mesh.inpainter import MeshInpainter
from nerf_insert.io.images import to_uint8
from nerf_insert.regions.region import Region
from nerf_insert.runtime.extras import require
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
            self.family, self.plan = self._choose(guide, device)
            self.settled = {"model": self.family.model.name}
        elif Path(name).expanduser().is_file():
            self.family = self._model_for_file(guide, name)
            self.plan = self._plan(self.family, device)
        else:
            self.family = family_of(find_model(name))
            self._check(self.family, guide)
            self.plan = self._plan(self.family, device)

    def _check(self, family: Family, guide: Guide) -> None:
        """Raise InputError if the model cannot do what the guide and the options ask for."""
        check_guide(family, guide, self.options)
        check_addons(family, self.options, depth=self._depth, reference=bool(guide.references))
        check_addons_load(family, self.options)

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
    ) -> list[Float[Tensor, "H W 3"]]:
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

    def _plan(self, family: Family, device: ComputeDevice) -> DevicePlan:
        """Decide how the family's model runs on the device. Raises InputError if it does not fit."""
        side = self.options.resolution or family.default_side()
        return plan_placement(
            family.model.parameters,
            family.bytes_per_pixel * side * side,
            device,
            precision=self.options.precision,
            placement=self.options.memory,
            batch=self.options.batch,
        )

    def _choose(self, guide: Guide, device: ComputeDevice) -> tuple[Family, DevicePlan]:
        """Choose a model of the catalog that is on this machine and can do what is asked for.

        On a GPU the first that fits as a whole, otherwise the smallest that fits. Raises InputError if there
        is none.
        """
        installed = installed_models()
        if not installed:
            commands = "\n".join(
                f"  nerf-insert models pull {e.name:<16} about {e.size_gb:g} GB, {e.license}: {e.note}"
                for e in MODELS[:3]
            )
            raise InputError(
                f"there is no diffusion model on this machine. Download one, for example\n{commands}\nor "
                "give the folder of one that you have with --model"
            )
        fitting: list[tuple[Family, DevicePlan]] = []
        reasons = []
        for model in sorted(installed, key=parameter_count) if device.name == "cpu" else installed:
            family = family_of(model)
            try:
                self._check(family, guide)
                fitting.append((family, self._plan(family, device)))
            except InputError as error:
                reasons.append(f"{model.name}: {error}")
        if not fitting:
            raise InputError("no diffusion model on this machine can paint this. " + "; ".join(reasons))
        whole = [choice for choice in fitting if choice[1].placement in ("gpu", "cpu")]
        return whole[0] if whole else min(fitting, key=lambda choice: parameter_count(choice[0].model))

    def _model_for_file(self, guide: Guide, file: str) -> Family:
        """Find the model on this machine that a single file is another version of.

        The model has what the file lacks. Raises InputError if there is none.
        """
        check_weights_file(Path(file).expanduser(), "model")
        if self.options.weights not in (None, file):
            raise InputError(f"{file} is a single file, and so is --weights: give one of them")
        self.options = replace(self.options, weights=file)
        for model in [*installed_models(), *(model for model, _ in other_installed_models())]:
            family = family_of(model)
            try:
                check_weights(family, file)
            except InputError:
                continue
            self._check(family, guide)
            return family
        raise InputError(
            f"{file} is a single file: it lacks the vocabulary and settings of its model, and no model on "
            f"this machine has them{suggest_source(file)}. If you have its folder, give that as --model and "
            "the file as --weights"
        )


def check_libraries(options: DiffusionOptions) -> None:
    """Check that the libraries of the extra `diffusion` are installed, without importing them.

    Raises:
        InputError: One is missing; the message gives the command that installs it.
    """
    modules = ["diffusers", "transformers", "accelerate", "huggingface_hub"]
    for module in [*modules, "peft"] if options.lora else modules:
        require(module, "diffusion")


def check_guide(family: Family, guide: Guide, options: DiffusionOptions) -> None:
    """Check that a model can follow the guide with these options.

    Raises:
        InputError: It cannot; the message says what to change.
    """
    if family.reads_text and not guide.prompt and not guide.references:
        raise InputError(f"{family.title} needs to be told what to paint: give --prompt, a text")
    if family.references == "needed" and not guide.references:
        raise InputError(f"{family.title} paints what an image shows: give --reference, an image")
    if guide.references and family.references == "none":
        direct = entry_names("model", "flux2-klein") + entry_names("model", "paint-by-example")
        adapted = entry_names("model", "sdxl") + entry_names("model", "sd15")
        raise InputError(
            f"{family.title} does not read reference images; models that do: {', '.join(direct)}, and with "
            f"an IP-Adapter {', '.join(adapted)}"
        )
    if guide.references and family.references == "adapter" and not options.ip_adapter:
        adapters = ", ".join(entry_names("ip-adapter", family.name)) or "its .safetensors file"
        raise InputError(
            f"{family.title} needs an IP-Adapter to read reference images: give --ip-adapter ({adapters})"
        )
    if options.controlnet and family.depth_pipeline is None:
        raise InputError(
            f"{family.title} takes no depth: leave --controlnet out, or use SDXL, SD 1.5 or Z-Image"
        )


def group_by_size(crops: dict[int, Crop]) -> list[list[int]]:
    """Group indices of crops by the size of the crop."""
    groups: dict[tuple[int, int], list[int]] = {}
    for index, crop in crops.items():
        groups.setdefault(crop.size, []).append(index)
    return list(groups.values())


def join_inputs(sheet: Sheet, cells: Sequence[SamplerInput]) -> SamplerInput:
    """Join inputs of one size into one, their images, masks and depths arranged alike."""
    depths = [cell.depth for cell in cells if cell.depth is not None]
    return SamplerInput(
        name=", ".join(cell.name for cell in cells),
        image=sheet.join([cell.image for cell in cells]),
        mask=sheet.join([cell.mask for cell in cells], blank=True),
        depth=sheet.join(depths) if depths else None,
    )


def parameter_count(model: Model) -> int:
    """Count the parameters of a model."""
    return sum(model.parameters.values())


def to_pil(image: Float[Tensor, "h w 3"]) -> Any:
    """Convert an image, sRGB in 0..1, for diffusers."""
    from PIL import Image

    return Image.fromarray(to_uint8(image).cpu().numpy())
