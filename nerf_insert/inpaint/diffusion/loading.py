"""Load diffusers pipelines: from files on this machine, safetensors only, without the network."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from logging import CRITICAL
from pathlib import Path
from typing import Any

from nerf_insert.errors import InputError
from nerf_insert.hub.catalog import find_entry
from nerf_insert.hub.weights import check_weights_file, find_weights, read_header, weight_files
from nerf_insert.inpaint.diffusion.families import Family, StableDiffusion
from nerf_insert.inpaint.diffusion.options import DiffusionOptions
from nerf_insert.inpaint.diffusion.placement import DevicePlan
from nerf_insert.io.files import read_json

VAE_KEYS = "first_stage_model."  # prefix of the VAE's keys, in files that hold a whole pipeline


def check_addons(family: Family, options: DiffusionOptions, *, depth: bool, reference: bool) -> None:
    """Check the files beside the model: LoRAs, weights, scheduler, ControlNet, IP-Adapter.

    Args:
        family: The family, with the model.
        options: The options that name the files.
        depth: Whether a ControlNet is used.
        reference: Whether there are reference images.

    Raises:
        InputError: A file is missing, a pickle, or made for another family.
    """
    for file, _ in options.lora:
        check_weights_file(_existing(file, "LoRA"), "LoRA")
    if options.weights:
        check_weights_file(_existing(options.weights, "weights"), "weights")
    if options.scheduler:
        scheduler_class(options.scheduler, family)
    if depth:
        check_controlnet(family, options)
    if reference and family.references == "adapter":
        adapter_files(family, options)


def check_addons_load(family: Family, options: DiffusionOptions) -> None:
    """Check that LoRAs and single files fit, by loading them into a model without weights (meta tensors).

    This takes seconds and no memory.

    Raises:
        InputError: One does not fit.
    """
    import torch

    if options.weights:
        check_weights(family, options.weights)
    if not options.lora:
        return
    with silence_libraries():
        hollow = {part: meta_component(family, part) for part in family.model.parameters}
        parts = family.disabled_components(False) | {
            part: made for part, made in hollow.items() if made is not None
        }
        pipeline = family.build(
            pipeline_class(family, depth=False),
            parts,
            dtype=torch.float32,
            use_safetensors=True,
            local_files_only=True,
        )
        _add_loras(pipeline, options)


def check_weights(family: Family, file: str) -> None:
    """Check that a file can replace the denoiser of the model.

    Raises:
        InputError: It does not fit.
    """
    import torch

    with silence_libraries():
        load_denoiser(family, file, torch.float32, zero_tensors(file))


def zero_tensors(file: str) -> dict[str, Any]:
    """Return tensors with the names and shapes of a safetensors file: zeros that take no memory."""
    import torch

    entries = read_header(Path(file).expanduser())
    return {key: torch.zeros(()).expand(tensor["shape"]) for key, tensor in entries.items()}


def suggest_source(file: str) -> str:
    """Say how to get the model that a single file was made from; "" if diffusers cannot tell."""
    from diffusers.loaders.single_file_utils import fetch_diffusers_config

    tensors = zero_tensors(file)
    try:
        repository, otherwise = (fetch_diffusers_config(some) for some in (tensors, {}))
    except (KeyError, IndexError, AttributeError):
        return ""
    if repository == otherwise and not any(key.startswith(VAE_KEYS) for key in tensors):
        return ""  # diffusers' answer for unknown files
    name = repository["pretrained_model_name_or_path"]
    return f" (it seems to be made from the model of `nerf-insert models pull {name}`)"


def meta_component(family: Family, part: str) -> Any:
    """Make a component without weights (on the meta device); None for classes of other libraries."""
    import diffusers
    import torch
    import transformers

    folder, name = str(family.model.folder), family.model.components[part]
    if hasattr(diffusers, name):
        kind = getattr(diffusers, name)
        config = kind.load_config(folder, subfolder=part, local_files_only=True)
        make = kind.from_config
    elif hasattr(transformers, name):
        kind = getattr(transformers, name)
        config = kind.config_class.from_pretrained(folder, subfolder=part, local_files_only=True)
        make = kind
    else:
        return None
    with torch.device("meta"):
        return make(config)


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
    import diffusers
    import torch

    dtype = getattr(torch, half_type(family, plan)) if plan.half else torch.float32
    wanted = {"dtype": dtype, "use_safetensors": True, "local_files_only": True}
    with silence_libraries():
        parts = family.disabled_components(options.safety)
        if depth:
            kind = getattr(diffusers, family.controlnet_class)
            place = find_weights(options.controlnet or "", "controlnet")
            variant = None if _plain(place) else "fp16"
            parts["controlnet"] = kind.from_pretrained(str(place), variant=variant, **wanted)
        pipeline = _pipeline(family, options, parts, wanted, depth)
        if options.scheduler:
            kind = scheduler_class(options.scheduler, family)
            pipeline.scheduler = kind.from_config(pipeline.scheduler.config)
        if reference and family.references == "adapter":
            _add_adapter(pipeline, family, options, dtype)
        _add_loras(pipeline, options)
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
    kind = pipeline_class(family, depth)
    if options.weights:
        file = Path(options.weights).expanduser()
        if any(key.startswith(VAE_KEYS) for key in read_header(file)):
            single = {"config": str(family.model.folder), "local_files_only": True, "dtype": wanted["dtype"]}
            with raise_misfit(family, file):
                return kind.from_single_file(
                    str(file), **single, **_with_safety_checker(family, parts, wanted)
                )
        parts = parts | {denoiser_name(family): load_denoiser(family, options.weights, wanted["dtype"])}
    return family.build(kind, parts, **wanted)


def denoiser_name(family: Family) -> str:
    """Return the name of the component that denoises: transformer or unet."""
    return "transformer" if "transformer" in family.model.components else "unet"


def load_denoiser(family: Family, weights: str, dtype: Any, tensors: dict[str, Any] | None = None) -> Any:
    """Load the component that denoises from a single file.

    Args:
        family: The family, with the model that gives the configuration.
        weights: The file.
        dtype: The type to load it in.
        tensors: Use these tensors instead of those in the file.

    Raises:
        InputError: The file does not fit.
    """
    import diffusers

    part, file = denoiser_name(family), Path(weights).expanduser()
    kind = getattr(diffusers, family.model.components[part])
    how = {"config": str(family.model.folder), "subfolder": part, "local_files_only": True, "dtype": dtype}
    with raise_misfit(family, file):
        made = kind.from_single_file(str(file) if tensors is None else tensors, **how)
    if any(weight.is_meta for weight in made.parameters()):
        raise InputError(f"the weights {file} are not all that {family.model.name} needs in their place")
    return made


@contextlib.contextmanager
def raise_misfit(family: Family, file: Path) -> Iterator[None]:
    """Turn any exception of diffusers into an InputError that says that the file does not fit."""
    try:
        yield
    except (InputError, MemoryError):
        raise
    except Exception as cause:
        raise InputError(f"the weights {file} do not fit {family.model.name}: {first_line(cause)}") from None


def first_line(cause: Exception) -> str:
    """Shorten the message of an exception that a library raised over misfitting files to one line."""
    if isinstance(cause, KeyError):
        return f"there is no {cause.args[0]} in it"
    if isinstance(cause, NotImplementedError):  # from torch: weights without content are left
        return "not all that is needed is in it"
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()] or [type(cause).__name__]
    return next((line for line in lines if "mismatch" in line), lines[0])


def _with_safety_checker(family: Family, parts: dict[str, Any], wanted: dict[str, Any]) -> dict[str, Any]:
    """Add what a single file lacks: the safety checker and its image processor."""
    if "safety_checker" not in family.model.components or "safety_checker" in parts:
        return parts
    from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
    from transformers import CLIPImageProcessor

    folder = family.model.folder
    checker = StableDiffusionSafetyChecker.from_pretrained(str(folder / "safety_checker"), **wanted)
    image_processor = CLIPImageProcessor.from_pretrained(
        str(folder / "feature_extractor"), local_files_only=True
    )
    return {**parts, "safety_checker": checker, "feature_extractor": image_processor}


def scheduler_class(name: str, family: Family) -> Any:
    """Return a scheduler class by name.

    Raises:
        InputError: It cannot replace the model's own.
    """
    import diffusers

    own = getattr(diffusers, family.model.components.get("scheduler", ""), None)
    compatible = {kind.__name__: kind for kind in own._get_compatibles()} if own else {}
    if name not in compatible:
        raise InputError(
            f"the scheduler {name} does not fit the model; these do: "
            f"{', '.join(sorted(compatible)) or 'none'}"
        )
    return compatible[name]


def check_controlnet(family: Family, options: DiffusionOptions) -> None:
    """Check that the ControlNet is complete and made for the family.

    Raises:
        InputError: It is not.
    """
    place = find_weights(options.controlnet or "", "controlnet")
    if place.is_file():
        raise InputError(f"{place} is a file: give the ControlNet's folder in diffusers' form")
    weight_files(place, None if _plain(place) else "fp16")
    config = read_json(place / "config.json") if (place / "config.json").is_file() else {}
    if config.get("_class_name") != family.controlnet_class:
        found = config.get("_class_name", "something else")
        raise InputError(
            f"{place} holds a {found}; {family.title} takes a {family.controlnet_class} for depth"
        )
    if isinstance(family, StableDiffusion):
        own, its = (c.get("cross_attention_dim") for c in (family.model.config("unet"), config))
        if own != its:
            raise InputError(
                f"the ControlNet {options.controlnet} was made for another kind of model (it reads text of "
                f"{its} numbers, {family.title} has {own}): choose one for {family.title}"
            )


def adapter_files(family: Family, options: DiffusionOptions) -> tuple[Path, Path]:
    """Return the IP-Adapter's file and the folder of its image encoder.

    Raises:
        InputError: One is missing, or the adapter belongs to another family.
    """
    name = options.ip_adapter or ""
    entry = find_entry(name)
    if entry is not None and entry.family != family.name:
        raise InputError(f"the IP-Adapter {name} belongs to {entry.family}, the model is {family.title}")
    file = check_weights_file(find_weights(name, "ip-adapter"), "IP-Adapter")
    if not file.is_file():
        raise InputError(f"{file} is a folder: name the IP-Adapter's .safetensors file")
    near = [file.parent / "image_encoder", file.parent.parent / "models" / "image_encoder"]
    if options.image_encoder:
        near = [Path(options.image_encoder).expanduser()]
    folder = next((folder for folder in near if (folder / "config.json").is_file()), None)
    if folder is None:
        raise InputError(
            f"the IP-Adapter {file} needs its image encoder, which is not in {' or '.join(map(str, near))}: "
            "name its folder with --inpainter-option image_encoder=FOLDER"
        )
    weight_files(folder)
    return file, folder


def _add_adapter(pipeline: Any, family: Family, options: DiffusionOptions, dtype: Any) -> None:
    from transformers import CLIPVisionModelWithProjection

    file, folder = adapter_files(family, options)
    encoder = CLIPVisionModelWithProjection.from_pretrained(
        str(folder), use_safetensors=True, local_files_only=True, dtype=dtype
    )
    pipeline.register_modules(image_encoder=encoder)
    pipeline.load_ip_adapter(
        str(file.parent),
        subfolder="",
        weight_name=file.name,
        image_encoder_folder=None,
        local_files_only=True,
    )
    pipeline.set_ip_adapter_scale(options.reference_scale)


def _add_loras(pipeline: Any, options: DiffusionOptions) -> None:
    if options.lora and not hasattr(pipeline, "load_lora_weights"):
        raise InputError(f"a {type(pipeline).__name__} takes no LoRA: leave --lora out, or use another model")
    names = []
    for number, (file, _) in enumerate(options.lora):
        path, name = Path(file).expanduser().absolute(), f"lora{number}"
        try:
            pipeline.load_lora_weights(
                str(path.parent), weight_name=path.name, adapter_name=name, local_files_only=True
            )
            fits = any(name in adapters for adapters in pipeline.get_list_adapters().values())
        except (ValueError, KeyError, RuntimeError, AttributeError) as cause:
            raise InputError(f"the LoRA {path} does not fit the model: {first_line(cause)}") from None
        if not fits:
            raise InputError(f"the LoRA {path} has nothing for this model: it was made for another one")
        names.append(name)
    if names:
        pipeline.set_adapters(names, [weight for _, weight in options.lora])


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


def _existing(name: str, what: str) -> Path:
    path = Path(name).expanduser()
    if not path.is_file():
        raise InputError(f"there is no {what} file {name}")
    return path


def _plain(folder: Path) -> bool:
    return any(".fp16" not in file.name for file in folder.glob("*.safetensors"))


@contextlib.contextmanager
def silence_libraries() -> Iterator[None]:
    """Silence the log messages and progress bars of diffusers and transformers for a while."""
    import diffusers.utils.logging as diffusers_logging
    import transformers.utils.logging as transformers_logging

    loggers = (diffusers_logging, transformers_logging)
    before = [logger.get_verbosity() for logger in loggers]
    for logger in loggers:
        logger.set_verbosity(CRITICAL)  # errors are raised as exceptions, too
        logger.disable_progress_bar()
    try:
        yield
    finally:
        for logger, verbosity in zip(loggers, before, strict=True):
            logger.set_verbosity(verbosity)
            logger.enable_progress_bar()
