"""Check that LoRAs and single files fit a model, without loading the weights of the model."""

from __future__ import annotations

from typing import Any

from nerf_insert.inpaint.diffusion.addons import add_loras
from nerf_insert.inpaint.diffusion.families import Family
from nerf_insert.inpaint.diffusion.libraries import silence_libraries
from nerf_insert.inpaint.diffusion.loading import pipeline_class
from nerf_insert.inpaint.diffusion.options import DiffusionOptions
from nerf_insert.inpaint.diffusion.single_file import check_weights


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
        add_loras(pipeline, options)


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
