"""A draft: what a person is about to do in a scene, before it becomes a recipe.

    SCENE/page/drafts/ID/   draft.json, masks/N.png, mesh/N/..., reference/..., kept/..., recipe.yaml

Every browser has an ID of its own, so that two of them never paint into the same mask. Lengths and places
are in world units and world coordinates, angles in degrees.
"""

from __future__ import annotations

import json
import re
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from nerf_insert.errors import InputError
from nerf_insert.io.files import atomic_write, read_bytes, read_json, write_json

ID = re.compile(r"[a-z0-9]{8,40}")
WHERE = ("masks", "mesh", "placing", "mesh_is_region", "box", "dilate")  # what can be taken back
MOVED = ("placing", "box", "dilate")  # by dragging and typing, bit by bit
ONE_MOVE = 1.0  # seconds: bits that follow one another more quickly are one step
STEPS_BACK = 50


@dataclass(frozen=True)
class MeshPose:
    """Where a mesh stands: scaled, turned about the world's x, y and z axes in this order, moved."""

    translate: tuple[float, float, float] = (0.0, 0.0, 0.0)
    rotate: tuple[float, float, float] = (0.0, 0.0, 0.0)
    scale: float = 1.0


@dataclass(frozen=True)
class Box:
    center: tuple[float, float, float]
    size: tuple[float, float, float]
    rotation: tuple[float, float, float] = (0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Draft:
    masks: dict[str, str] = field(default_factory=dict)  # photograph's name: file in masks/
    mesh: str | None = None  # N/file in mesh/
    placing: MeshPose = field(default_factory=MeshPose)
    mesh_is_region: bool = True
    box: Box | None = None
    dilate: float | None = None  # None: what the engine finds right
    prompt: str = ""
    negative_prompt: str = ""
    reference: str | None = None
    inpainter: str = ""  # empty: what fits
    model: str = ""  # of the inpainter diffusion; empty: the best that is here
    options: dict[str, Any] = field(default_factory=dict)
    name: str = ""
    seed: int = 0
    steps: int | None = None
    rounds: int | None = None
    view_dependent: bool = False
    shell: float | None = None
    kept: dict[str, str] = field(default_factory=dict)  # photograph's name: previewed picture of it, in kept/
    past: list[dict[str, Any]] = field(default_factory=list)  # before each step: what it changed, and "time"

    @property
    def has_region(self) -> bool:
        return bool(self.masks or self.box or (self.mesh and self.mesh_is_region))


class Drafts:
    """The drafts of one scene's page folder. Changes are on disk when the method returns."""

    lock = threading.Lock()  # reading, changing and writing a draft is one step

    def __init__(self, page: Path, *allowed: Path) -> None:
        """`allowed`: folders beside the scene's own in which files lie that a draft may name."""
        self.root = page / "drafts"
        self.allowed = (page.parent, *allowed)

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
            before = self.load(draft)
            now = _remembering(before, change(before) if change else replace(before, **values), time.time())
            write_json(self.folder(draft) / "draft.json", asdict(now))
            if now.past != before.past:
                self._sweep(draft, now)
            return now

    def undo(self, draft: str) -> tuple[str, str | None]:
        """Take back the last change of where the edit is. How that was marked (paint, mesh or box), and the
        photograph that was painted on. Raises InputError where nothing is left."""
        with self.lock:
            now = self.load(draft)
            if not now.past:
                raise InputError("There is nothing left to take back.")
            *past, step = now.past
            write_json(self.folder(draft) / "draft.json", {**asdict(now), **step, "past": past})
        masks = step.get("masks", now.masks)
        painted = [view for view in {**masks, **now.masks} if masks.get(view) != now.masks.get(view)]
        return "paint" if painted else "box" if "box" in step else "mesh", (painted or [None])[0]

    def set_mask(self, draft: str, view: str, png: bytes | None) -> Draft:
        """Keep what was painted on a photograph, or with None forget it."""

        def put(now: Draft) -> Draft:
            masks = {name: file for name, file in now.masks.items() if name != view}
            if png is not None:
                home = self.folder(draft) / "masks"
                masks[view] = f"{_next(home)}.png"
                atomic_write(home / masks[view], png)
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

    def set_mesh(self, draft: str, path: Path | None, placing: MeshPose) -> Draft:
        """Take a copy of a mesh file (with the files that it names), in the place of any that was there."""
        from nerf_insert.geometry.mesh_assets import companions

        def put(now: Draft) -> Draft:
            if path is None:
                return replace(now, mesh=None, placing=placing)
            homes = self.folder(draft) / "mesh"
            home = homes / str(_next(homes))
            for name in (path.name, *companions(path)):
                (home / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path.parent / name, home / name)
            return replace(now, mesh=f"{home.name}/{path.name}", placing=placing)

        return self.change(draft, put)

    def file(self, draft: str, kind: str, name: str) -> Path:
        """Raises InputError for a name that leads out of the draft, which may have come with a scene."""
        path = self.folder(draft) / kind / name
        if not path.resolve().is_relative_to(self.folder(draft).resolve()):
            raise InputError("this draft is damaged: mark the place again")
        return path

    def _sweep(self, draft: str, now: Draft) -> None:
        """Remove masks and meshes that no step back leads to any more."""
        steps = [asdict(now), *now.past]
        masks = {file for step in steps for file in step.get("masks", {}).values()}
        meshes = {str(step["mesh"]).split("/")[0] for step in steps if step.get("mesh")}
        for file in (self.folder(draft) / "masks").glob("*.png"):
            if file.name not in masks:
                file.unlink()
        for home in (self.folder(draft) / "mesh").glob("*"):
            if home.name not in meshes:
                shutil.rmtree(home, ignore_errors=True)


def _remembering(before: Draft, now: Draft, moment: float) -> Draft:
    """The draft with the step back to what was before."""
    changed = {name: value for name, value in asdict(before).items() if name in WHERE}
    changed = {name: value for name, value in changed.items() if value != asdict(now)[name]}
    if not changed:
        return now
    *past, last = before.past or [{}]
    same = last.keys() - {"time"} == changed.keys() and changed.keys() <= set(MOVED)
    same = same and None not in last.values()  # a new box is a step of its own
    if same and moment - last["time"] < ONE_MOVE:
        step = last | {"time": moment}
    else:
        past, step = before.past, json.loads(json.dumps(changed)) | {"time": moment}
    return replace(now, past=[*past, step][-STEPS_BACK:])


def _next(folder: Path) -> int:
    """A number that no file or folder there has been named by yet."""
    return 1 + max((int(path.stem) for path in folder.glob("*") if path.stem.isdigit()), default=-1)


def _draft(data: dict) -> Draft:
    known = {f.name for f in fields(Draft)}
    data = {key: value for key, value in data.items() if key in known}
    data["placing"] = MeshPose(**_tuples(data.get("placing") or {}))
    data["box"] = Box(**_tuples(data["box"])) if data.get("box") else None
    return Draft(**data)


def _tuples(data: dict) -> dict:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in data.items()}
