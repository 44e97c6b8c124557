"""Painting with a diffusion model: the inpainter `diffusion`.

A view is cropped around its mask, painted at the model's own resolution and pasted back. In the first round,
when nothing is there yet, several views are painted in one picture; later every view is painted by itself,
from the render of what is there. All views start from the same noise.
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
from nerf_insert.inpaint.diffusion.cropping import Crop, around
from nerf_insert.inpaint.diffusion.depth_control import depth_picture, distances, stretched
from nerf_insert.inpaint.diffusion.families import Family, family_of
from nerf_insert.inpaint.diffusion.inventory import other_installed_models
from nerf_insert.inpaint.diffusion.loading import (
    check_extras,
    check_weights,
    half_type,
    load,
    made_from,
    rehearse,
)
from nerf_insert.inpaint.diffusion.options import Settings
from nerf_insert.inpaint.diffusion.placement import Machine, Plan, plan
from nerf_insert.inpaint.diffusion.sampler import Painter, Shown, Wanted
from nerf_insert.inpaint.diffusion.tiling import Sheet
from nerf_insert.inpaint.guide import Guide
from nerf_insert.inpaint.mesh.inpainter import MeshInpainter
from nerf_insert.io.images import to_uint8
from nerf_insert.regions.region import Region
from nerf_insert.runtime.extras import require
from nerf_insert.runtime.progress import SILENT, Progress


class DiffusionInpainter(Inpainter):
    """Paints what the guide says in words, shows in reference pictures or gives as a mesh to start from."""

    def __init__(self, **options: Any):
        """The options are those of Settings. Raises InputError."""
        self.settings = Settings.of(options)
        self.progress: Progress = SILENT
        self.region: Region | None = None
        self.family: Family | None = None
        self.plan: Plan | None = None
        self.settled: dict[str, Any] = {}  # options that were left to us
        self.first_strength = 1.0  # later rounds have less
        self._mesh: MeshInpainter | None = None
        self._painter: Painter | None = None

    # --- before any work

    def check(self, guide: Guide) -> None:
        """Find the model and see that it can paint this here. Raises InputError that says what to do."""
        check_libraries(self.settings)
        machine, name = Machine.here(self.settings.device), self.settings.model
        if name == "auto":
            self.family, self.plan = self._choose(guide, machine)
            self.settled = {"model": self.family.model.name}
        elif Path(name).expanduser().is_file():
            self.family = self._behind(guide, name)
            self.plan = self._fit(self.family, machine)
        else:
            self.family = family_of(find_model(name))
            self._check(self.family, guide)
            self.plan = self._fit(self.family, machine)

    def _check(self, family: Family, guide: Guide) -> None:
        """Raises InputError where the model cannot do what is asked for."""
        check_guide(family, guide, self.settings)
        check_extras(family, self.settings, depth=self._depth, reference=bool(guide.references))
        rehearse(family, self.settings)

    def prepare(self, context: EditContext) -> None:
        """Say with what will be painted; the model is loaded when the first view is."""
        self.progress, self.region = context.progress, context.region
        self.first_strength = context.strength
        family, fit, guide = *self._checked(context.guide), context.guide
        how = half_type(family, fit) if fit.half else "float32"
        file = self.settings.weights
        name = family.model.name + (f", weights of {Path(file).name}" if file else "")
        several = f", {fit.batch} pictures at once" if fit.batch > 1 else ""
        self.progress.say(
            f"Painting with {family.title} ({name}) on {fit.machine.title} in {how}{several}"
            f"{', piece by piece' if fit.sliced else ''}: {fit.why}."
        )
        if guide.negative_prompt and not family.reads_negative:
            self.progress.warn(f"{family.title} does not read negative prompts")
        if guide.prompt and not family.reads_text:
            self.progress.warn(f"{family.title} does not read text, only reference pictures")
        if guide.mesh is not None and self.settings.mesh_strength < 1:
            self._mesh = MeshInpainter()
            self._mesh.prepare(context)

    # --- painting

    def inpaint(
        self, views: Sequence[InpaintView], guide: Guide, *, strength: float, seed: int
    ) -> list[Float[Tensor, "H W 3"]]:
        """The photographs with what the model paints where the masks are."""
        painter = self._loaded(guide)
        first = strength >= self.first_strength
        if first and self._mesh is not None:
            strength = min(strength, self.settings.mesh_strength)
        wanted = self._wanted(guide, strength)
        starts = [self._start(view, guide, first) for view in views]
        painted: list[Tensor | None] = [None] * len(views)
        for index, view in enumerate(views):
            if not view.mask.any():
                painted[index] = view.original.clone()
        if first and self.settings.tile > 1:
            self._paint_together(views, starts, guide, wanted, seed, painter, painted)
        self._paint_singly(views, starts, guide, wanted, seed, painter, painted)
        return [picture for picture in painted if picture is not None]

    def _paint_together(self, views, starts, guide, wanted, seed, painter: Painter, painted: list) -> None:
        """Views of one shape in sheets. Every further sheet also shows the first one's first picture, as it
        was painted, so that the model carries on with it."""
        family, tile = self._family, self.settings.tile
        open_ = [index for index, picture in enumerate(painted) if picture is None]
        side = self.side // Sheet.of(min(tile, len(open_))).columns
        crops = {index: self._crop(views[index], side) for index in open_}
        for group in alike(crops):
            if len(group) < 2 or side < 4 * family.multiple:
                continue
            shown = {index: self._show(views[index], starts[index], crops[index], guide) for index in group}
            given: Shown | None = None
            while group:
                room = tile if given is None else tile - 1
                now, group = group[:room], group[room:]
                cells = ([given] if given else []) + [shown[index] for index in now]
                sheet = Sheet.of(len(cells))
                pictures = sheet.split(painter.paint([joined(sheet, cells)], wanted, seed)[0])
                for index, picture in zip(now, pictures[-len(now) :], strict=True):
                    view = views[index]
                    painted[index] = crops[index].paste(picture, view.original, view.mask)
                    if given is None:
                        one = shown[index]
                        whole = torch.where(one.mask[..., None], picture, one.picture)
                        given = Shown(one.name, whole, torch.zeros_like(one.mask), one.depth)

    def _paint_singly(self, views, starts, guide, wanted, seed, painter: Painter, painted: list) -> None:
        open_ = [index for index, picture in enumerate(painted) if picture is None]
        crops = {index: self._crop(views[index], self.side) for index in open_}
        for group in alike(crops):
            shown = [self._show(views[index], starts[index], crops[index], guide) for index in group]
            for index, picture in zip(group, painter.paint(shown, wanted, seed), strict=True):
                painted[index] = crops[index].paste(picture, views[index].original, views[index].mask)

    # --- what the model is shown

    @property
    def side(self) -> int:
        """Pixels along a side of what is painted at once."""
        return self.settings.resolution or self._family.own_side()

    def _crop(self, view: InpaintView, side: int) -> Crop:
        return around(view.mask, side=side, multiple=self._family.multiple, context=self.settings.context)

    def _start(self, view: InpaintView, guide: Guide, first: bool) -> tuple[Tensor, Tensor | None]:
        """(picture to start from, inverse depth) of a whole view."""
        picture, depth = view.image, None
        if first and self._mesh is not None:
            painted = self._mesh.inpaint([view], guide)[0]
            picture = torch.where(view.mask[..., None], painted, view.image)
        if self._depth:
            away = distances(self.settings.depth, view.depth, view.camera, self.region, guide, first)
            depth = depth_picture(away, view.camera)
        return picture, depth

    def _show(
        self, view: InpaintView, start: tuple[Tensor, Tensor | None], crop: Crop, guide: Guide
    ) -> Shown:
        picture, depth = start
        return Shown(
            name=view.name,
            picture=crop.picture(picture).clamp(0, 1),
            mask=crop.mask(view.mask),
            depth=None if depth is None else stretched(crop.picture(depth)),
        )

    def _wanted(self, guide: Guide, strength: float) -> Wanted:
        said, family = self.settings, self._family
        return Wanted(
            prompt=guide.prompt,
            negative_prompt=guide.negative_prompt,
            references=tuple(map(to_pil, guide.references)) if family.references != "none" else (),
            strength=strength,
            steps=said.steps or family.own_steps(),
            guidance=family.own_guidance() if said.guidance is None else said.guidance,
            control_scale=family.control_scale if said.control_scale is None else said.control_scale,
        )

    # --- the model

    @property
    def _depth(self) -> bool:
        return self.settings.controlnet is not None

    @property
    def _family(self) -> Family:
        assert self.family is not None, "check(guide) comes first"
        return self.family

    def _checked(self, guide: Guide) -> tuple[Family, Plan]:
        if self.plan is None:
            self.check(guide)
        assert self.plan is not None
        return self._family, self.plan

    def _loaded(self, guide: Guide) -> Painter:
        if self._painter is None:
            family, fit = self._checked(guide)
            with self.progress.task(f"Loading {family.title}", total=1) as task:
                pipeline = load(
                    family, self.settings, fit, depth=self._depth, reference=bool(guide.references)
                )
                task.advance(1)
            self._painter = Painter(
                pipeline, family, fit.batch, self.settings.attempts, fit.sliced, self.progress
            )
        return self._painter

    def _fit(self, family: Family, machine: Machine) -> Plan:
        said = self.settings
        side = said.resolution or family.own_side()
        return plan(
            family.model.parameters,
            family.working * side * side,
            machine,
            precision=said.precision,
            placement=said.memory,
            batch=said.batch,
        )

    def _choose(self, guide: Guide, machine: Machine) -> tuple[Family, Plan]:
        """Of the models of the catalogue that are here and can do what is asked for: the first that fits on
        the GPU; else the smallest that fits."""
        here = installed_models()
        if not here:
            get = "\n".join(
                f"  nerf-insert models pull {e.name:<16} about {e.size_gb:g} GB, {e.license}: {e.note}"
                for e in MODELS[:3]
            )
            raise InputError(
                f"there is no diffusion model on this machine. Get one, for instance\n{get}\nor name the "
                "folder of one that you have with --model"
            )
        fits: list[tuple[Family, Plan]] = []
        reasons = []
        for model in sorted(here, key=lambda m: size_of(m)) if machine.device == "cpu" else here:
            family = family_of(model)
            try:
                self._check(family, guide)
                fits.append((family, self._fit(family, machine)))
            except InputError as error:
                reasons.append(f"{model.name}: {error}")
        whole = [one for one in fits if one[1].placement in ("gpu", "cpu")]
        if not fits:
            raise InputError("no diffusion model on this machine can paint this. " + "; ".join(reasons))
        return whole[0] if whole else min(fits, key=lambda one: size_of(one[0].model))

    def _behind(self, guide: Guide, file: str) -> Family:
        """The model on this machine that a single file is another version of: it has all that the file
        lacks."""
        check_weights_file(Path(file).expanduser(), "model")
        if self.settings.weights not in (None, file):
            raise InputError(f"{file} is a single file, and so is --weights: give one of them")
        self.settings = replace(self.settings, weights=file)
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
            f"this machine has them{made_from(file)}. If you have its folder, give that as --model and the "
            "file as --weights"
        )


def check_libraries(options: Settings) -> None:
    """Check that the libraries of the extra `diffusion` are installed, without importing them.

    Raises:
        InputError: One is missing; the message gives the command that installs it.
    """
    modules = ["diffusers", "transformers", "accelerate", "huggingface_hub"]
    for module in [*modules, "peft"] if options.lora else modules:
        require(module, "diffusion")


def check_guide(family: Family, guide: Guide, options: Settings) -> None:
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
    if options.controlnet and family.with_depth is None:
        raise InputError(
            f"{family.title} takes no depth: leave --controlnet out, or use SDXL, SD 1.5 or Z-Image"
        )


def alike(crops: dict[int, Crop]) -> list[list[int]]:
    """The indices, those of one size together."""
    groups: dict[tuple[int, int], list[int]] = {}
    for index, crop in crops.items():
        groups.setdefault(crop.size, []).append(index)
    return list(groups.values())


def joined(sheet: Sheet, cells: Sequence[Shown]) -> Shown:
    """All of them as one, references aside: mask and depth lie where the picture does."""
    depths = [cell.depth for cell in cells if cell.depth is not None]
    return Shown(
        name=", ".join(cell.name for cell in cells),
        picture=sheet.join([cell.picture for cell in cells]),
        mask=sheet.join([cell.mask for cell in cells], blank=True),
        depth=sheet.join(depths) if depths else None,
    )


def size_of(model: Model) -> int:
    return sum(model.parameters.values())


def to_pil(picture: Float[Tensor, "h w 3"]) -> Any:
    from PIL import Image

    return Image.fromarray(to_uint8(picture).cpu().numpy())
