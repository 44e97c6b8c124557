"""Where the page keeps things, and the scenes that it offers.

    WORKSPACE/scenes/NAME/      scene folders that the page made; NAME/page/ is the page's own part of each
    WORKSPACE/captures/NAME/    captures that were uploaded
    WORKSPACE/temporary/PID/    what is uploaded and handed out, for as long as the page runs
    WORKSPACE/recent.json       scenes elsewhere that were opened from the command line

A browser names a scene by its key and never by a path: only what `places` lists can be opened.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import psutil

from nerf_insert.capture.bundled_sample import sample_path
from nerf_insert.errors import InputError
from nerf_insert.io.files import read_json, write_json

RECENT = 12
PAGE = "page"  # the page's folder within a scene folder


@dataclass(frozen=True)
class SceneLocation:
    """A scene folder, perhaps without a scene yet."""

    folder: Path
    title: str

    @property
    def key(self) -> str:
        """A short name that stands for the folder's whole path."""
        return f"{slug(self.title)}-{hashlib.sha256(str(self.folder).encode()).hexdigest()[:8]}"

    @property
    def trained(self) -> bool:
        return (self.folder / "scene.json").exists()

    @property
    def page(self) -> Path:
        return self.folder / PAGE

    @property
    def capture_path(self) -> Path | None:
        """The capture that a scene which is not trained yet is to be made of."""
        note = self.page / "capture.json"
        return Path(read_json(note)["path"]) if note.exists() else None


class Workspace:
    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder).expanduser().absolute()
        (self.folder / "scenes").mkdir(parents=True, exist_ok=True)

    def places(self) -> list[SceneLocation]:
        """All that can be opened, newest first."""
        recent = [Path(path) for path in self._recent()]
        folders = [*recent, *(p for p in (self.folder / "scenes").iterdir() if p.is_dir())]
        known = {folder: SceneLocation(folder, folder.name) for folder in folders if _is_place(folder)}
        return sorted(known.values(), key=lambda place: -_changed(place))

    def find(self, key: str) -> SceneLocation:
        """Raises InputError for a key that none of the places has."""
        for place in self.places():
            if place.key == key:
                return place
        raise InputError("this scene is not there any more, or was moved: choose another one")

    def open_path(self, path: str | Path) -> SceneLocation:
        """A scene folder or a capture named on the command line."""
        path = Path(path).expanduser().absolute()
        if (path / "scene.json").exists():
            if path.parent != self.folder / "scenes":
                write_json(self.folder / "recent.json", [str(path), *self._recent()][:RECENT])
            return SceneLocation(path, path.name)
        from nerf_insert.capture.capture import Capture

        return self.for_capture(Capture.load(path).path)

    def for_capture(self, capture: Path, name: str | None = None) -> SceneLocation:
        """The scene folder of a capture: the one that it has here already, else a new one."""
        for folder in (self.folder / "scenes").iterdir():
            place = SceneLocation(folder, folder.name)
            if _is_place(folder) and place.capture_path == capture:
                return place
        folder = self.free(self.folder / "scenes", name or capture.stem)
        write_json(folder / PAGE / "capture.json", {"path": str(capture)})
        return SceneLocation(folder, folder.name)

    def sample(self) -> SceneLocation:
        """The bundled sample."""
        return self.for_capture(sample_path(), "sample")

    def temporary(self) -> Path:
        """A folder for what need not outlive this process; those of processes that are no more go."""
        home = self.folder / "temporary"
        for folder in home.glob("*"):
            if not folder.name.isdigit() or not psutil.pid_exists(int(folder.name)):
                shutil.rmtree(folder, ignore_errors=True)
        own = home / str(os.getpid())
        shutil.rmtree(own, ignore_errors=True)
        own.mkdir(parents=True)
        return own

    @staticmethod
    def free(parent: Path, name: str) -> Path:
        """A folder in `parent` that does not exist yet, named after `name`."""
        name, number = slug(name), 1
        while (parent / (name if number == 1 else f"{name}-{number}")).exists():
            number += 1
        return parent / (name if number == 1 else f"{name}-{number}")

    def _recent(self) -> list[str]:
        file = self.folder / "recent.json"
        try:
            return [path for path in read_json(file) if isinstance(path, str)] if file.exists() else []
        except InputError:  # damaged: a list of what was opened lately is no reason not to start
            return []


def slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:40] or "scene"


def _is_place(folder: Path) -> bool:
    return (folder / "scene.json").exists() or (folder / PAGE / "capture.json").exists()


def _changed(place: SceneLocation) -> float:
    note = place.folder / "scene.json"
    return (note if note.exists() else place.page / "capture.json").stat().st_mtime
