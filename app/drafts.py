"""A draft: what a person is about to do in a scene, before it becomes a recipe.

    SCENE/page/drafts/ID/   draft.json, masks/NNN.png, mesh/..., reference.png, kept/..., recipe.yaml

Every browser has an ID of its own, so that two of them never paint into the same mask. Lengths and places
are in world units and world coordinates, angles in degrees.
"""

from __future__ import annotations

import re
import shutil
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from nerf_insert.errors import InputError
from nerf_insert.files import atomic_write, read_bytes, read_json, write_json

ID = re.compile(r"[a-z0-9]{8,40}")


@dataclass(frozen=True)
class Placing:
    """Where a mesh stands: scaled, turned about the world's x, y and z axes in this order, moved."""

    translate: tuple[float, float, float] = (0.0, 0.0, 0.0)
    rotate: tuple[float, float, float] = (0.0, 0.0, 0.0)
    scale: float = 1.0


@dataclass(frozen=True)
class Box:
    centre: tuple[float, float, float]
    size: tuple[float, float, float]
    rotation: tuple[float, float, float] = (0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Draft:
    masks: dict[str, str] = field(default_factory=dict)  # photograph's name: file in masks/
    mesh: str | None = None  # file in mesh/
    placing: Placing = field(default_factory=Placing)
    mesh_is_region: bool = True
    box: Box | None = None
    dilate: float | None = None  # None: what the engine finds right
    prompt: str = ""
    negative_prompt: str = ""
    reference: str | None = None
    inpainter: str = ""  # empty: `mesh` where there is one, else `fill`
    model: str = ""  # of the inpainter diffusion; empty: the best that is here
    options: dict[str, Any] = field(default_factory=dict)
    name: str = ""
    seed: int = 0
    steps: int | None = None
    rounds: int | None = None
    view_dependent: bool = False
    shell: float | None = None
    kept: dict[str, str] = field(default_factory=dict)  # photograph's name: previewed picture of it, in kept/

    @property
    def has_region(self) -> bool:
        return bool(self.masks or self.box or (self.mesh and self.mesh_is_region))


class Drafts:
    """The drafts of one scene's page folder. Changes are on disk when the method returns."""

    lock = threading.Lock()  # reading, changing and writing a draft is one step

    def __init__(self, page: Path) -> None:
        self.root = page / "drafts"

    def folder(self, draft: str) -> Path:
        """Raises InputError for an ID that is none."""
        if not ID.fullmatch(draft or ""):
            raise InputError("this page has lost track of what it works on: load it again")
        return self.root / draft

    def load(self, draft: str) -> Draft:
        file = self.folder(draft) / "draft.json"
        try:
            return _draft(read_json(file)) if file.exists() else Draft()
        except (InputError, TypeError, ValueError, KeyError):  # of another version: start afresh
            return Draft()

    def change(self, draft: str, change: Callable[[Draft], Draft] | None = None, **values: Any) -> Draft:
        """Apply `change`, or set `values`; the draft as it then is."""
        with self.lock:
            now = self.load(draft)
            now = change(now) if change else replace(now, **values)
            write_json(self.folder(draft) / "draft.json", asdict(now))
            return now

    def set_mask(self, draft: str, view: str, png: bytes | None) -> Draft:
        """Keep what was painted on a photograph, or with None forget it."""

        def put(now: Draft) -> Draft:
            masks = {name: file for name, file in now.masks.items() if name != view}
            if png is not None:
                taken = {int(Path(file).stem) for file in masks.values()}
                file = now.masks.get(view) or f"{min(set(range(len(taken) + 1)) - taken):03d}.png"
                atomic_write(self.folder(draft) / "masks" / file, png)
                masks[view] = file
            return replace(now, masks=masks)

        return self.change(draft, put)

    def keep(self, draft: str, view: str, picture: Path | None, name: str = "") -> Draft:
        """Take a copy of a previewed picture of a photograph under this name, or with None forget it."""
        if picture is not None:
            atomic_write(self.file(draft, "kept", name), read_bytes(picture))

        def put(now: Draft) -> Draft:
            kept = {other: file for other, file in now.kept.items() if other != view}
            return replace(now, kept=kept | ({view: Path(name).name} if picture is not None else {}))

        return self.change(draft, put)

    def set_mesh(self, draft: str, path: Path | None, placing: Placing) -> Draft:
        """Take a copy of a mesh file (with the files that it names), in the place of any that was there."""
        from nerf_insert.mesh_files import companions

        home = self.folder(draft) / "mesh"
        shutil.rmtree(home, ignore_errors=True)
        if path is not None:
            for name in (path.name, *companions(path)):
                (home / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path.parent / name, home / name)
        return self.change(draft, mesh=path.name if path else None, placing=placing)

    def file(self, draft: str, kind: str, name: str) -> Path:
        return self.folder(draft) / kind / Path(name).name


def _draft(data: dict) -> Draft:
    known = {f.name for f in fields(Draft)}
    data = {key: value for key, value in data.items() if key in known}
    data["placing"] = Placing(**_tuples(data.get("placing") or {}))
    data["box"] = Box(**_tuples(data["box"])) if data.get("box") else None
    return Draft(**data)


def _tuples(data: dict) -> dict:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in data.items()}
