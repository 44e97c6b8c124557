"""The scene folder: a base, its capture and its layers, kept on disk.

    scene.json            format, where capture and base are, the layers bottom to top, what can be undone
    base/base.safetensors
    base/views.json       only of adopted bases: which photographs they were trained on, corrected cameras
    layers/001-name/      recipe.yaml, inputs/, region/, field.safetensors, painted/

Weights are safetensors, regions and recipes plain data: nothing that is loaded can run code. A layer's
folder is written to the end before scene.json names it, and scene.json is replaced in one move, so
that at any moment the folder holds a whole scene.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from nerf_insert.errors import InputError
from nerf_insert.io.files import read_json, write_json
from nerf_insert.io.locks import only_writer

if TYPE_CHECKING:  # torch takes seconds to import, and listing or switching layers does not need it
    from nerf_insert.capture.capture import Capture
    from nerf_insert.fields.layer import Layer
    from nerf_insert.fields.nerfacto import NerfactoBase
    from nerf_insert.fields.scene_field import SceneField
    from nerf_insert.rendering.stack import LayerStack

FORMAT = 1
UNDO_DEPTH = 100
BASE = "base/base.safetensors"


@dataclass(frozen=True)
class LayerEntry:
    """A layer as scene.json lists it."""

    folder: str  # under layers/
    name: str
    enabled: bool = True


class Scene:
    """An open scene folder. Changes are on disk when the method that makes them returns."""

    def __init__(self, folder: Path, data: dict):
        """Raises KeyError, TypeError or ValueError where `data` is not what scene.json should hold."""
        self.folder = folder
        self._take(data)

    def _take(self, data: dict) -> None:
        at = data["capture"]
        self._capture_at = {**at, "path": _text(at["path"]), "relative": _text(at["relative"])}
        self._base_at = _below(data.get("base", BASE))  # which the first scenes did not say
        self.layers = [_entry(entry) for entry in data["layers"]]
        self._history = [[asdict(_entry(entry)) for entry in state] for state in data["history"]]

    @staticmethod
    def create(
        folder: str | Path,
        capture: Capture,
        base: SceneField | NerfactoBase,
        dataparser: str | None = None,
        downscale: float | None = None,
        keep_views: bool = False,
    ) -> Scene:
        """Write a new scene; `dataparser` and `downscale` are what the capture was loaded with. With
        `keep_views` its cameras and its split are kept as well, where they are not what loading it again
        would give. Raises InputError if there is a scene already."""
        folder = Path(folder)
        check_free(folder)
        base.save(folder / BASE)
        if keep_views:
            poses = {view.name: view.camera.c2w.tolist() for view in capture.views}
            split = {part: [view.name for view in getattr(capture, part)] for part in ("train", "test")}
            write_json(folder / "base" / "views.json", {**split, "poses": poses})
        at = {"path": str(capture.path), "relative": _between(folder.resolve(), capture.path)}
        at["dataparser"] = dataparser
        at["downscale"] = downscale
        scene = Scene(folder, {"capture": at, "layers": [], "history": []})
        scene._write([], [])
        return scene

    @staticmethod
    def open(folder: str | Path) -> Scene:
        """Raises InputError if the folder is no scene or one of a newer format."""
        folder = Path(folder)
        if not folder.is_dir():
            raise InputError(f"there is no scene folder {folder}; make one with `nerf-insert train`")
        if not (folder / "scene.json").exists():
            hint = (
                "; it looks like a capture: train it first (`nerf-insert train`)"
                if (folder / "transforms.json").exists()
                else ""
            )
            raise InputError(f"{folder} is not a scene folder: it has no scene.json{hint}")
        try:
            return Scene(folder, _read(folder))
        except (KeyError, TypeError, ValueError) as cause:
            raise InputError(
                f"{folder / 'scene.json'} is damaged: {_wrong(cause)}; restore it from a copy"
            ) from None

    @cached_property
    def capture(self) -> Capture:
        """The photographs, with the cameras that the base was trained with."""
        kept = self.folder / "base" / "views.json"
        return _as_kept(self.capture_as_found, kept) if kept.exists() else self.capture_as_found

    @cached_property
    def capture_as_found(self) -> Capture:
        """The photographs, with the cameras that the capture says. They are looked for where they were, and
        where they would be if the scene and the capture had been moved together."""
        at, path = self._capture_at, self.capture_path
        if path is None:
            raise InputError(
                f"the capture of {self.folder} is not at {at['path']} any more: move it back, "
                f'or change "path" in {self.folder / "scene.json"}'
            )
        from nerf_insert.capture.capture import Capture

        return Capture.load(path, dataparser=at.get("dataparser"), downscale=at.get("downscale"))

    @property
    def capture_path(self) -> Path | None:
        """Where the capture is now, None if it is in neither place."""
        places = [Path(self._capture_at["path"]), self.folder / self._capture_at["relative"]]
        if not places[0].is_absolute():  # as in a scene that was downloaded with its capture
            del places[0]
        return next((path for path in places if path.exists()), None)

    @property
    def loaded_with(self) -> dict:
        """{"dataparser": its name or None, "downscale": a number or None}: how the capture is loaded."""
        return {key: self._capture_at.get(key) for key in ("dataparser", "downscale")}

    def point_to(self, capture: Path, at: Path) -> None:
        """Say where the capture is, for a scene folder that is going to lie at `at`."""
        relative = _between(at.resolve(), capture)
        self._capture_at |= {"path": str(capture.resolve()), "relative": relative}
        self._write(self.layers, self._history)

    @cached_property
    def base(self) -> SceneField | NerfactoBase:
        """On the device for fields; an adopted nerfacto on the processor."""
        from nerf_insert.fields.load import load_base
        from nerf_insert.fields.scene_field import SceneField
        from nerf_insert.runtime.devices import device

        base = load_base(self.folder / self._base_at)
        return base.to(device()) if isinstance(base, SceneField) else base

    def load_layer(self, entry: LayerEntry) -> Layer:
        from nerf_insert.fields.layer import Layer
        from nerf_insert.regions import load_region
        from nerf_insert.rendering.stack import LayerStack

        folder = self.layer_folder(entry)
        region = load_region(read_json(folder / "region" / "region.json"), folder / "region")
        return Layer.load(folder / "field.safetensors", region).to(LayerStack(self.base).device)

    def layer_folder(self, entry: LayerEntry) -> Path:
        return self.folder / "layers" / entry.folder

    def stack(self, with_layers: bool = True) -> LayerStack:
        """The base and, unless told otherwise, the enabled layers."""
        from nerf_insert.rendering.stack import LayerStack

        enabled = [entry for entry in self.layers if entry.enabled and with_layers]
        return LayerStack(self.base, tuple(self.load_layer(entry) for entry in enabled))

    def add(self, entry: LayerEntry) -> None:
        """Put a layer, whose folder is complete, on top."""
        self._change([*self.layers, entry])

    def enable(self, number: int, enabled: bool = True) -> LayerEntry:
        """Switch a layer on or off; `number` counts from 1 at the bottom, as the list shows it."""
        entry = self._at(number)
        changed = replace(entry, enabled=enabled)
        self._change([changed if other is entry else other for other in self.layers])
        return changed

    def remove(self, number: int) -> LayerEntry:
        """Take a layer out of the stack; its folder stays, so that this can be undone."""
        entry = self._at(number)
        self._change([other for other in self.layers if other is not entry])
        return entry

    def move(self, number: int, to: int) -> LayerEntry:
        """Give a layer another place in the stack."""
        entry = self._at(number)
        self._at(to)
        rest = [other for other in self.layers if other is not entry]
        self._change([*rest[: to - 1], entry, *rest[to - 1 :]])
        return entry

    def rename(self, number: int, name: str) -> LayerEntry:
        """Give a layer another name; its folder keeps its own."""
        entry = self._at(number)
        name = " ".join(name.split())
        if not name:
            raise InputError("a layer needs a name")
        changed = replace(entry, name=name)
        self._change([changed if other is entry else other for other in self.layers])
        return changed

    @property
    def can_undo(self) -> bool:
        return bool(self._history)

    def undo(self) -> None:
        """Take the last change to the layers back. Raises InputError if there is none."""
        if not self._history:
            raise InputError(f"there is nothing to undo in {self.folder}")
        self._write([_entry(entry) for entry in self._history[-1]], self._history[:-1])

    def known_folders(self) -> set[str]:
        """The folders of all layers that are or, by undoing, could again be in the stack."""
        return {e.folder for e in self.layers} | {e["folder"] for state in self._history for e in state}

    def new_layer_folder(self, name: str) -> Path:
        """A name under layers/ that nothing has had yet, removed layers included."""
        word = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:40] or "edit"
        taken = [p.name for p in (self.folder / "layers").glob("[0-9][0-9][0-9]-*")]
        number = 1 + max((int(name[:3]) for name in taken), default=0)
        return self.folder / "layers" / f"{number:03d}-{word}"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep a second process from editing the same scene meanwhile; what others did before counts."""
        with only_writer(self.folder):
            self._take(_read(self.folder))
            yield

    def _at(self, number: int) -> LayerEntry:
        if not 1 <= number <= len(self.layers):
            have = f"it has {len(self.layers)}" if self.layers else "it has none"
            raise InputError(f"{self.folder} has no layer {number}: {have} (`nerf-insert layers` lists them)")
        return self.layers[number - 1]

    def _change(self, layers: list[LayerEntry]) -> None:
        if layers == self.layers:
            return
        self._write(layers, [*self._history, [asdict(entry) for entry in self.layers]][-UNDO_DEPTH:])

    def _write(self, layers: list[LayerEntry], history: list[list[dict]]) -> None:
        """Put a new state on disk; only once it is there, it is this scene's."""
        data = {
            "format": FORMAT,
            "capture": self._capture_at,
            "base": self._base_at,
            "layers": [asdict(entry) for entry in layers],
            "history": history,
        }
        write_json(self.folder / "scene.json", data)
        self.layers, self._history = layers, history


def _as_kept(capture: Capture, file: Path) -> Capture:
    import torch

    data = read_json(file)
    try:
        poses = {name: torch.tensor(pose).float().view(3, 4) for name, pose in data["poses"].items()}
        return capture.adjusted(poses, data["train"], data["test"])
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as cause:
        raise InputError(f"{file} is damaged: {cause!r}") from None


def _read(folder: Path) -> dict:
    """What scene.json holds. Raises InputError if that is not a scene's, or of a newer format."""
    data = read_json(folder / "scene.json")
    version = data.get("format") if isinstance(data, dict) else None
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise InputError(f"{folder / 'scene.json'} is not the scene.json of a NeRF-Insert scene")
    if version > FORMAT:
        raise InputError(
            f"{folder} was written by a newer NeRF-Insert (format {version}, this one reads up to "
            f"{FORMAT}): update NeRF-Insert to open it"
        )
    return data


def _between(folder: Path, path: Path) -> str:
    """The way from a folder to a path, the path itself where there is none (Windows' drives)."""
    try:
        return Path(os.path.relpath(path, folder)).as_posix()
    except ValueError:
        return path.as_posix()


def _wrong(cause: Exception) -> str:
    """What is wrong with scene.json, given what reading it raised."""
    return f"it has no {cause}" if isinstance(cause, KeyError) else f"{cause} is not what belongs there"


def _entry(data: dict) -> LayerEntry:
    entry = LayerEntry(**data)
    plain = Path(_text(entry.folder)).name == entry.folder and entry.folder not in ("", "..")
    if not plain or not isinstance(entry.enabled, bool):
        raise ValueError(data)
    _text(entry.name)
    return entry


def _below(name: object) -> str:
    """The name of a file in the scene folder. Raises TypeError or ValueError for anything else."""
    path = PurePosixPath(_text(name))
    if path.is_absolute() or ".." in path.parts or not path.name:
        raise ValueError(name)
    return str(path)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(value)
    return value


def check_free(folder: str | Path) -> None:
    """Raises InputError if a new scene must not be written to this folder."""
    folder = Path(folder)
    if (folder / "scene.json").exists():
        raise InputError(f"{folder} already holds a scene: choose another --out, or remove it first")
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file: choose a folder for --out")
