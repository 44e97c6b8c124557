"""Which models are on this machine: those of the catalogue, and what else the Hugging Face cache holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nerf_insert.errors import InputError
from nerf_insert.hub.catalogue import MODELS, known
from nerf_insert.hub.weights import INDEX, Model, find, find_model
from nerf_insert.inpaint.diffusion.families import Family, family_of


def survey() -> list[dict[str, Any]]:
    """All that are known by name, then others that are here: name, kind, family, licence (None: not known),
    note, path (None: not here, or not all of it); of the former also repository, gigabytes and gated."""
    found: list[dict[str, Any]] = []
    for entry in MODELS:
        try:
            path = str(where(entry.name))
        except InputError:
            path = None
        found.append(
            {
                "name": entry.name,
                "repository": entry.repository,
                "kind": entry.kind,
                "family": entry.family,
                "licence": entry.licence,
                "gigabytes": entry.size,
                "gated": entry.gated,
                "note": entry.note,
                "path": path,
            }
        )
    for model, family in others_here():
        about = {"family": family.name, "licence": None, "note": family.title, "path": str(model.folder)}
        found.append({"name": model.name, "kind": "model", **about})
    return found


def where(name: str) -> Path:
    """The folder or file of a model. Raises InputError unless all of it is here."""
    entry = known(name)
    path = find(name, entry.kind if entry else "model")
    return find_model(name).folder if (path / INDEX).is_file() else path


def others_here() -> list[tuple[Model, Family]]:
    """Models of supported families in the cache that the catalogue does not name."""
    from huggingface_hub import scan_cache_dir
    from huggingface_hub.errors import CacheNotFound

    try:
        repositories = scan_cache_dir().repos
    except CacheNotFound:
        return []
    found = []
    for name in sorted(repo.repo_id for repo in repositories if repo.repo_type == "model"):
        if known(name) is not None:
            continue
        try:
            model = find_model(name)
            found.append((model, family_of(model)))
        except InputError:  # not whole, or nothing that paints
            continue
    return found
