"""Single safetensors files that replace the denoiser of a model, or the whole pipeline."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nerf_insert.errors import InputError
from nerf_insert.hub.weights import read_header
from nerf_insert.inpaint.diffusion.families import Family
from nerf_insert.inpaint.diffusion.libraries import silence_libraries

VAE_KEYS = "first_stage_model."  # prefix of the VAE's keys, in files that hold a whole pipeline


def check_weights(family: Family, file: str) -> None:
    """Check that a file can replace the denoiser of the model.

    Raises:
        InputError: It does not fit.
    """
    import torch

    with silence_libraries():
        load_denoiser(family, file, torch.float32, zero_tensors(file))


def holds_pipeline(file: Path) -> bool:
    """Tell whether a safetensors file holds a whole pipeline, not only a denoiser."""
    return any(key.startswith(VAE_KEYS) for key in read_header(file))


def load_pipeline(
    kind: Any, family: Family, file: Path, parts: dict[str, Any], wanted: dict[str, Any]
) -> Any:
    """Load a pipeline from a single file that holds all of it but the safety checker.

    Args:
        kind: The pipeline class.
        family: The family, with the model that gives the configuration.
        file: The file.
        parts: Components that are already loaded; None for those to leave out.
        wanted: Arguments of `from_pretrained`, with the dtype.

    Raises:
        InputError: The file does not fit.
    """
    single = {"config": str(family.model.folder), "local_files_only": True, "dtype": wanted["dtype"]}
    with raise_misfit(family, file):
        return kind.from_single_file(str(file), **single, **_with_safety_checker(family, parts, wanted))


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
