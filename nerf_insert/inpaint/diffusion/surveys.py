"""What the Hugging Face cache holds besides the catalogue."""

from __future__ import annotations

from nerf_insert.errors import InputError
from nerf_insert.inpaint.diffusion.catalogue import known
from nerf_insert.inpaint.diffusion.families import Family, family_of
from nerf_insert.inpaint.diffusion.weights import Model, find_model


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
