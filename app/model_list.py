"""The diffusion models that a person can choose: those on this machine, and how to get the others."""

from __future__ import annotations

from typing import Any

from nerf_insert.errors import InputError
from nerf_insert.hub.catalog import MODELS, CatalogEntry
from nerf_insert.hub.weights import find_model, installed_models
from nerf_insert.inpaint.diffusion.inventory import other_installed_models, survey
from nerf_insert.scene.recipe import Recipe

PULL = "`nerf-insert models pull {}`"
KNOWN: dict[str, CatalogEntry] = {entry.name: entry for entry in MODELS if entry.kind == "model"}


def all_models() -> list[dict[str, Any]]:
    """List everything that the inpainter `diffusion` can use.

    Returns:
        Dicts with "name", "here" (whether it is on this machine), "kind" (model, controlnet, ip-adapter or
        metric), "family", "licence", "gigabytes" to download, and "note".
    """
    keys = ("name", "kind", "family", "licence", "gigabytes", "note")
    return [{**{k: m.get(k) for k in keys}, "here": m["path"] is not None} for m in survey()]


def model_choices() -> list[tuple[str, str]]:
    """List (label, name) of the models, those on this machine first; "" stands for the best of these."""
    here = [model.name for model in installed_models()]
    others = [(f"{model.name} ({family.title})", model.name) for model, family in other_installed_models()]
    rest = [(f"{e.name} (not on this machine, {e.size_gb:g} GB)", e.name) for e in KNOWN.values()]
    return [
        ("Best model on this machine", ""),
        *((name, name) for name in here),
        *others,
        *(choice for choice in rest if choice[1] not in here),
    ]


def describe_model(name: str) -> str:
    """Say what a model is for, or how to get it; for "" how to get one if there is none at all."""
    try:
        check_model(name)
    except InputError as missing:
        return str(missing)
    return f"{KNOWN[name].note}; licence {KNOWN[name].license}." if name in KNOWN else ""


def check_model(name: str) -> None:
    """Check that a model, or for "" any model, is on this machine.

    Raises:
        InputError: It is not; the message says how to get it.
    """
    if name in KNOWN:
        entry = KNOWN[name]
        try:
            find_model(name)
        except InputError:
            terms = "; accept its terms on its page first" if entry.gated else ""
            raise InputError(
                f"The model {name} is not on this machine. Get it with {PULL.format(name)} in a terminal "
                f"({entry.size_gb:g} GB, licence {entry.license}{terms}), or choose another model."
            ) from None
    elif name:
        find_model(name)
    elif not installed_models():
        raise InputError(
            f"There is no diffusion model on this machine yet. Get one with {PULL.format('NAME')} in a "
            f"terminal, for example {', '.join(list(KNOWN)[:3])}, or choose another inpainter."
        )


def check_recipe_model(recipe: Recipe) -> None:
    """Check that the model that a recipe needs is on this machine.

    Raises:
        InputError: It is not; the message says how to get it.
    """
    if recipe.inpainter == "diffusion":
        check_model(str(recipe.inpainter_options.get("model", "")))
