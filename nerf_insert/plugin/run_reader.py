"""Read nerfstudio run folders without executing code embedded in them.

nerfstudio's own loader builds the Python objects that config.yml names, so that opening a run can execute its
author's code. Here every object becomes plain data (`Plain`, `Name`), and tags that nerfstudio does not write
for its configs are refused.
"""

from __future__ import annotations

import dataclasses
import enum
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from nerf_insert.errors import InputError
from nerf_insert.io.files import read_json, read_text

OURS = ("nerfstudio.", "nerf_insert.plugin.")
ENUMS = (
    "nerfstudio.utils.writer.EventName",
    "nerfstudio.model_components.losses.DepthLossType",
    "nerfstudio.field_components.temporal_distortions.TemporalDistortionKind",
)
PATHS = tuple(f"pathlib.{kind}" for kind in ("PosixPath", "WindowsPath", "Path", "PurePosixPath"))
MAX_LENGTH = 4 << 20  # characters of a config.yml


class Name(str):
    """The full name of a class or function, which is not looked up."""


@dataclass(frozen=True)
class Plain:
    """A config object: the full name of its class, and its fields as plain data."""

    kind: str
    fields: dict[str, Any]

    def get(self, path: str, default: Any = None) -> Any:
        """Return a field by its path, such as "pipeline.model"; `default` if there is none."""
        here: Any = self
        for name in path.split("."):
            here = here.fields.get(name) if isinstance(here, Plain) else None
        return default if here is None else here


@dataclass(frozen=True)
class Run:
    """A run folder.

    Attributes:
        config: The content of config.yml.
        path: The file config.yml.
        checkpoint: The newest checkpoint.
        transform: The content of dataparser_transforms.json, if there is one.
    """

    config: Plain
    path: Path
    checkpoint: Path
    transform: dict[str, Any] | None

    @property
    def model(self) -> Plain:
        """The config of the model."""
        return self._part("pipeline.model")

    @property
    def dataparser(self) -> Plain:
        """The config of the dataparser."""
        return self._part("pipeline.datamanager.dataparser")

    @property
    def data(self) -> Path:
        """The path of the capture when the run was trained."""
        manager = self._part("pipeline.datamanager")
        return Path(manager.get("data") or self.dataparser.get("data") or ".")

    def _part(self, path: str) -> Plain:
        part = self.config.get(path)
        if not isinstance(part, Plain):
            raise InputError(f"{self.path} has no {path}: it is not the config.yml of a nerfstudio run")
        return part


def read_run(path: str | Path, trust: bool = False) -> Run:
    """Read a run.

    Args:
        path: Its config.yml, or the folder of it.
        trust: Read it with nerfstudio's own loader, which can execute code embedded in the file.

    Raises:
        InputError: The run cannot be read, or was refused; the message says why.
    """
    path = Path(path).expanduser()
    if path.is_dir():
        path = path / "config.yml"
    config = read_config(path, trust)
    models = path.parent / str(config.get("relative_model_dir") or "nerfstudio_models")
    transforms = path.parent / "dataparser_transforms.json"
    return Run(
        config,
        path.resolve(),
        newest_checkpoint(models),
        read_json(transforms) if transforms.exists() else None,
    )


def newest_checkpoint(folder: str | Path, step: int | None = None) -> Path:
    """Return the checkpoint with the highest step, or of the given step.

    Raises:
        InputError: There is none.
    """
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise InputError(f"there is no folder of checkpoints {folder}: was the training saved?")
    steps = {
        int(m[1]): file for file in folder.iterdir() if (m := re.fullmatch(r"step-(\d+)\.ckpt", file.name))
    }
    if not steps or (step is not None and step not in steps):
        wanted = "" if step is None else f" of step {step}"
        raise InputError(f"{folder} has no checkpoint{wanted} (step-000000000.ckpt and the like)")
    return steps[max(steps) if step is None else step]


def read_config(path: Path, trust: bool = False) -> Plain:
    """Read a config.yml; arguments and errors are those of `read_run`."""
    text = read_text(path)
    if len(text) > MAX_LENGTH:
        raise InputError(f"{path} is too large for a config.yml")
    try:
        config = plain(yaml.load(text, Loader=yaml.Loader)) if trust else yaml.load(text, Loader=Loader)
    except Refused as refused:
        raise InputError(
            f"{path}, line {refused.line}, asks for {refused.what}, which no config of nerfstudio needs: "
            "it is refused, and nothing was run. If you trust its author, --trust loads it with nerfstudio's "
            "own loader"
        ) from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}: " if mark else ""
        raise InputError(f"{path} is not valid YAML: {where}{getattr(error, 'problem', '')}") from None
    except RecursionError:
        raise InputError(f"{path} is not usable: it is nested too deeply") from None
    except Exception as error:
        if not trust:
            raise
        raise InputError(f"nerfstudio's own loader cannot open {path}: {error!r}") from error
    if not isinstance(config, Plain):
        raise InputError(f"{path} is not the config.yml of a nerfstudio run")
    return config


class Refused(Exception):
    """A tag that is not plain data, and its line."""

    def __init__(self, what: str, node: yaml.Node):
        super().__init__(what)
        self.what, self.line = what, node.start_mark.line + 1


class Loader(yaml.SafeLoader):
    """yaml's safe loader, which also reads the tags of nerfstudio's configs, as plain data."""


def _object(loader: Loader, kind: str, node: yaml.Node) -> Plain:
    if not kind.startswith(OURS) or not isinstance(node, yaml.MappingNode):
        raise Refused(f"an object of {kind}", node)
    fields = loader.construct_mapping(node, deep=True)
    return Plain(kind, {str(name): value for name, value in fields.items()})


def _name(loader: Loader, name: str, node: yaml.Node) -> Name:
    if not name.startswith((*OURS, "torch.optim.")):
        raise Refused(f"to look up {name}", node)
    return Name(name)


def _apply(loader: Loader, called: str, node: yaml.Node) -> Any:
    """Read the three harmless kinds of calls: a path, an enum member, a class with a type parameter."""
    known = called in PATHS or called in ENUMS or called == "_operator.getitem"
    if not known or not isinstance(node, yaml.SequenceNode):
        raise Refused(f"to run {called}", node)
    values = loader.construct_sequence(node, deep=True)
    texts = [value for value in values if isinstance(value, str)]
    if called in PATHS and len(texts) == len(values):
        return Path(*texts)
    if called in ENUMS and len(values) == 1 and isinstance(values[0], str | int):
        return values[0]
    if called == "_operator.getitem" and len(values) == 2 and all(isinstance(v, Name) for v in values):
        return values[0]
    raise Refused(f"to run {called} with {values!r:.60}", node)


def _tuple(loader: Loader, node: yaml.Node) -> tuple:
    return tuple(loader.construct_sequence(node, deep=True))  # pyright: ignore[reportArgumentType] # or YAMLError


def _anything_else(loader: Loader, tag: str, node: yaml.Node) -> None:
    raise Refused(
        f"the tag !{tag}" if not tag.startswith("tag:") else f"{tag.rpartition(':python/')[2]}", node
    )


Loader.add_multi_constructor("tag:yaml.org,2002:python/object:", _object)
Loader.add_multi_constructor("tag:yaml.org,2002:python/name:", _name)
Loader.add_multi_constructor("tag:yaml.org,2002:python/object/apply:", _apply)
Loader.add_constructor("tag:yaml.org,2002:python/tuple", _tuple)
Loader.add_multi_constructor("", _anything_else)


def plain(value: Any) -> Any:
    """Convert config objects to plain data."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        kind = f"{type(value).__module__}.{type(value).__qualname__}"
        names = [f.name for f in dataclasses.fields(value) if hasattr(value, f.name)]
        return Plain(kind, {name: plain(getattr(value, name)) for name in names})
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(plain(item) for item in value)
    if isinstance(value, type) or callable(value):
        return Name(f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', value)}")
    return value
