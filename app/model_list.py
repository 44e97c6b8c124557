"""The diffusion models that a person can choose: those on this machine, and how to get the others."""

from __future__ import annotations

from typing import Any

from nerf_insert.errors import InputError
from nerf_insert.hub.catalogue import MODELS, Known
from nerf_insert.hub.weights import find_model, models_here
from nerf_insert.inpaint.diffusion.inventory import others_here, survey
from nerf_insert.scene.recipe import Recipe

PULL = "`nerf-insert models pull {}`"
KNOWN: dict[str, Known] = {entry.name: entry for entry in MODELS if entry.kind == "model"}


def every() -> list[dict[str, Any]]:
    """All that the inpainter `diffusion` can use: "name", "here", "kind" (model, controlnet, ip-adapter or
    metric), "family", "licence", "gigabytes" to download, "note"."""
    told = ("name", "kind", "family", "licence", "gigabytes", "note")
    return [{**{k: m.get(k) for k in told}, "here": m["path"] is not None} for m in survey()]


def choices() -> list[tuple[str, str]]:
    """(label, name), what is on this machine first; "" stands for the best of those."""
    here = [model.name for model in models_here()]
    others = [(f"{model.name} ({family.title})", model.name) for model, family in others_here()]
    rest = [(f"{e.name} (not on this machine, {e.size:g} GB)", e.name) for e in KNOWN.values()]
    return [
        ("the best that is here", ""),
        *((name, name) for name in here),
        *others,
        *(one for one in rest if one[1] not in here),
    ]


def about(name: str) -> str:
    """What a model is for, or what to do to have it; of "" what to do where there is none at all."""
    try:
        check(name)
    except InputError as missing:
        return str(missing)
    return f"{KNOWN[name].note}; licence {KNOWN[name].licence}." if name in KNOWN else ""


def check(name: str) -> None:
    """Raises InputError that says what to do where the model, or for "" any, is not on this machine."""
    if name in KNOWN:
        entry = KNOWN[name]
        try:
            find_model(name)
        except InputError:
            terms = "; accept its terms on its page first" if entry.gated else ""
            raise InputError(
                f"The model {name} is not on this machine. Get it with {PULL.format(name)} in a terminal "
                f"({entry.size:g} GB, licence {entry.licence}{terms}), or choose another one."
            ) from None
    elif name:
        find_model(name)
    elif not models_here():
        raise InputError(
            f"There is no diffusion model on this machine yet. Get one with {PULL.format('NAME')} in a "
            f"terminal, such as {', '.join(list(KNOWN)[:3])}, or choose another inpainter."
        )


def check_recipe(recipe: Recipe) -> None:
    """Raises InputError where the recipe needs a model that is not on this machine."""
    if recipe.inpainter == "diffusion":
        check(str(recipe.inpainter_options.get("model", "")))
