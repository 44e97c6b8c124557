"""Drafts: the edit that a browser is preparing in a scene, before it becomes a recipe.

    SCENE/page/drafts/ID/   draft.json, masks/N.png, mesh/N/..., reference/..., kept/..., recipe.yaml

Every browser has its own ID, so two browsers never paint into the same mask. Positions are world coordinates,
lengths world units, angles degrees.
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
from typing import Any, Literal

from nerf_insert.errors import InputError
from nerf_insert.io.files import atomic_write, read_bytes, read_json, write_json

ID = re.compile(r"[a-z0-9]{8,40}")
UNDOABLE = (  # fields that undo restores
    *(
        "masks",
        "heal",
        "mesh",
        "mesh_pose",
        "mesh_is_region",
        "box",
        "combine",
        "dilate",
        "points",
        "not_points",
    ),
)
PAINTED = ("masks", "heal")  # fields with files in masks/
CONTINUOUS = ("mesh_pose", "box", "dilate")  # fields that dragging and typing change in small increments
MERGE_SECONDS = 1.0  # increments that follow one another more quickly are one undo step
MAX_UNDO_STEPS = 50
RENAMED = {
    "placing": "mesh_pose",
    "shell": "blend_width",
    "centre": "center",
}  # keys of drafts that version 0.1.0 saved


Painted = Literal["masks", "heal"]


@dataclass(frozen=True)
class MeshPose:
    """Pose of a mesh in the world: scale, then rotate about x, y and z in this order, then translate."""

    translate: tuple[float, float, float] = (0.0, 0.0, 0.0)
    rotate: tuple[float, float, float] = (0.0, 0.0, 0.0)
    scale: float = 1.0


@dataclass(frozen=True)
class Box:
    """An oriented box: center and side lengths in world units, rotation in degrees about x, y and z."""

    center: tuple[float, float, float]
    size: tuple[float, float, float]
    rotation: tuple[float, float, float] = (0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Draft:
    """Everything that a person has marked and entered for the next edit."""

    points: dict[str, list[list[float]]] = field(default_factory=dict)  # photograph name: stored pixels
    not_points: dict[str, list[list[float]]] = field(default_factory=dict)
    masks: dict[str, str] = field(default_factory=dict)  # photograph name: file in masks/
    heal: dict[str, str] = field(default_factory=dict)  # strokes to heal under, the same
    mesh: str | None = None  # N/file in mesh/
    mesh_pose: MeshPose = field(default_factory=MeshPose)
    mesh_is_region: bool = True
    box: Box | None = None
    combine: str = "union"  # of masks, mesh and box, or "intersection"
    dilate: float | None = None  # world units; None: the engine's default
    prompt: str = ""
    negative_prompt: str = ""
    reference: str | None = None
    inpainter: str = ""  # empty: chosen from the other fields
    model: str = ""  # of the inpainter `diffusion`; empty: the best on this machine
    options: dict[str, Any] = field(default_factory=dict)
    name: str = ""
    seed: int = 0
    steps: int | None = None
    rounds: int | None = None
    view_dependent: bool = False
    blend_width: float | None = None
    light: dict[str, Any] | None = None  # set by hand, as the option of `mesh` takes it; None: estimated
    shadow: str = ""  # cast, contact or none; empty: the inpainter's own
    kept: dict[str, str] = field(default_factory=dict)  # photograph name: previewed image in kept/
    # undo steps: the fields to restore, "time", and the "drag" that made them
    past: list[dict[str, Any]] = field(default_factory=list)

    @property
    def has_region(self) -> bool:
        """Whether a region is marked."""
        return bool(self.points or self.masks or self.heal or self.box or (self.mesh and self.mesh_is_region))


class Drafts:
    """The drafts of one scene. Changes are on disk when a method returns."""

    lock = threading.Lock()  # makes read, change and write of a draft atomic

    def __init__(self, page: Path, *allowed: Path) -> None:
        """Open the drafts of a scene.

        Args:
            page: The page's folder in the scene folder.
            allowed: Folders besides the scene's own whose files a draft may name.
        """
        self.root = page / "drafts"
        self.allowed = (page.parent, *allowed)

    def folder(self, draft: str) -> Path:
        """Return the folder of a draft.

        Raises:
            InputError: The ID is not valid.
        """
        if not ID.fullmatch(draft or ""):
            raise InputError("the page lost its session: reload it")
        return self.root / draft

    def load(self, draft: str) -> Draft:
        """Read a draft; an empty one if there is none yet or its file is damaged.

        Raises:
            InputError: The ID is not valid.
        """
        file = self.folder(draft) / "draft.json"
        try:
            return _draft(read_json(file)) if file.exists() else Draft()
        except (AttributeError, InputError, TypeError, ValueError, KeyError):  # damaged: start over
            return Draft()

    def change(
        self,
        draft: str,
        change: Callable[[Draft], Draft] | None = None,
        drag: str | None = None,
        **values: Any,
    ) -> Draft:
        """Apply `change`, or set the fields `values`, and return the new draft.

        Args:
            draft: Its ID.
            change: Returns the new draft.
            drag: An ID; all changes of one drag are one undo step, however long it takes.
            **values: Fields to set.
        """
        with self.lock:
            before = self.load(draft)
            after = change(before) if change else replace(before, **values)
            now = _with_undo_step(before, after, time.time(), drag)
            write_json(self.folder(draft) / "draft.json", asdict(now))
            if now.past != before.past:
                self._sweep(draft, now)
            return now

    def undo(self, draft: str) -> tuple[str, str | None]:
        """Undo the last change of the region.

        Returns:
            How the region was marked (click, paint, heal, mesh or box) and the photograph on which, if any.

        Raises:
            InputError: There is nothing to undo.
        """
        with self.lock:
            now = self.load(draft)
            if not now.past:
                raise InputError("There is nothing to undo.")
            *past, step = now.past
            write_json(self.folder(draft) / "draft.json", {**asdict(now), **step, "past": past})
        for how, keys in (("click", ("points", "not_points")), ("paint", ("masks",)), ("heal", ("heal",))):
            for key in keys:
                before, after = step.get(key, getattr(now, key)), getattr(now, key)
                for view in {**before, **after}:
                    if before.get(view) != after.get(view):
                        return how, view
        return "box" if "box" in step else "mesh", None

    def set_mask(self, draft: str, view: str, png: bytes | None, kind: Painted = "masks") -> Draft:
        """Save what was painted on a photograph, a mask or a stroke to heal under; None removes it."""

        def put(now: Draft) -> Draft:
            painted = {name: file for name, file in getattr(now, kind).items() if name != view}
            if png is not None:
                home = self.folder(draft) / "masks"
                painted[view] = f"{_next(home)}.png"
                atomic_write(home / painted[view], png)
            return replace(now, **{kind: painted})

        return self.change(draft, put)

    def add_point(self, draft: str, view: str, pixel: tuple[float, float], belongs: bool) -> Draft:
        """Add a click on a photograph: on the thing, or on what does not belong to it."""
        key = "points" if belongs else "not_points"

        def put(now: Draft) -> Draft:
            points = getattr(now, key)
            return replace(now, **{key: {**points, view: [*points.get(view, []), [*pixel]]}})

        return self.change(draft, put)

    def keep(self, draft: str, view: str, image: Path | None, name: str = "") -> Draft:
        """Copy a previewed image of a photograph under this name; None removes it."""
        if image is not None:
            atomic_write(self.file(draft, "kept", name), read_bytes(image))

        def put(now: Draft) -> Draft:
            kept = {other: file for other, file in now.kept.items() if other != view}
            return replace(now, kept=kept | ({view: Path(name).name} if image is not None else {}))

        return self.change(draft, put)

    def set_mesh(self, draft: str, path: Path | None, mesh_pose: MeshPose) -> Draft:
        """Copy a mesh file and the files that it names, replacing the present mesh; None removes it."""
        from nerf_insert.geometry.mesh_assets import companions

        def put(now: Draft) -> Draft:
            if path is None:
                return replace(now, mesh=None, mesh_pose=mesh_pose)
            homes = self.folder(draft) / "mesh"
            home = homes / str(_next(homes))
            for name in (path.name, *companions(path)):
                (home / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path.parent / name, home / name)
            return replace(now, mesh=f"{home.name}/{path.name}", mesh_pose=mesh_pose)

        return self.change(draft, put)

    def file(self, draft: str, kind: str, name: str) -> Path:
        """Return the path of a file of a draft.

        Raises:
            InputError: The name leads out of the draft's folder (drafts can come with somebody else's scene).
        """
        path = self.folder(draft) / kind / name
        if not path.resolve().is_relative_to(self.folder(draft).resolve()):
            raise InputError("this draft is damaged: mark the region again")
        return path

    def _sweep(self, draft: str, now: Draft) -> None:
        """Remove masks and meshes that no undo step needs."""
        steps = [asdict(now), *now.past]
        masks = {file for step in steps for kind in PAINTED for file in step.get(kind, {}).values()}
        meshes = {str(step["mesh"]).split("/")[0] for step in steps if step.get("mesh")}
        for file in (self.folder(draft) / "masks").glob("*.png"):
            if file.name not in masks:
                file.unlink()
        for home in (self.folder(draft) / "mesh").glob("*"):
            if home.name not in meshes:
                shutil.rmtree(home, ignore_errors=True)


def _with_undo_step(before: Draft, now: Draft, moment: float, drag: str | None) -> Draft:
    """Return `now` with an undo step that leads back to `before`, or further, to where a drag began."""
    changed = {name: value for name, value in asdict(before).items() if name in UNDOABLE}
    changed = {name: value for name, value in changed.items() if value != asdict(now)[name]}
    if not changed:
        return now
    *past, last = before.past or [{}]
    restored = last.keys() - {"time", "drag"}
    same = restored == changed.keys() and changed.keys() <= set(CONTINUOUS)
    same = same and not any(last[name] is None for name in restored)  # a new box is a step of its own
    same = same and last.get("drag") == drag and (drag or moment - last["time"] < MERGE_SECONDS)
    if same:
        step = last | {"time": moment}
    else:
        past, step = before.past, json.loads(json.dumps(changed)) | {"time": moment, "drag": drag}
    return replace(now, past=[*past, step][-MAX_UNDO_STEPS:])


def _next(folder: Path) -> int:
    """Return a number that no file or folder there has as its name."""
    return 1 + max((int(path.stem) for path in folder.glob("*") if path.stem.isdigit()), default=-1)


def _draft(data: dict[str, Any]) -> Draft:
    known = {f.name for f in fields(Draft)}
    data = {key: value for key, value in _with_new_names(data).items() if key in known}
    data["past"] = [_with_new_names(step) for step in data.get("past") or []]
    data["mesh_pose"] = MeshPose(**_tuples(data.get("mesh_pose") or {}))
    data["box"] = Box(**_tuples(_with_new_names(data["box"]))) if data.get("box") else None
    return Draft(**data)


def _with_new_names(data: dict[str, Any]) -> dict[str, Any]:
    return {RENAMED.get(key, key): value for key, value in data.items()}


def _tuples(data: dict) -> dict:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in data.items()}
