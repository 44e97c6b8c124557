"""The workspace folder of the page, and the scenes that it offers.

    WORKSPACE/scenes/NAME/      scene folders that the page made; NAME/page/ holds the page's own files
    WORKSPACE/captures/NAME/    uploaded captures
    WORKSPACE/temporary/PID/    uploads and downloads, while the server runs
    WORKSPACE/recent.json       scenes elsewhere that were opened from the command line

A browser names a scene by its key, never by a path: only scenes that `locations` lists can be opened.
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
from nerf_insert.splats.files import READABLE, kind_of

MAX_RECENT = 12
CAPTURE = "capture"  # folder of a capture that the page makes, in the scene folder
PAGE = "page"  # the page's folder within a scene folder


@dataclass(frozen=True)
class SceneLocation:
    """A scene folder, possibly before its scene is trained."""

    folder: Path
    title: str

    @property
    def key(self) -> str:
        """Short name by which browsers and programs refer to this folder."""
        return f"{slug(self.title)}-{hashlib.sha256(str(self.folder).encode()).hexdigest()[:8]}"

    @property
    def trained(self) -> bool:
        """Whether the folder holds a trained scene."""
        return (self.folder / "scene.json").exists()

    @property
    def page(self) -> Path:
        """The page's own folder in the scene folder."""
        return self.folder / PAGE

    @property
    def capture_path(self) -> Path | None:
        """The capture to train the scene from; None for a scene that the page did not make."""
        note = self.page / "capture.json"
        return Path(read_json(note)["path"]) if note.exists() else None

    @property
    def source(self) -> Path | None:
        """The video, photographs or splats that it is made from; None where the capture came with cameras."""
        note = self.page / "capture.json"
        source = read_json(note).get("source") if note.exists() else None
        return Path(source) if source else None

    @property
    def from_splats(self) -> bool:
        """Whether the source is a file of splats, which is adopted and not trained."""
        return self.source is not None and self.source.name.lower().endswith(READABLE)

    @property
    def pending(self) -> bool:
        """Whether the capture, or the scene of a file of splats, is still to be made from its source."""
        if self.from_splats:
            return not self.trained
        path = self.capture_path if self.source is not None else None
        return path is not None and not self.trained and not (path / "transforms.json").exists()


class Workspace:
    """The folder that the page works in; created if missing."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder).expanduser().absolute()
        (self.folder / "scenes").mkdir(parents=True, exist_ok=True)

    def locations(self) -> list[SceneLocation]:
        """List all scenes and captures that can be opened, newest first."""
        recent = [Path(path) for path in self._recent()]
        folders = [*recent, *(p for p in (self.folder / "scenes").iterdir() if p.is_dir())]
        known = {folder: SceneLocation(folder, folder.name) for folder in folders if _is_scene_folder(folder)}
        return sorted(known.values(), key=lambda location: -_changed(location))

    def find(self, key: str) -> SceneLocation:
        """Return the scene of this key.

        Raises:
            InputError: No listed scene has this key.
        """
        for location in self.locations():
            if location.key == key:
                return location
        raise InputError("this scene no longer exists or was moved: choose another one")

    def open_path(self, path: str | Path) -> SceneLocation:
        """Return the location of a scene folder, or create one.

        Args:
            path: A scene, a capture, a video, photographs or splats.

        Raises:
            InputError: The path is none of these.
        """
        path = Path(path).expanduser().absolute()
        if (path / "scene.json").exists():
            if path.parent != self.folder / "scenes":
                write_json(self.folder / "recent.json", [str(path), *self._recent()][:MAX_RECENT])
            return SceneLocation(path, path.name)
        from nerf_insert.capture.capture import Capture
        from nerf_insert.reconstruction.make import is_source

        if path.is_file() and path.name.lower().endswith(READABLE):
            kind_of(path)
            return self.for_source(path, path.name.split(".")[0])
        if is_source(path):
            return self.for_source(path, path.stem)
        return self.for_capture(Capture.load(path).path)

    def for_capture(self, capture: Path, name: str | None = None) -> SceneLocation:
        """Return the scene folder of a capture in this workspace, creating it on first use."""
        for folder in (self.folder / "scenes").iterdir():
            location = SceneLocation(folder, folder.name)
            if _is_scene_folder(folder) and location.capture_path == capture:
                return location
        folder = self.free(self.folder / "scenes", name or capture.stem)
        write_json(folder / PAGE / "capture.json", {"path": str(capture)})
        return SceneLocation(folder, folder.name)

    def for_source(self, source: Path, name: str) -> SceneLocation:
        """Return the scene folder of a video, photographs or splats here, creating it on first use."""
        for folder in (self.folder / "scenes").iterdir():
            location = SceneLocation(folder, folder.name)
            if _is_scene_folder(folder) and location.source == source:
                return location
        folder = self.free(self.folder / "scenes", name)
        write_json(folder / PAGE / "capture.json", {"path": str(folder / CAPTURE), "source": str(source)})
        return SceneLocation(folder, folder.name)

    def sample(self) -> SceneLocation:
        """Return the location of the bundled sample."""
        return self.for_capture(sample_path(), "sample")

    def temporary(self) -> Path:
        """Create a folder for this process's temporary files and remove those of processes that ended."""
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
        """Return a path in `parent` that does not exist yet, based on `name`."""
        name, number = slug(name), 1
        while (parent / (name if number == 1 else f"{name}-{number}")).exists():
            number += 1
        return parent / (name if number == 1 else f"{name}-{number}")

    def _recent(self) -> list[str]:
        file = self.folder / "recent.json"
        try:
            return [path for path in read_json(file) if isinstance(path, str)] if file.exists() else []
        except InputError:  # damaged: start without the list of recent scenes
            return []


def slug(text: str) -> str:
    """Return the text as lower-case letters, digits and hyphens, fit for a file name."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:40] or "scene"


def _is_scene_folder(folder: Path) -> bool:
    return (folder / "scene.json").exists() or (folder / PAGE / "capture.json").exists()


def _changed(location: SceneLocation) -> float:
    note = location.folder / "scene.json"
    return (note if note.exists() else location.page / "capture.json").stat().st_mtime
