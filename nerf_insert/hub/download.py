"""Getting weights from the Hugging Face hub into its ordinary cache: the only place that makes requests."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

from nerf_insert.errors import InputError, RunError
from nerf_insert.hub.catalogue import Known, known
from nerf_insert.hub.weights import INDEX, UNSAFE

CONFIGURATION = ("*.json", "*.txt", "*.model", "*.jinja", "*.md", "LICENSE*")


def pull(name: str) -> Path:
    """Download a model of the catalogue, or any repository, unless it is in the cache already; its folder.

    Raises InputError where something is to be done first (no such model, terms to accept, no room), and
    RunError where the hub cannot be reached.
    """
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub import errors as hub

    entry = known(name)
    if entry is None and name.count("/") != 1:
        raise InputError(
            f"there is no model {name!r}: `nerf-insert models list` shows them, or give OWNER/NAME"
        )
    repository = entry.repository if entry else name
    if constants.HF_HUB_OFFLINE:
        raise InputError("HF_HUB_OFFLINE is set, so nothing may be downloaded: unset it")
    if entry is not None:
        check_room(entry, Path(constants.HF_HUB_CACHE))
    try:
        patterns = entry.files if entry and entry.files else needed(repository)
        return Path(snapshot_download(repository, allow_patterns=list(patterns)))
    except hub.GatedRepoError:
        raise InputError(
            f"{repository} is only given to those who have accepted its terms"
            + (f" ({entry.licence})" if entry else "")
            + ": open its page on the Hugging Face hub and accept them, then say who you are with "
            "`hf auth login` (or HF_TOKEN), and try again"
        ) from None
    except hub.RepositoryNotFoundError:
        raise InputError(
            f"the Hugging Face hub has no {repository}, or only for those who are logged in (`hf auth login`)"
        ) from None
    except hub.HFValidationError as error:
        raise InputError(f"{name!r} is no name of a repository: {error}") from None
    except hub.EntryNotFoundError as error:
        raise InputError(f"{repository} lacks what is needed: {error}") from None
    except OSError as error:  # the hub's own errors and those of connections are OSErrors, too
        if error.errno == errno.ENOSPC:
            raise RunError("there is no room left on the disk; what was downloaded is kept") from None
        raise unreachable(repository, error) from None
    except Exception as error:
        if type(error).__module__.startswith(("http", "requests", "urllib3")):  # httpx, httpx2, httpcore
            raise unreachable(repository, error) from None
        raise


def unreachable(repository: str, error: Exception) -> RunError:
    return RunError(
        f"cannot download {repository}: {error}; check the network and try again, a download that stopped "
        "goes on where it was. A model can also be copied here from another machine and named by its folder"
    )


def needed(repository: str) -> list[str]:
    """Patterns of what a repository has that is loaded: configuration, and of each part's weights one kind.

    Half precision where it is marked, whole otherwise; no pickles, no second copy in one file.
    """
    from huggingface_hub import HfApi

    files = HfApi().list_repo_files(repository)
    weights = [file for file in files if file.endswith(".safetensors")]
    if INDEX in files:  # parts are folders; a file at the top is a second copy for other programs
        weights = [file for file in weights if "/" in file]
    folders = {str(Path(file).parent) for file in weights}
    chosen = []
    for folder in sorted(folders):
        here = [file for file in weights if str(Path(file).parent) == folder]
        half = [file for file in here if ".fp16" in Path(file).name]
        plain = [file for file in here if file not in half and "non_ema" not in file]
        chosen += half or plain
    if not chosen:
        pickles = any(Path(file).suffix in UNSAFE for file in files)
        why = "only pickles, which can run code when they are loaded" if pickles else "no weights"
        raise InputError(f"{repository} has {why}: only safetensors are loaded, choose another model")
    return [*CONFIGURATION, *chosen]


def check_room(entry: Known, cache: Path) -> None:
    """Raises InputError if the disk cannot take it, unless part of it may be there already."""
    place = cache / ("models--" + entry.repository.replace("/", "--"))
    if place.exists():
        return
    while not cache.exists() and cache != cache.parent:
        cache = cache.parent
    free = shutil.disk_usage(cache).free / 1e9
    if free < entry.size:
        raise InputError(
            f"{entry.name} takes about {entry.size:g} GB and {cache} has {free:.1f} GB left: make room, or "
            "set HF_HOME to a folder on another disk"
        )
