"""Downloads from the Hugging Face hub into its ordinary cache. Nothing else here uses the network."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

from nerf_insert.errors import InputError, RunError
from nerf_insert.hub.catalog import CatalogEntry, find_entry
from nerf_insert.hub.weights import MODEL_INDEX, PICKLE_SUFFIXES
from nerf_insert.runtime.extras import require

CONFIG_PATTERNS = ("*.json", "*.txt", "*.model", "*.jinja", "*.md", "LICENSE*")


def pull(name: str) -> Path:
    """Download a model into the cache, unless it is there already.

    Args:
        name: A name of the catalog, or OWNER/NAME of any repository.

    Returns:
        The folder of the model in the cache.

    Raises:
        InputError: The user has to do something first: correct the name, accept the terms, make room.
        RunError: The hub cannot be reached, or the disk is full.
    """
    require("huggingface_hub", "diffusion", "models pull")
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub import errors as hub

    entry = find_entry(name)
    if entry is None and name.count("/") != 1:
        raise InputError(
            f"there is no model {name!r}: `nerf-insert models list` shows the names, or give OWNER/NAME"
        )
    repository = entry.repository if entry else name
    if constants.HF_HUB_OFFLINE:
        raise InputError("HF_HUB_OFFLINE is set, which forbids downloads: unset it")
    if entry is not None:
        check_disk_space(entry, Path(constants.HF_HUB_CACHE))
    try:
        patterns = entry.files if entry and entry.files else choose_files(repository)
        return Path(snapshot_download(repository, allow_patterns=list(patterns)))
    except hub.GatedRepoError:
        raise InputError(
            f"{repository} requires that you accept its terms"
            + (f" ({entry.license})" if entry else "")
            + ": open its page on the Hugging Face hub and accept them, log in with `hf auth login` (or set "
            "HF_TOKEN), and try again"
        ) from None
    except hub.RepositoryNotFoundError:
        raise InputError(
            f"the Hugging Face hub has no {repository}, or it is private (log in with `hf auth login`)"
        ) from None
    except hub.HFValidationError as error:
        raise InputError(f"{name!r} is not a valid repository name: {error}") from None
    except hub.EntryNotFoundError as error:
        raise InputError(f"{repository} lacks a required file: {error}") from None
    except OSError as error:  # the hub's own errors and connection errors are OSErrors, too
        if error.errno == errno.ENOSPC:
            raise RunError("the disk is full; the partial download is kept") from None
        raise _unreachable(repository, error) from None
    except Exception as error:
        if type(error).__module__.startswith(("http", "requests", "urllib3")):  # httpx, httpx2, httpcore
            raise _unreachable(repository, error) from None
        raise


def _unreachable(repository: str, error: Exception) -> RunError:
    return RunError(
        f"cannot download {repository}: {error}; check the network and try again, a partial download is "
        "resumed. You can also copy a model from another machine and give its folder"
    )


def choose_files(repository: str) -> list[str]:
    """Choose the files of a repository that are needed: configuration, and one kind of weights per component.

    Half precision is preferred where files are marked as such. Pickles and duplicates are left out.

    Returns:
        Glob patterns and file names.

    Raises:
        InputError: The repository has no safetensors.
    """
    from huggingface_hub import HfApi

    files = HfApi().list_repo_files(repository)
    weights = [file for file in files if file.endswith(".safetensors")]
    if MODEL_INDEX in files:  # components are folders; a file at the top is a duplicate for other programs
        weights = [file for file in weights if "/" in file]
    folders = {str(Path(file).parent) for file in weights}
    chosen = []
    for folder in sorted(folders):
        here = [file for file in weights if str(Path(file).parent) == folder]
        half = [file for file in here if ".fp16" in Path(file).name]
        full = [file for file in here if file not in half and "non_ema" not in file]
        chosen += half or full
    if not chosen:
        has_pickles = any(Path(file).suffix in PICKLE_SUFFIXES for file in files)
        reason = "only pickles, which can execute code when loaded" if has_pickles else "no weights"
        raise InputError(f"{repository} has {reason}: only safetensors are loaded, choose another model")
    return [*CONFIG_PATTERNS, *chosen]


def check_disk_space(entry: CatalogEntry, cache: Path) -> None:
    """Check that a model fits on the disk, unless a part of it is in the cache already.

    Raises:
        InputError: It does not fit.
    """
    if (cache / ("models--" + entry.repository.replace("/", "--"))).exists():
        return
    while not cache.exists() and cache != cache.parent:
        cache = cache.parent
    free = shutil.disk_usage(cache).free / 1e9
    if free < entry.size_gb:
        raise InputError(
            f"{entry.name} takes about {entry.size_gb:g} GB, but {cache} has {free:.1f} GB left: make room, "
            "or set HF_HOME to a folder on another disk"
        )
