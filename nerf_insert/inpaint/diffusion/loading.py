"""Load diffusers pipelines: from files on this machine, safetensors only, without the network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nerf_insert.inpaint.diffusion.addons import add_adapter, add_loras, load_controlnet, scheduler_class
from nerf_insert.inpaint.diffusion.families import Family
from nerf_insert.inpaint.diffusion.libraries import silence_libraries
from nerf_insert.inpaint.diffusion.options import DiffusionOptions
from nerf_insert.inpaint.diffusion.placement import DevicePlan
from nerf_insert.inpaint.diffusion.single_file import (
    denoiser_name,
    holds_pipeline,
    load_denoiser,
    load_pipeline,
)


def load(family: Family, options: DiffusionOptions, plan: DevicePlan, *, depth: bool, reference: bool) -> Any:
    """Load the pipeline and put it on its device.

    Args:
        family: The family, with the model.
        options: The options of the inpainter.
        plan: Where and how it runs.
        depth: Whether to load the ControlNet.
        reference: Whether to load the IP-Adapter, where the family needs one.

    Raises:
        InputError: Files do not fit together.
    """
    import torch

    dtype = getattr(torch, half_type(family, plan)) if plan.half else torch.float32
    wanted = {"dtype": dtype, "use_safetensors": True, "local_files_only": True}
    with silence_libraries():
        parts = family.disabled_components(options.safety)
        if depth:
            parts["controlnet"] = load_controlnet(family, options, wanted)
        pipeline = _pipeline(family, options, parts, wanted, depth)
        if options.scheduler:
            kind = scheduler_class(options.scheduler, family)
            pipeline.scheduler = kind.from_config(pipeline.scheduler.config)
        if reference and family.references == "adapter":
            add_adapter(pipeline, family, options, dtype)
        add_loras(pipeline, options)
        pipeline.set_progress_bar_config(disable=True)
        _move(pipeline, plan)
    return pipeline


def half_type(family: Family, plan: DevicePlan) -> str:
    """Return the name of the half-precision type: bfloat16 on a CPU, which does not compute in float16."""
    return "bfloat16" if plan.device.name == "cpu" else family.half_dtype


def pipeline_class(family: Family, depth: bool) -> Any:
    """Return the pipeline class, with a ControlNet if `depth` is set."""
    import diffusers

    return getattr(diffusers, family.depth_pipeline if depth and family.depth_pipeline else family.pipeline)


def _pipeline(
    family: Family, options: DiffusionOptions, parts: dict[str, Any], wanted: dict[str, Any], depth: bool
) -> Any:
    """Load the pipeline, its denoiser or all of it from a single file if the options name one."""
    kind = pipeline_class(family, depth)
    if options.weights:
        file = Path(options.weights).expanduser()
        if holds_pipeline(file):
            return load_pipeline(kind, family, file, parts, wanted)
        parts = parts | {denoiser_name(family): load_denoiser(family, options.weights, wanted["dtype"])}
    return family.build(kind, parts, **wanted)


def _move(pipeline: Any, plan: DevicePlan) -> None:
    """Put the pipeline on its device."""
    device = plan.device.name
    if plan.placement == "offload":
        pipeline.enable_model_cpu_offload(device=device)
    elif plan.placement == "sequential":
        pipeline.enable_sequential_cpu_offload(device=device)
    else:
        pipeline.to(device)
    if plan.sliced:
        enable_slicing(pipeline)


def enable_slicing(pipeline: Any) -> None:
    """Slice attention and decoding: slower, with less memory."""
    if hasattr(pipeline, "unet"):  # transformers need no slices: their attention takes little memory
        pipeline.enable_attention_slicing()
    for enable in ("enable_slicing", "enable_tiling"):
        if hasattr(pipeline.vae, enable):
            getattr(pipeline.vae, enable)()
