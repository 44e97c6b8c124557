"""The scene folder: a base, its capture and its layers, kept on disk.

    scene.json            format, where capture and base are, the layers bottom to top, what can be undone
    base/base.safetensors
    base/views.json       only of imported bases: the photographs they were trained on, corrected cameras
    layers/001-name/      recipe.yaml, inputs/, region/, field.safetensors, painted/
    layers/001-name-shade/   shade.safetensors, of the shade layer that belongs to 001-name

Weights are safetensors, regions and recipes plain data: nothing that is loaded can run code. A layer's
folder is complete before scene.json names it, and scene.json is replaced in one step, so that the folder
holds a whole scene at any moment.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nerf_insert.errors import InputError
from nerf_insert.io.files import read_json
from nerf_insert.io.locks import LOCK, only_writer
from nerf_insert.scene import kept_views
from nerf_insert.scene.scene_file import (
    BASE,
    FORMAT,
    NAME,
    CaptureLocation,
    LayerEntry,
    SceneFile,
    State,
    relative_path,
)

if TYPE_CHECKING:  # torch takes seconds to import, and listing or switching layers does not need it
    from nerf_insert.capture.capture import Capture
    from nerf_insert.fields.layer import Layer
    from nerf_insert.fields.nerfacto import NerfactoBase
    from nerf_insert.fields.scene_field import SceneField
    from nerf_insert.fields.shade_layer import ShadeLayer
    from nerf_insert.fields.splat_field import SplatField
    from nerf_insert.rendering.stack import LayerStack

__all__ = ["FORMAT", "LayerEntry", "Scene", "check_free", "lock_scene"]

UNDO_DEPTH = 100


@contextmanager
def lock_scene(folder: Path) -> Iterator[None]:
    """Keep other processes from writing to a scene folder while the block lasts. See `only_writer`."""
    with only_writer(folder, subfolders=("base",)):
        yield


class Scene:
    """An open scene folder. Changes are on disk when the method that makes them returns.

    Make one with `Scene.open` or `Scene.create`.
    """

    def __init__(self, folder: Path, file: SceneFile):
        self.folder = folder
        self._file = file

    @staticmethod
    def create(
        folder: str | Path,
        capture: Capture,
        base: SceneField | NerfactoBase | SplatField,
        dataparser: str | None = None,
        downscale: float | None = None,
        keep_views: bool = False,
    ) -> Scene:
        """Write a new scene.

        Args:
            folder: May exist, but must hold no scene.
            capture: The photographs.
            base: The trained base field.
            dataparser: The name of the dataparser that the capture was loaded with.
            downscale: The factor that it was loaded with.
            keep_views: Also keep the capture's cameras and its split, where loading it again would give
                others.

        Raises:
            InputError: The folder already holds a scene, or is a file.
        """
        folder = Path(folder)
        check_free(folder)
        base.save(folder / BASE)
        if keep_views:
            kept_views.write(folder / kept_views.FILE, capture)
        relative = relative_path(folder.resolve(), capture.path)
        location = CaptureLocation(str(capture.path), relative, dataparser, downscale, capture.reading)
        file = SceneFile(location)
        file.write(folder)
        return Scene(folder, file)

    @staticmethod
    def open(folder: str | Path) -> Scene:
        """Open a scene folder.

        Raises:
            InputError: The folder is no scene, is damaged, or is of a newer format.
        """
        folder = Path(folder)
        if not folder.is_dir():
            raise InputError(f"there is no scene folder {folder}; make one with `nerf-insert train`")
        if not (folder / NAME).exists():
            hint = (
                "; it looks like a capture: train it first (`nerf-insert train`)"
                if (folder / "transforms.json").exists()
                else ""
            )
            raise InputError(f"{folder} is not a scene folder: it has no {NAME}{hint}")
        return Scene(folder, SceneFile.read(folder))

    def reload(self) -> Scene:
        """Return the scene as it is on disk now; capture and base are shared, if they were read already.

        Raises:
            InputError: The folder is no scene any more.
        """
        fresh = Scene.open(self.folder)
        for name in ("base", "capture", "capture_as_found"):
            if name in vars(self):
                vars(fresh)[name] = vars(self)[name]
        return fresh

    @property
    def layers(self) -> list[LayerEntry]:
        """The layers, bottom to top."""
        return list(self._file.layers)

    @cached_property
    def capture(self) -> Capture:
        """The photographs, with the cameras that the base was trained with.

        Raises:
            InputError: The capture is gone or damaged.
        """
        kept = self.folder / kept_views.FILE
        return kept_views.apply(self.capture_as_found, kept) if kept.exists() else self.capture_as_found

    @cached_property
    def capture_as_found(self) -> Capture:
        """The photographs, with the cameras that the capture itself holds.

        Raises:
            InputError: The capture is gone or damaged.
        """
        location, path = self._file.capture, self.capture_path
        if path is None:
            raise InputError(
                f"the capture of {self.folder} is not at {location.path} any more: move it back, "
                f'or change "path" in {self.folder / NAME}'
            )
        from nerf_insert.capture.capture import Capture
        from nerf_insert.capture.reading import AS_BEFORE

        return Capture.load(
            path,
            dataparser=location.dataparser,
            downscale=location.downscale,
            reading=replace(location.reading or AS_BEFORE, origin=self.origin),  # whatever is chosen today
        )

    @property
    def origin(self) -> tuple[float, float, float]:
        """The origin of the scene's coordinates in those of the capture, which may be gone."""
        reading = self._file.capture.reading
        x, y, z = (reading and reading.origin) or (0.0, 0.0, 0.0)
        return float(x), float(y), float(z)

    @property
    def capture_path(self) -> Path | None:
        """Where the capture is now; None if it cannot be found.

        It is looked for where it was, and where it would be if scene and capture had been moved together.
        """
        return self._file.capture.find(self.folder)

    @property
    def loaded_with(self) -> dict[str, Any]:
        """How the capture is loaded: {"dataparser": its name or None, "downscale": a number or None}."""
        return {"dataparser": self._file.capture.dataparser, "downscale": self._file.capture.downscale}

    def point_to(self, capture: Path, at: Path) -> None:
        """Record where the capture is, for a scene folder that is going to lie at `at`."""
        self._write(replace(self._file, capture=self._file.capture.moved(capture, at)))

    @cached_property
    def base(self) -> SceneField | NerfactoBase | SplatField:
        """The base: a field on the current device, or an imported nerfacto or splats on the CPU.

        Raises:
            InputError: Its file is missing or damaged.
        """
        from nerf_insert.fields.load import load_base

        return load_base(self.base_file)

    @property
    def base_file(self) -> Path:
        """The base's file."""
        return self.folder / self._file.base

    def load_layer(self, entry: LayerEntry) -> Layer | ShadeLayer:
        """Load a layer or a shade layer onto the base's device.

        Raises:
            InputError: A file of its folder is missing or damaged.
        """
        from nerf_insert.fields.layer import Layer
        from nerf_insert.fields.shade_layer import FILE, ShadeLayer
        from nerf_insert.regions.saved import load_region
        from nerf_insert.rendering.stack import LayerStack

        folder, device = self.layer_folder(entry), LayerStack(self.base).device
        if entry.shade_of is not None:
            return ShadeLayer.load(folder / FILE, float(entry.strength)).to(device)
        region = load_region(read_json(folder / "region" / "region.json"), folder / "region")
        return Layer.load(folder / "field.safetensors", region).to(device)

    def layer_folder(self, entry: LayerEntry) -> Path:
        """Return the folder of a layer's files."""
        return self.folder / "layers" / entry.folder

    def recipe_file(self, entry: LayerEntry) -> Path:
        """Return the recipe of the edit that made a layer; a shade layer is made by its owner's."""
        return self.folder / "layers" / (entry.shade_of or entry.folder) / "recipe.yaml"

    def stack(self, with_layers: bool = True) -> LayerStack:
        """Load the base and, unless told otherwise, the enabled layers.

        Raises:
            InputError: A file is missing or damaged.
        """
        from nerf_insert.rendering.stack import LayerStack

        shown = [entry for entry in self.layers if self.is_shown(entry) and with_layers]
        return LayerStack(self.base, tuple(self.load_layer(entry) for entry in shown))

    def is_shown(self, entry: LayerEntry) -> bool:
        """Whether a layer is rendered: a shade layer is so only while its owner is enabled."""
        owners = [other for other in self.layers if other.folder == entry.shade_of]
        return entry.enabled and all(owner.enabled for owner in owners)

    def add(self, *entries: LayerEntry) -> None:
        """Put layers, whose folders are complete, on top, bottom to top, as one change."""
        self._change([*self.layers, *entries])

    def enable(self, number: int, enabled: bool = True) -> LayerEntry:
        """Enable or disable a layer.

        Args:
            number: Counts from 1 at the bottom.
            enabled: Whether the layer is to be rendered.

        Raises:
            InputError: There is no such layer.
        """
        return self._replace(number, enabled=enabled)

    def remove(self, number: int) -> LayerEntry:
        """Remove a layer from the stack with its shade layers; folders stay, so that this can be undone.

        Raises:
            InputError: There is no such layer.
        """
        entry = self._layer(number)
        kept = [other for other in self.layers if other is not entry and other.shade_of != entry.folder]
        self._change(kept)
        return entry

    def fade(self, number: int, strength: float) -> LayerEntry:
        """Set the strength of a shade layer.

        Args:
            number: Counts from 1 at the bottom.
            strength: 0 is no shade, 1 is as computed, 2 the most.

        Raises:
            InputError: There is no such layer, it is no shade layer, or the strength is out of range.
        """
        if self._layer(number).shade_of is None:
            raise InputError(f"layer {number} is no shade layer: only shadows can be faded")
        return self._replace(number, strength=strength)

    def move(self, number: int, to: int) -> LayerEntry:
        """Move a layer to another position in the stack; both count from 1 at the bottom.

        Raises:
            InputError: There is no such layer or position.
        """
        entry = self._layer(number)
        self._layer(to)
        rest = [other for other in self.layers if other is not entry]
        self._change([*rest[: to - 1], entry, *rest[to - 1 :]])
        return entry

    def rename(self, number: int, name: str) -> LayerEntry:
        """Give a layer another name; its folder keeps its own.

        Raises:
            InputError: There is no such layer, or the name is empty.
        """
        self._layer(number)
        name = " ".join(name.split())
        if not name:
            raise InputError("a layer needs a name")
        return self._replace(number, name=name)

    @property
    def can_undo(self) -> bool:
        """Whether there is a change to undo."""
        return bool(self._file.history)

    def undo(self) -> None:
        """Undo the last change to the layers.

        Raises:
            InputError: There is none.
        """
        history = self._file.history
        if not history:
            raise InputError(f"there is nothing to undo in {self.folder}")
        self._write(replace(self._file, layers=history[-1], history=history[:-1]))

    def known_folders(self) -> set[str]:
        """Return the folders of all layers that are or, by undoing, could again be in the stack."""
        states = [self._file.layers, *self._file.history]
        return {entry.folder for state in states for entry in state}

    def new_layer_folder(self, name: str) -> Path:
        """Return a new folder under layers/, with a number that not even a removed layer has."""
        word = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:40] or "edit"
        taken = [p.name for p in (self.folder / "layers").glob("[0-9][0-9][0-9]-*")]
        number = 1 + max((int(name[:3]) for name in taken), default=0)
        return self.folder / "layers" / f"{number:03d}-{word}"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from changing the scene meanwhile, after reading what they changed before.

        Raises:
            InputError: Another process is working on the scene, or its scene.json is damaged.
        """
        with lock_scene(self.folder):
            self._file = SceneFile.read(self.folder)
            yield

    def _layer(self, number: int) -> LayerEntry:
        if not 1 <= number <= len(self.layers):
            have = f"it has {len(self.layers)}" if self.layers else "it has none"
            raise InputError(f"{self.folder} has no layer {number}: {have} (`nerf-insert layers` lists them)")
        return self._file.layers[number - 1]

    def _replace(self, number: int, **changes: Any) -> LayerEntry:
        entry = self._layer(number)
        changed = replace(entry, **changes)
        self._change([changed if other is entry else other for other in self.layers])
        return changed

    def _change(self, layers: Sequence[LayerEntry]) -> None:
        state: State = tuple(layers)
        if state != self._file.layers:
            history = (*self._file.history, self._file.layers)[-UNDO_DEPTH:]
            self._write(replace(self._file, layers=state, history=history))

    def _write(self, file: SceneFile) -> None:
        """Put a new state on disk; only once it is there, it is this scene's."""
        file.write(self.folder)
        self._file = file


def check_free(folder: str | Path) -> None:
    """Check that a new scene may be written to a folder.

    What a run that was interrupted has left there does not matter: it left its lock as well.

    Raises:
        InputError: It already holds a scene or a base/ of somebody else, or is a file.
    """
    folder = Path(folder)
    if (folder / NAME).exists():
        raise InputError(f"{folder} already holds a scene: choose another --out, or remove it first")
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file: choose a folder for --out")
    base = folder / Path(BASE).parent
    if base.exists() and not (folder / LOCK).exists():
        raise InputError(f"{base} holds something else than a scene's base: choose another --out")
