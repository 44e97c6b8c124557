"""Choose the model: one on this machine that can do what is asked for and fits into memory."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from nerf_insert.errors import InputError
from nerf_insert.hub.catalog import MODELS, entry_names
from nerf_insert.hub.weights import Model, check_weights_file, installed_models
from nerf_insert.inpaint.diffusion.addons import check_addons
from nerf_insert.inpaint.diffusion.families import Family, family_of
from nerf_insert.inpaint.diffusion.fit_check import check_addons_load
from nerf_insert.inpaint.diffusion.inventory import other_installed_models
from nerf_insert.inpaint.diffusion.options import DiffusionOptions
from nerf_insert.inpaint.diffusion.placement import ComputeDevice, DevicePlan, plan_placement
from nerf_insert.inpaint.diffusion.single_file import check_weights, suggest_source
from nerf_insert.inpaint.guide import Guide


def choose_model(guide: Guide, options: DiffusionOptions, device: ComputeDevice) -> tuple[Family, DevicePlan]:
    """Choose a model of the catalog that is on this machine and can do what is asked for.

    On a GPU this is the first that fits as a whole, otherwise the smallest that fits.

    Raises:
        InputError: There is none; the message says why, for each model.
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
            check_model(family, guide, options)
            fitting.append((family, plan_model(family, options, device)))
        except InputError as error:
            reasons.append(f"{model.name}: {error}")
    if not fitting:
        raise InputError("no diffusion model on this machine can paint this. " + "; ".join(reasons))
    whole = [choice for choice in fitting if choice[1].placement in ("gpu", "cpu")]
    return whole[0] if whole else min(fitting, key=lambda choice: parameter_count(choice[0].model))


def with_model_file(options: DiffusionOptions, file: str) -> DiffusionOptions:
    """Return the options with a single file, given as the model, as their weights.

    Raises:
        InputError: The file is no safetensors file, or the options name other weights too.
    """
    check_weights_file(Path(file).expanduser(), "model")
    if options.weights not in (None, file):
        raise InputError(f"{file} is a single file, and so is --weights: give one of them")
    return replace(options, weights=file)


def find_family_for_file(guide: Guide, options: DiffusionOptions, file: str) -> Family:
    """Find the model on this machine that a single file is another version of.

    The model has what the file lacks.

    Raises:
        InputError: There is none, or it cannot do what the guide and the options ask for.
    """
    for model in [*installed_models(), *(model for model, _ in other_installed_models())]:
        family = family_of(model)
        try:
            check_weights(family, file)
        except InputError:
            continue
        check_model(family, guide, options)
        return family
    raise InputError(
        f"{file} is a single file: it lacks the vocabulary and settings of its model, and no model on "
        f"this machine has them{suggest_source(file)}. If you have its folder, give that as --model and "
        "the file as --weights"
    )


def check_model(family: Family, guide: Guide, options: DiffusionOptions) -> None:
    """Check that a model can do what the guide and the options ask for.

    Raises:
        InputError: It cannot; the message says what to change.
    """
    reference = bool(guide.references)
    check_guide(family, guide, options)
    check_addons(family, options, depth=options.controlnet is not None, reference=reference)
    check_addons_load(family, options)


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


def plan_model(family: Family, options: DiffusionOptions, device: ComputeDevice) -> DevicePlan:
    """Decide how the family's model runs on the device.

    Raises:
        InputError: It does not fit.
    """
    side = options.resolution or family.default_side()
    return plan_placement(
        family.model.parameters,
        family.bytes_per_pixel * side * side,
        device,
        precision=options.precision,
        placement=options.memory,
        batch=options.batch,
    )


def parameter_count(model: Model) -> int:
    """Count the parameters of a model."""
    return sum(model.parameters.values())
