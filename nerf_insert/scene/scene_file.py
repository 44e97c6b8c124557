"""scene.json: where a scene's capture and base are, its layers, and what can be undone."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Annotated, Any

from msgspec import Meta

from nerf_insert.capture.reading import Reading
from nerf_insert.errors import InputError
from nerf_insert.io import schema
from nerf_insert.io.files import read_json, write_json
from nerf_insert.io.schema import Number

FORMAT = 3  # format 1 had other names in layer files, format 2 no shade layers; both are read
NAME = "scene.json"
BASE = "base/base.safetensors"


MAX_STRENGTH = 2
Strength = Annotated[int | float, Meta(ge=0, le=MAX_STRENGTH)]


@dataclass(frozen=True)
class LayerEntry(schema.Checked):
    """A layer as scene.json lists it.

    Attributes:
        folder: Its folder's name under layers/.
        name: The name that people see.
        enabled: Whether it is rendered.
        shade_of: Of a shade layer, the folder of the layer whose light and shadow it holds; None: it is none.
        strength: Of a shade layer, the power to which its ratio is raised: 0 is no shade, 1 as computed.
    """

    folder: str
    name: str
    enabled: bool = True
    shade_of: str | None = None
    strength: Strength = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if Path(self.folder).name != self.folder or self.folder in ("", ".."):
            raise InputError(f"folder must be a name under layers/, not {schema.show(self.folder)}")


@dataclass(frozen=True)
class CaptureLocation(schema.Checked):
    """Where the capture is and how it is loaded.

    Attributes:
        path: Where it was when the scene was made.
        relative: The same, relative to the scene folder, for when both have been moved together.
        dataparser: The name of nerfstudio's dataparser; None: the one that fits.
        downscale: The factor by which photographs are scaled down; None: not at all.
        reading: How what its files leave open is taken; None: as in version 0.1.0.
    """

    path: str
    relative: str
    dataparser: str | None = None
    downscale: Number | None = None
    reading: Reading | None = None

    def find(self, folder: Path) -> Path | None:
        """Return where the capture is now, None if it is in neither place."""
        candidates = [Path(self.path), folder / self.relative]
        if not candidates[0].is_absolute():  # as in a scene that was downloaded with its capture
            del candidates[0]
        return next((path for path in candidates if path.exists()), None)

    def moved(self, capture: Path, folder: Path) -> CaptureLocation:
        """Return the location of a capture at another path, for a scene folder at `folder`."""
        return replace(self, path=str(capture.resolve()), relative=relative_path(folder.resolve(), capture))


State = tuple[LayerEntry, ...]  # the layers, bottom to top


@dataclass(frozen=True)
class SceneFile(schema.Checked):
    """What scene.json holds.

    Attributes:
        capture: Where the photographs are.
        layers: Bottom to top.
        history: The layers before each change, oldest first.
        base: The base's file, relative to the scene folder.
    """

    capture: CaptureLocation
    layers: State = ()
    history: tuple[State, ...] = ()
    base: str = BASE

    def __post_init__(self) -> None:
        super().__post_init__()
        path = PurePosixPath(self.base)
        if path.is_absolute() or ".." in path.parts or not path.name:
            raise InputError(f"base must be a file in the scene folder, not {schema.show(self.base)}")

    @staticmethod
    def read(folder: Path) -> SceneFile:
        """Read and check the scene.json of a folder.

        Raises:
            InputError: It is missing, damaged, not of a scene, or of a newer format.
        """
        file = folder / NAME
        data = read_json(file)
        version = data.get("format") if isinstance(data, dict) else None
        if not isinstance(version, int) or isinstance(version, bool) or version < 1:
            raise InputError(f"{file} is not the scene.json of a NeRF-Insert scene")
        if version > FORMAT:
            raise InputError(
                f"{folder} was written by a newer NeRF-Insert (format {version}, this one reads up to "
                f"{FORMAT}): update NeRF-Insert to open it"
            )
        del data["format"]
        try:
            for key in ("layers", "history"):
                if data.get(key) is None:
                    raise InputError(f"it has no {key}")
            return schema.parse_fields(data, SceneFile, "")
        except InputError as cause:
            raise InputError(f"{file} is damaged: {cause}; restore it from a copy") from None

    def write(self, folder: Path) -> None:
        """Replace the scene.json of a folder in one step.

        Raises:
            RunError: It cannot be written; the old one is still there.
        """
        write_json(folder / NAME, self.to_dict())

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return {
            "format": FORMAT,
            "capture": schema.to_plain(self.capture),
            "base": self.base,
            "layers": [_plain(entry) for entry in self.layers],
            "history": [[_plain(entry) for entry in state] for state in self.history],
        }


def _plain(entry: LayerEntry) -> dict[str, Any]:
    """Return an entry as plain data; what only shade layers have is left out of others."""
    data = schema.to_plain(entry)
    return data if entry.shade_of else {key: data[key] for key in ("folder", "name", "enabled")}


def relative_path(folder: Path, path: Path) -> str:
    """Return a path relative to a folder; the path itself where there is no way (Windows' drives)."""
    try:
        return Path(os.path.relpath(path, folder)).as_posix()
    except ValueError:
        return path.as_posix()
