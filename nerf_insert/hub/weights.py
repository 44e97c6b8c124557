"""Model weights on this machine: find them, check that they are complete, accept safetensors only.

Nothing here uses the network; download.py does. A model is a folder in diffusers' layout: model_index.json
names its components, and each component with weights keeps them beside its config.json as *.safetensors, in
one file or in shards that an index lists.
"""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from nerf_insert.errors import InputError
from nerf_insert.hub.catalog import MODELS, entry_names, find_entry
from nerf_insert.io.files import read_json
from nerf_insert.runtime.extras import require

MODEL_INDEX = "model_index.json"
PICKLE_SUFFIXES = (".bin", ".ckpt", ".pt", ".pth", ".pkl")  # loading one can execute code
HALF = ".fp16"  # marks files of half precision
MAX_HEADER_BYTES = 100 << 20  # as safetensors itself allows


@dataclass(frozen=True)
class Model:
    """A folder that holds a diffusers pipeline.

    Attributes:
        name: The name that the user gave.
        folder: Where the model is.
    """

    name: str
    folder: Path

    @cached_property
    def index(self) -> dict[str, Any]:
        """The content of model_index.json.

        Raises:
            InputError: The file does not name a pipeline class.
        """
        data = read_json(self.folder / MODEL_INDEX)
        if not isinstance(data, dict) or not isinstance(data.get("_class_name"), str):
            raise InputError(f"{self.folder / MODEL_INDEX} does not name the pipeline class of {self.name}")
        return data

    @property
    def pipeline_class(self) -> str:
        """The diffusers class that the model was saved as."""
        return self.index["_class_name"]

    @property
    def components(self) -> dict[str, str]:
        """The class of each component that is present, by the component's name."""
        entries = {key: value for key, value in self.index.items() if not key.startswith("_")}
        return {
            key: value[1]
            for key, value in entries.items()
            if isinstance(value, list) and len(value) == 2 and value[1]
        }

    def config(self, component: str) -> dict[str, Any]:
        """Return the configuration of a component, {} if it has none."""
        file = self.folder / component / "config.json"
        return read_json(file) if file.is_file() else {}

    @cached_property
    def parameters(self) -> dict[str, int]:
        """The number of parameters of each component that has weights."""
        return {
            name: sum(map(count_parameters, weight_files(self.folder / name, self.variant)))
            for name in self._weighted_components()
        }

    @cached_property
    def variant(self) -> str | None:
        """The variant to load: "fp16" if some component has only files of half precision, else None."""
        folders = [self.folder / name for name in self._weighted_components()]
        full = all(any(HALF not in file.name for file in folder.glob("*.safetensors")) for folder in folders)
        return None if full else HALF[1:]

    def _weighted_components(self) -> list[str]:
        return [name for name in self.components if (self.folder / name / "config.json").is_file()]

    def check(self) -> None:
        """Check that all weights are present, as safetensors.

        Raises:
            InputError: Something is missing, damaged or a pickle.
        """
        for component in self.components:
            folder = self.folder / component
            if not folder.is_dir():
                raise InputError(
                    f"the model {self.name} is not complete: {folder} is missing; {how_to_get(self.name)}"
                )
            if (folder / "config.json").is_file():
                weight_files(folder, self.variant)
        _ = self.parameters  # reads every header


def how_to_get(name: str) -> str:
    """Say how to get a model that is missing or incomplete."""
    entry = find_entry(name)
    if entry is None:
        return "get a complete copy, or choose another model"
    return f"run `nerf-insert models pull {entry.name}` (about {entry.size_gb:g} GB, {entry.license})"


def find_model(name: str) -> Model:
    """Find a complete model on this machine.

    Args:
        name: A name of the catalog, a repository in the Hugging Face cache, or a folder.

    Raises:
        InputError: It is missing or incomplete; the message says how to get it.
    """
    folder = find_weights(name, "model")
    if folder.is_file():
        raise InputError(f"{folder} is a file: give the folder of a model")
    if not (folder / MODEL_INDEX).is_file():
        raise InputError(f"{folder} holds no model that diffusers can load: it has no {MODEL_INDEX}")
    model = Model(name, folder)
    model.check()
    return model


def find_weights(name: str, kind: str) -> Path:
    """Find the file or folder of something in the catalog, the cache or the file system.

    Args:
        name: A name of the catalog, a repository in the Hugging Face cache, or a path.
        kind: model, controlnet, ip-adapter or metric.

    Raises:
        InputError: It is not on this machine, or of another kind.
    """
    path = Path(name).expanduser()
    if path.exists():
        return path.resolve()
    entry = find_entry(name)
    if entry is not None and entry.kind != kind and name == entry.name:
        raise InputError(f"{name} is no {kind}; choose one of {', '.join(entry_names(kind))}")
    repository = entry.repository if entry else name
    if entry is None and (name.count("/") != 1 or name.startswith((".", "/", "~"))):
        raise InputError(
            f"there is no {kind} {name!r}: give a folder, a repository of the Hugging Face hub that is in "
            f"the cache, or one of {', '.join(entry_names(kind))}"
        )
    folder = cached_snapshot(repository)
    found = folder / entry.path if folder and entry and entry.path else folder
    if found is None or not found.exists():
        get = how_to_get(name) if entry else f"run `nerf-insert models pull {name}`"
        raise InputError(f"the {kind} {name} is not on this machine: {get}, or give a folder that holds it")
    return found


def cached_snapshot(repository: str) -> Path | None:
    """Return the folder of a repository in the Hugging Face cache, None if it is not there.

    The hub's own function would refuse the snapshots that download.py makes, which leave out unneeded files.

    Raises:
        InputError: huggingface-hub is not installed.
    """
    require("huggingface_hub", "diffusion")
    from huggingface_hub import constants

    folder = Path(constants.HF_HUB_CACHE) / ("models--" + repository.replace("/", "--"))
    try:
        snapshot = folder / "snapshots" / (folder / "refs" / "main").read_text().strip()
    except (OSError, ValueError):
        return None
    return snapshot if snapshot.is_dir() else None


def installed_models() -> list[Model]:
    """List the models of the catalog that are complete on this machine, in its order."""
    found = []
    for entry in MODELS:
        if entry.kind == "model":
            try:
                found.append(find_model(entry.name))
            except InputError:
                continue
    return found


def weight_files(folder: Path, variant: str | None = None) -> list[Path]:
    """List the safetensors files that a component is loaded from.

    Args:
        folder: The component's folder.
        variant: Prefer files with this mark, such as "fp16".

    Raises:
        InputError: There are none, or some shards are missing.
    """
    files = sorted(folder.glob("*.safetensors"))
    marked = [file for file in files if variant and f".{variant}" in file.name]
    chosen = marked or [file for file in files if HALF not in file.name]
    if not chosen:
        pickles = sorted(file.name for file in folder.iterdir() if file.suffix in PICKLE_SUFFIXES)
        reason = f", only {pickles[0]}, which can execute code when loaded" if pickles else ""
        raise InputError(
            f"{folder} has no weights as safetensors{reason}: get a copy of the model that has them"
        )
    index = [file for file in folder.glob("*.safetensors.index*.json") if (HALF in file.name) == bool(marked)]
    if index:
        shards = set(read_json(index[0]).get("weight_map", {}).values())
        missing = sorted(shard for shard in shards if not (folder / shard).is_file())
        if missing:
            raise InputError(
                f"{folder} is not complete: {missing[0]} is missing ({len(missing)} of {len(shards)} files); "
                "get the model again, a partial download is resumed"
            )
        chosen = [folder / shard for shard in sorted(shards)]
    return chosen


def read_header(file: Path) -> dict[str, Any]:
    """Read the description of the tensors in a safetensors file.

    Raises:
        InputError: The file is damaged, truncated or something else.
    """
    try:
        with open(file, "rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            if not 2 <= length <= MAX_HEADER_BYTES:
                raise ValueError("it has no header")
            entries = json.loads(stream.read(length))
            tensors = {key: value for key, value in entries.items() if key != "__metadata__"}
            end = max((tensor["data_offsets"][1] for tensor in tensors.values()), default=0)
            if os.fstat(stream.fileno()).st_size < 8 + length + end:
                raise ValueError("it is cut off")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{file} is damaged or no safetensors file: {reason}; get it again") from None
    return tensors


def count_parameters(file: Path) -> int:
    """Count the numbers in a safetensors file."""
    return sum(math.prod(tensor["shape"]) for tensor in read_header(file).values())


def check_weights_file(path: Path, role: str) -> Path:
    """Check a single file of weights and return it.

    Args:
        path: The file.
        role: What it is for, such as "LoRA", for the message.

    Raises:
        InputError: It is a pickle, damaged or something else.
    """
    if path.suffix in PICKLE_SUFFIXES:
        raise InputError(f"the {role} {path} can execute code when loaded: give a .safetensors file")
    read_header(path)
    return path
