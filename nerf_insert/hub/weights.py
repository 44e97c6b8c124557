"""Weights on this machine: found by name, checked to be complete, safetensors only. No request is ever made
here; `fetching` makes them, when a person asks for it.

A model is a folder in diffusers' form: model_index.json names its parts, each part that has weights keeps
them beside its config.json as *.safetensors, whole or in shards that an index names.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from nerf_insert.errors import InputError
from nerf_insert.hub.catalogue import MODELS, known, names
from nerf_insert.io.files import read_json

INDEX = "model_index.json"
UNSAFE = (".bin", ".ckpt", ".pt", ".pth", ".pkl")  # pickles: loading one can run code
HALF = ".fp16"  # how files of half precision are marked
LARGEST_HEADER = 100 << 20  # bytes, as safetensors itself allows


@dataclass(frozen=True)
class Model:
    """A folder that holds a pipeline."""

    name: str  # as the person gave it
    folder: Path

    @cached_property
    def index(self) -> dict[str, Any]:
        data = read_json(self.folder / INDEX)
        if not isinstance(data, dict) or not isinstance(data.get("_class_name"), str):
            raise InputError(
                f"{self.folder / INDEX} does not say which kind of pipeline the model {self.name} is"
            )
        return data

    @property
    def kind(self) -> str:
        """The class of diffusers that the model was saved as."""
        return self.index["_class_name"]

    @property
    def parts(self) -> dict[str, str]:
        """The class of each part that is there, by its name."""
        entries = {key: value for key, value in self.index.items() if not key.startswith("_")}
        return {
            key: value[1]
            for key, value in entries.items()
            if isinstance(value, list) and len(value) == 2 and value[1]
        }

    def config(self, part: str) -> dict[str, Any]:
        """The part's configuration, {} when it has none."""
        file = self.folder / part / "config.json"
        return read_json(file) if file.is_file() else {}

    @cached_property
    def parameters(self) -> dict[str, int]:
        """Numbers in each part that has weights."""
        parts = [part for part in self.parts if (self.folder / part / "config.json").is_file()]
        return {part: sum(map(count, weights_of(self.folder / part, self.variant))) for part in parts}

    @cached_property
    def variant(self) -> str | None:
        """ "fp16" where only files of half precision are there for some part."""
        parts = [self.folder / part for part in self.parts if (self.folder / part / "config.json").is_file()]
        plain = all(any(HALF not in file.name for file in part.glob("*.safetensors")) for part in parts)
        return None if plain else HALF[1:]

    def check(self) -> None:
        """Raises InputError unless all weights are there, as safetensors."""
        for part in self.parts:
            folder = self.folder / part
            if not folder.is_dir():
                raise InputError(
                    f"the model {self.name} is not complete: {folder} is missing; {mend(self.name)}"
                )
            if (folder / "config.json").is_file():
                weights_of(folder, self.variant)
        _ = self.parameters  # every header can be read


def mend(name: str) -> str:
    """What to do about a model that is not there or not whole."""
    entry = known(name)
    if entry is None:
        return "get all of it again, or name another model"
    return f"run `nerf-insert models pull {entry.name}` (about {entry.size:g} GB, {entry.licence})"


def find_model(name: str) -> Model:
    """The model of a name, of a repository in the Hugging Face cache, or of a folder; complete.

    Raises InputError that says how to get it.
    """
    folder = find(name, "model")
    if folder.is_file():
        raise InputError(f"{folder} is a file: give the folder of a model")
    if not (folder / INDEX).is_file():
        raise InputError(f"{folder} holds no model that diffusers can load: it has no {INDEX}")
    model = Model(name, folder)
    model.check()
    return model


def find(name: str, kind: str) -> Path:
    """Where something of the catalogue, the cache or the disk lies. Raises InputError if it does not."""
    path = Path(name).expanduser()
    if path.exists():
        return path.resolve()
    entry = known(name)
    if entry is not None and entry.kind != kind and name == entry.name:
        raise InputError(f"{name} is no {kind}; there are {', '.join(names(kind))}")
    repository = entry.repository if entry else name
    if entry is None and (name.count("/") != 1 or name.startswith((".", "/", "~"))):
        raise InputError(
            f"there is no {kind} {name!r}: give a folder, a repository of the Hugging Face hub that is in "
            f"the cache, or one of {', '.join(names(kind))}"
        )
    folder = cached(repository)
    found = folder / entry.path if folder and entry and entry.path else folder
    if found is None or not found.exists():
        get = mend(name) if entry else f"run `nerf-insert models pull {name}`"
        raise InputError(f"the {kind} {name} is not on this machine: {get}, or give a folder that holds it")
    return found


def cached(repository: str) -> Path | None:
    """The repository's folder in the Hugging Face cache, None if it is not there. Asks nobody.

    The hub's own function would refuse a snapshot that lacks files, and we leave out what is not needed.
    """
    from huggingface_hub import constants

    place = Path(constants.HF_HUB_CACHE) / ("models--" + repository.replace("/", "--"))
    try:
        folder = place / "snapshots" / (place / "refs" / "main").read_text().strip()
    except (OSError, ValueError):
        return None
    return folder if folder.is_dir() else None


def models_here() -> list[Model]:
    """The models of the catalogue that are on this machine and complete, in its order."""
    found = []
    for entry in MODELS:
        if entry.kind == "model":
            try:
                found.append(find_model(entry.name))
            except InputError:
                continue
    return found


def weights_of(folder: Path, variant: str | None = None) -> list[Path]:
    """The safetensors files that a part is loaded from. Raises InputError if they are not all there."""
    files = sorted(folder.glob("*.safetensors"))
    marked = [file for file in files if variant and f".{variant}" in file.name]
    plain = [file for file in files if HALF not in file.name]
    chosen = marked or plain
    if not chosen:
        other = sorted(file.name for file in folder.iterdir() if file.suffix in UNSAFE)
        why = f", only {other[0]}, which can run code when it is loaded" if other else ""
        raise InputError(
            f"{folder} has no weights as safetensors{why}: get a copy of the model that has them"
        )
    index = [file for file in folder.glob("*.safetensors.index*.json") if (HALF in file.name) == bool(marked)]
    if index:
        shards = set(read_json(index[0]).get("weight_map", {}).values())
        missing = sorted(shard for shard in shards if not (folder / shard).is_file())
        if missing:
            raise InputError(
                f"{folder} is not complete: {missing[0]} is missing ({len(missing)} of {len(shards)} files); "
                "get the model again, a download that stopped goes on where it was"
            )
        chosen = [folder / shard for shard in sorted(shards)]
    return chosen


def header(file: Path) -> dict[str, Any]:
    """What a safetensors file says of its tensors. Raises InputError when it is damaged or something else."""
    try:
        with open(file, "rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            if not 2 <= length <= LARGEST_HEADER:
                raise ValueError("it has no header")
            said = json.loads(stream.read(length))
            last = max((t["data_offsets"][1] for key, t in said.items() if key != "__metadata__"), default=0)
            if os.fstat(stream.fileno()).st_size < 8 + length + last:
                raise ValueError("it is cut off")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{file} is damaged or no safetensors file: {reason}; get it again") from None
    return {key: value for key, value in said.items() if key != "__metadata__"}


def count(file: Path) -> int:
    """Numbers in a safetensors file."""
    total = 0
    for tensor in header(file).values():
        size = 1
        for length in tensor["shape"]:
            size *= length
        total += size
    return total


def check_file(path: Path, what: str) -> Path:
    """A single file of weights. Raises InputError unless it is safetensors."""
    if path.suffix in UNSAFE:
        raise InputError(f"the {what} {path} can run code when it is loaded: give one that is .safetensors")
    header(path)
    return path


def sizes(parameters: Mapping[str, int], bytes_each: int) -> dict[str, int]:
    """Bytes of each part."""
    return {part: number * bytes_each for part, number in parameters.items()}
