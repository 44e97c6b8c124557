"""Which models are on this machine: those of the catalog, and what else is in the Hugging Face cache."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nerf_insert.errors import InputError
from nerf_insert.hub.catalog import MODELS, find_entry
from nerf_insert.hub.weights import MODEL_INDEX, Model, find_model, find_weights
from nerf_insert.inpaint.diffusion.families import Family, family_of


def survey() -> list[dict[str, Any]]:
    """Describe all models of the catalog, then the other usable models in the cache.

    Returns:
        For each the keys name, kind, family, license (None: unknown), licence (the same, its name in 0.1.0),
        note and path (None: not complete on this machine); for those of the catalog also repository,
        gigabytes (to download) and gated.
    """
    found: list[dict[str, Any]] = []
    for entry in MODELS:
        try:
            path = str(locate(entry.name))
        except InputError:
            path = None
        found.append(
            {
                "name": entry.name,
                "repository": entry.repository,
                "kind": entry.kind,
                "family": entry.family,
                "license": entry.license,
                "licence": entry.license,
                "gigabytes": entry.size_gb,
                "gated": entry.gated,
                "note": entry.note,
                "path": path,
            }
        )
    for model, family in other_installed_models():
        found.append(
            {
                "name": model.name,
                "kind": "model",
                "family": family.name,
                "license": None,
                "licence": None,
                "note": family.title,
                "path": str(model.folder),
            }
        )
    return found


def locate(name: str) -> Path:
    """Return the folder or file of a model of the catalog or the cache.

    Raises:
        InputError: It is not on this machine, or incomplete.
    """
    entry = find_entry(name)
    path = find_weights(name, entry.kind if entry else "model")
    return find_model(name).folder if (path / MODEL_INDEX).is_file() else path


def other_installed_models() -> list[tuple[Model, Family]]:
    """List the complete models of supported families in the cache that the catalog does not name."""
    from huggingface_hub import scan_cache_dir
    from huggingface_hub.errors import CacheNotFound

    try:
        repositories = scan_cache_dir().repos
    except CacheNotFound:
        return []
    found = []
    for name in sorted(repo.repo_id for repo in repositories if repo.repo_type == "model"):
        if find_entry(name) is not None:
            continue
        try:
            model = find_model(name)
            found.append((model, family_of(model)))
        except InputError:  # incomplete, or not a model that inpaints
            continue
    return found
