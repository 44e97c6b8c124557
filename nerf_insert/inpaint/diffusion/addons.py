"""The files beside the model: LoRAs, schedulers, ControlNets, IP-Adapters. Check them and load them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nerf_insert.errors import InputError
from nerf_insert.hub.catalog import find_entry
from nerf_insert.hub.weights import check_weights_file, find_weights, weight_files
from nerf_insert.inpaint.diffusion.families import Family, StableDiffusion
from nerf_insert.inpaint.diffusion.options import DiffusionOptions
from nerf_insert.inpaint.diffusion.single_file import first_line
from nerf_insert.io.files import read_json


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


def _existing(name: str, what: str) -> Path:
    """Return the path of a file. Raises InputError if there is none."""
    path = Path(name).expanduser()
    if not path.is_file():
        raise InputError(f"there is no {what} file {name}")
    return path


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
    weight_files(place, _variant(place))
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


def load_controlnet(family: Family, options: DiffusionOptions, wanted: dict[str, Any]) -> Any:
    """Load the ControlNet.

    Args:
        family: The family, with the model.
        options: The options that name the ControlNet.
        wanted: Arguments of `from_pretrained`, with the dtype.
    """
    import diffusers

    kind = getattr(diffusers, family.controlnet_class)
    place = find_weights(options.controlnet or "", "controlnet")
    return kind.from_pretrained(str(place), variant=_variant(place), **wanted)


def _variant(folder: Path) -> str | None:
    """Return the variant of the weights in a folder: fp16 if there are no others."""
    return None if any(".fp16" not in file.name for file in folder.glob("*.safetensors")) else "fp16"


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


def add_adapter(pipeline: Any, family: Family, options: DiffusionOptions, dtype: Any) -> None:
    """Load the IP-Adapter and its image encoder into a pipeline."""
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


def add_loras(pipeline: Any, options: DiffusionOptions) -> None:
    """Load the LoRAs into a pipeline and activate them.

    Raises:
        InputError: The pipeline takes none, or one does not fit the model.
    """
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
