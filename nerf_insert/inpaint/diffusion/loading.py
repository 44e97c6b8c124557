"""A pipeline of diffusers, ready to paint: from files on this machine, safetensors only, no requests."""

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
from nerf_insert.inpaint.diffusion.options import Settings
from nerf_insert.inpaint.diffusion.placement import Plan
from nerf_insert.io.files import read_json

WHOLE = "first_stage_model."  # keys of files that hold a whole pipeline: its VAE


def check_extras(family: Family, settings: Settings, *, depth: bool, reference: bool) -> None:
    """Raises InputError for files beside the model that are missing, unsafe or made for another family."""
    for file, _ in settings.lora:
        check_weights_file(_existing(file, "LoRA"), "LoRA")
    if settings.weights:
        check_weights_file(_existing(settings.weights, "weights"), "weights")
    if settings.scheduler:
        scheduler_class(settings.scheduler, family)
    if depth:
        check_controlnet(family, settings)
    if reference and family.references == "adapter":
        adapter_files(family, settings)


def rehearse(family: Family, settings: Settings) -> None:
    """See that LoRAs and single files fit the model, by loading them into one that has all its parts but none
    of their weights, which takes seconds and no memory. Raises InputError as `load` would."""
    import torch

    if settings.weights:
        check_weights(family, settings.weights)
    if not settings.lora:
        return
    with quietly():
        hollow = {part: hollow_part(family, part) for part in family.model.parameters}
        parts = family.without(False) | {part: made for part, made in hollow.items() if made is not None}
        pipeline = family.build(
            pipeline_class(family, depth=False),
            parts,
            dtype=torch.float32,
            use_safetensors=True,
            local_files_only=True,
        )
        _add_loras(pipeline, settings)


def check_weights(family: Family, file: str) -> None:
    """Raises InputError unless the file can take the place of what denoises in the model."""
    import torch

    with quietly():
        network(family, file, torch.float32, weightless(file))


def weightless(file: str) -> dict[str, Any]:
    """Tensors of the names and shapes of a safetensors file, all zeros, that take no memory."""
    import torch

    found = read_header(Path(file).expanduser())
    return {key: torch.zeros(()).expand(tensor["shape"]) for key, tensor in found.items()}


def made_from(file: str) -> str:
    """How to get the model that a single file was made from, as far as diffusers can tell; else nothing."""
    from diffusers.loaders.single_file_utils import fetch_diffusers_config

    tensors = weightless(file)
    try:
        repository, otherwise = (fetch_diffusers_config(some) for some in (tensors, {}))
    except (KeyError, IndexError, AttributeError):
        return ""
    if repository == otherwise and not any(key.startswith(WHOLE) for key in tensors):
        return ""  # what diffusers says when it does not know
    name = repository["pretrained_model_name_or_path"]
    return f" (it seems to be made from that of `nerf-insert models pull {name}`)"


def hollow_part(family: Family, part: str) -> Any:
    """A part of the model without its weights; None for classes that are neither library's own."""
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


def load(family: Family, settings: Settings, plan: Plan, *, depth: bool, reference: bool) -> Any:
    """The pipeline, on its device. Raises InputError for what does not fit together."""
    import diffusers
    import torch

    dtype = getattr(torch, half_type(family, plan)) if plan.half else torch.float32
    wanted = {"dtype": dtype, "use_safetensors": True, "local_files_only": True}
    with quietly():
        parts = family.without(settings.safety)
        if depth:
            kind = getattr(diffusers, family.control)
            place = find_weights(settings.controlnet or "", "controlnet")
            variant = None if _plain(place) else "fp16"
            parts["controlnet"] = kind.from_pretrained(str(place), variant=variant, **wanted)
        pipeline = _pipeline(family, settings, parts, wanted, depth)
        if settings.scheduler:
            kind = scheduler_class(settings.scheduler, family)
            pipeline.scheduler = kind.from_config(pipeline.scheduler.config)
        if reference and family.references == "adapter":
            _add_adapter(pipeline, family, settings, dtype)
        _add_loras(pipeline, settings)
        pipeline.set_progress_bar_config(disable=True)
        _place(pipeline, plan)
    return pipeline


def half_type(family: Family, plan: Plan) -> str:
    """bfloat16 on a CPU, where float16 is not computed with."""
    return "bfloat16" if plan.machine.device == "cpu" else family.half


def pipeline_class(family: Family, depth: bool) -> Any:
    import diffusers

    return getattr(diffusers, family.with_depth if depth and family.with_depth else family.pipeline)


def _pipeline(
    family: Family, settings: Settings, parts: dict[str, Any], wanted: dict[str, Any], depth: bool
) -> Any:
    kind = pipeline_class(family, depth)
    if settings.weights:
        file = Path(settings.weights).expanduser()
        if any(key.startswith(WHOLE) for key in read_header(file)):
            single = {"config": str(family.model.folder), "local_files_only": True, "dtype": wanted["dtype"]}
            with fitting(family, file):
                return kind.from_single_file(str(file), **single, **_rest(family, parts, wanted))
        parts = parts | {painting_part(family): network(family, settings.weights, wanted["dtype"])}
    return family.build(kind, parts, **wanted)


def painting_part(family: Family) -> str:
    """The part that denoises."""
    return "transformer" if "transformer" in family.model.components else "unet"


def network(family: Family, weights: str, dtype: Any, tensors: dict[str, Any] | None = None) -> Any:
    """The part that denoises, from a single file or its `tensors`. Raises InputError if it does not fit."""
    import diffusers

    part, file = painting_part(family), Path(weights).expanduser()
    kind = getattr(diffusers, family.model.components[part])
    how = {"config": str(family.model.folder), "subfolder": part, "local_files_only": True, "dtype": dtype}
    with fitting(family, file):
        made = kind.from_single_file(str(file) if tensors is None else tensors, **how)
    if any(weight.is_meta for weight in made.parameters()):
        raise InputError(f"the weights {file} are not all that {family.model.name} needs in their place")
    return made


@contextlib.contextmanager
def fitting(family: Family, file: Path) -> Iterator[None]:
    """Whatever diffusers raises, which has kinds of its own for it, says that the file does not fit."""
    try:
        yield
    except (InputError, MemoryError):
        raise
    except Exception as cause:
        raise InputError(f"the weights {file} do not fit {family.model.name}: {short(cause)}") from None


def short(cause: Exception) -> str:
    """What one of the libraries raised because files do not fit together, in one line."""
    if isinstance(cause, KeyError):
        return f"there is no {cause.args[0]} in it"
    if isinstance(cause, NotImplementedError):  # torch, of weights that are still without content
        return "not all that is needed is in it"
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()] or [type(cause).__name__]
    return next((line for line in lines if "mismatch" in line), lines[0])


def _rest(family: Family, parts: dict[str, Any], wanted: dict[str, Any]) -> dict[str, Any]:
    """What a single file lacks: the safety checker and what it looks with."""
    if "safety_checker" not in family.model.components or "safety_checker" in parts:
        return parts
    from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
    from transformers import CLIPImageProcessor

    folder = family.model.folder
    checker = StableDiffusionSafetyChecker.from_pretrained(str(folder / "safety_checker"), **wanted)
    eyes = CLIPImageProcessor.from_pretrained(str(folder / "feature_extractor"), local_files_only=True)
    return {**parts, "safety_checker": checker, "feature_extractor": eyes}


def scheduler_class(name: str, family: Family) -> Any:
    """The named scheduler. Raises InputError unless it can stand in for the model's own."""
    import diffusers

    own = getattr(diffusers, family.model.components.get("scheduler", ""), None)
    fitting = {kind.__name__: kind for kind in own._get_compatibles()} if own else {}
    if name not in fitting:
        raise InputError(
            f"the scheduler {name} does not fit the model; these do: {', '.join(sorted(fitting)) or 'none'}"
        )
    return fitting[name]


def check_controlnet(family: Family, settings: Settings) -> None:
    place = find_weights(settings.controlnet or "", "controlnet")
    if place.is_file():
        raise InputError(f"{place} is a file: give the ControlNet's folder in diffusers' form")
    weight_files(place, None if _plain(place) else "fp16")
    config = read_json(place / "config.json") if (place / "config.json").is_file() else {}
    if config.get("_class_name") != family.control:
        found = config.get("_class_name", "something else")
        raise InputError(f"{place} holds a {found}; {family.title} takes a {family.control} for depth")
    if isinstance(family, StableDiffusion):
        own, its = (c.get("cross_attention_dim") for c in (family.model.config("unet"), config))
        if own != its:
            raise InputError(
                f"the ControlNet {settings.controlnet} was made for another kind of model (it reads text of "
                f"{its} numbers, {family.title} has {own}): choose one for {family.title}"
            )


def adapter_files(family: Family, settings: Settings) -> tuple[Path, Path]:
    """The IP-Adapter's file and the folder of its image encoder. Raises InputError."""
    name = settings.ip_adapter or ""
    entry = find_entry(name)
    if entry is not None and entry.family != family.name:
        raise InputError(f"the IP-Adapter {name} belongs to {entry.family}, the model is {family.title}")
    file = check_weights_file(find_weights(name, "ip-adapter"), "IP-Adapter")
    if not file.is_file():
        raise InputError(f"{file} is a folder: name the IP-Adapter's .safetensors file")
    near = [file.parent / "image_encoder", file.parent.parent / "models" / "image_encoder"]
    if settings.image_encoder:
        near = [Path(settings.image_encoder).expanduser()]
    folder = next((folder for folder in near if (folder / "config.json").is_file()), None)
    if folder is None:
        raise InputError(
            f"the IP-Adapter {file} needs its image encoder, which is not in {' or '.join(map(str, near))}: "
            "name its folder with --inpainter-option image_encoder=FOLDER"
        )
    weight_files(folder)
    return file, folder


def _add_adapter(pipeline: Any, family: Family, settings: Settings, dtype: Any) -> None:
    from transformers import CLIPVisionModelWithProjection

    file, folder = adapter_files(family, settings)
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
    pipeline.set_ip_adapter_scale(settings.reference_scale)


def _add_loras(pipeline: Any, settings: Settings) -> None:
    if settings.lora and not hasattr(pipeline, "load_lora_weights"):
        raise InputError(f"a {type(pipeline).__name__} takes no LoRA: leave --lora out, or use another model")
    names = []
    for number, (file, _) in enumerate(settings.lora):
        path, name = Path(file).expanduser().absolute(), f"lora{number}"
        try:
            pipeline.load_lora_weights(
                str(path.parent), weight_name=path.name, adapter_name=name, local_files_only=True
            )
            fits = any(name in adapters for adapters in pipeline.get_list_adapters().values())
        except (ValueError, KeyError, RuntimeError, AttributeError) as cause:
            raise InputError(f"the LoRA {path} does not fit the model: {short(cause)}") from None
        if not fits:
            raise InputError(f"the LoRA {path} has nothing for this model: it was made for another one")
        names.append(name)
    if names:
        pipeline.set_adapters(names, [weight for _, weight in settings.lora])


def _place(pipeline: Any, plan: Plan) -> None:
    device = plan.machine.device
    if plan.placement == "offload":
        pipeline.enable_model_cpu_offload(device=device)
    elif plan.placement == "sequential":
        pipeline.enable_sequential_cpu_offload(device=device)
    else:
        pipeline.to(device)
    if plan.sliced:
        slice_up(pipeline)


def slice_up(pipeline: Any) -> None:
    """Attention and decoding piece by piece: slower, with less memory."""
    if hasattr(pipeline, "unet"):  # transformers have no slices, and attention that needs little memory
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
def quietly() -> Iterator[None]:
    """What the libraries tell programmers, and their progress bars, are not for the person."""
    import diffusers.utils.logging as ours
    import transformers.utils.logging as theirs

    before = ours.get_verbosity(), theirs.get_verbosity()
    ours.set_verbosity(CRITICAL), theirs.set_verbosity(CRITICAL)  # their errors are raised as well
    ours.disable_progress_bar(), theirs.disable_progress_bar()
    try:
        yield
    finally:
        ours.set_verbosity(before[0]), theirs.set_verbosity(before[1])
        ours.enable_progress_bar(), theirs.enable_progress_bar()
