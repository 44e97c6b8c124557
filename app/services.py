"""What the page's widgets ask the server for: plain data in, plain data out.

Every call names the scene and the draft that it is about, so that browsers do not get in each other's way. A
call that fails answers {"error": sentence}; whatever is our own fault goes to the server's log.
"""

from __future__ import annotations

import base64
import binascii
import functools
import io
import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

from nerf_insert.app import arriving, live, outlines, placing
from nerf_insert.app.drafts import Box, Draft, Drafts, Placing
from nerf_insert.app.jobs import Jobs
from nerf_insert.app.opened import Library, Opened
from nerf_insert.app.recipes import region_of
from nerf_insert.app.workspace import Place, Workspace
from nerf_insert.errors import InputError, RunError
from nerf_insert.progress import duration
from nerf_insert.recipe import Recipe
from nerf_insert.scene import Scene

MAX_MASK = 16 << 20  # bytes
MOST_TURNS = 10_000
LARGE = 480  # pixels of the region's outline on the stage
log = logging.getLogger("nerf_insert.app")


def answering(call: Callable) -> Callable:
    """A sentence in the place of an exception."""

    @functools.wraps(call)
    def answer(self, data: dict) -> dict:
        try:
            return call(self, data)
        except (InputError, RunError) as error:
            return {"error": outlines.sentence(error)}
        except MemoryError:
            return {"error": "There is not enough memory for this: close other programs."}
        except Exception:
            log.exception("%s failed", call.__name__)
            return {"error": "Something in NeRF-Insert broke; the terminal that it runs in says what."}

    return answer


class Services:
    def __init__(self, workspace: Workspace, jobs: Jobs) -> None:
        self.workspace, self.jobs, self.library = workspace, jobs, Library()
        self._turns: dict[str, Any] = {}  # of each window, the picture that it asked for last
        self._depths: dict[Path, threading.Thread] = {}

    def place(self, data: dict) -> Place:
        return self.workspace.find(str(data.get("scene", "")))

    def opened(self, data: dict) -> Opened:
        return self.library.get(self.place(data))

    def draft(self, data: dict) -> tuple[Drafts, str, Draft]:
        drafts, key = Drafts(self.place(data).page), str(data.get("draft", ""))
        return drafts, key, drafts.load(key)

    # --- photographs

    @answering
    def scene(self, data: dict) -> dict:
        """{"title", "trained", "views": [{"name", "width", "height"}], "layers"}"""
        opened = self.opened(data)
        views = [{"name": v.name, "width": v.size[0], "height": v.size[1]} for v in opened.capture.views]
        if opened.place.trained:
            self._render_depths(opened)
        return {"title": opened.place.title, "trained": opened.place.trained, "views": views}

    @answering
    def photographs(self, data: dict) -> dict:
        """{"urls": {name: JPEG}} for {"names": [...], "width": pixels}."""
        opened, width = self.opened(data), min(int(data.get("width", 176)), 1600)
        names = [str(name) for name in data.get("names", [])][:64]
        return {"urls": {name: opened.photograph(opened.capture.view(name), width) for name in names}}

    # --- marking

    @answering
    def mark(self, data: dict) -> dict:
        """Keep what was painted on {"view"}: {"png"} with opacity where it is painted, none to forget it."""
        opened = self.opened(data)
        view = opened.capture.view(str(data.get("view", "")))
        drafts, key, _ = self.draft(data)
        png = data.get("png")
        draft = drafts.set_mask(key, view.name, _mask_png(png, view.size) if png else None)
        return {"masks": list(draft.masks)}

    @answering
    def mask(self, data: dict) -> dict:
        """{"png"}: what is painted on {"view"} so far, and {"lines"}: where the other masks' thing lies."""
        opened = self.opened(data)
        view = opened.capture.view(str(data.get("view", "")))
        drafts, key, draft = self.draft(data)
        masks = {name: str(drafts.file(key, "masks", file)) for name, file in draft.masks.items()}
        png = None
        if view.name in masks and Path(masks[view.name]).exists():
            png = "data:image/png;base64," + base64.b64encode(Path(masks[view.name]).read_bytes()).decode()
        return {"png": png, "lines": outlines.guide_lines(opened, masks, view), "masks": list(masks)}

    @answering
    def region(self, data: dict) -> dict:
        """Where the draft's region shows: {"overlays": {name: PNG}, "large": PNG or null for {"view"},
        "words", "problem", "complete", "masks"}."""
        opened = self.opened(data)
        drafts, key, draft = self.draft(data)
        answer: dict[str, Any] = {"overlays": {}, "large": None, "masks": list(draft.masks), "complete": True}
        if not draft.has_region:
            return answer | {"words": "", "problem": False}
        if len(draft.masks) == 1 and not draft.box and not (draft.mesh and draft.mesh_is_region):
            words = "One mask so far. Paint the same thing on a photograph from another side."
            return answer | {"words": words, "problem": False}
        try:
            region = outlines.region_of_tree(opened, region_of(draft, drafts, key))
        except InputError as problem:
            return answer | {"words": outlines.sentence(problem), "problem": True}
        if opened.place.trained:
            self._render_depths(opened)
        found = outlines.outlines(opened, region)
        overlays = {name: outlines.drawn(mask) for name, mask in found.masks.items()}
        view = data.get("view")
        if view:
            answer["large"] = outlines.large(opened, region, opened.capture.view(str(view)), LARGE)
        complete = found.complete or not opened.place.trained
        return answer | {
            "overlays": overlays,
            "words": found.words,
            "problem": found.problem,
            "complete": complete,
        }

    @answering
    def region_in(self, data: dict) -> dict:
        """{"large"}: the draft's region in the photograph {"view"}, null where it is not seen or is none."""
        opened = self.opened(data)
        drafts, key, draft = self.draft(data)
        try:
            region = outlines.region_of_tree(opened, region_of(draft, drafts, key))
        except InputError:
            return {"large": None}
        return {"large": outlines.large(opened, region, opened.capture.view(str(data["view"])), LARGE)}

    # --- renders

    @answering
    def render(self, data: dict) -> dict:
        """The scene from {"orbit"} or {"view"}, {"width"} pixels wide: {"url", "width", "height", "seconds"};
        {"what"}: edited, before or depth. {"stale": true} once the window {"tab"} asks for another {"turn"}.
        With {"mesh": true} also the draft's mesh and its handles."""
        opened = self.opened(data)
        width = min(int(data.get("width", 320)), live.WIDEST)
        camera = self._camera(opened, data, width)
        browser, turn = str(data.get("tab")), data.get("turn")
        if turn is not None:
            if len(self._turns) > MOST_TURNS:
                self._turns.clear()
            self._turns[browser] = turn
        made = live.render(
            opened,
            camera,
            str(data.get("what", "edited")),
            lambda: turn is None or self._turns.get(browser) == turn,
        )
        if made is None:
            return {"stale": True}
        url, rendered, seconds = made
        answer = {"url": url, "width": camera.width, "height": camera.height, "seconds": round(seconds, 3)}
        if data.get("mesh"):
            answer |= self._mesh_in(opened, data, camera, rendered.depth)
        return answer

    @answering
    def mesh(self, data: dict) -> dict:
        """The draft's mesh in the photograph {"view"}: {"mesh": PNG or null, "handles"}."""
        opened = self.opened(data)
        view = opened.capture.view(str(data.get("view", "")))
        camera = view.camera.scaled(min(int(data.get("width", 480)), live.WIDEST) / view.camera.width)
        depth = outlines.enlarged(opened.depth(view), camera) if opened.place.trained else None
        return self._mesh_in(opened, data, camera, depth)

    @answering
    def orbit_of(self, data: dict) -> dict:
        """The orbit that looks from where the photograph {"view"} was taken."""
        opened = self.opened(data)
        orbit = live.near_view(opened, opened.capture.view(str(data["view"])).camera)
        return {"yaw": orbit.yaw, "pitch": orbit.pitch, "distance": orbit.distance}

    # --- placing

    @answering
    def drop(self, data: dict) -> dict:
        """Stand {"what"}, mesh or box, on the surface at {"x"}, {"y"} (shares) of {"view"} or {"orbit"}."""
        opened = self.opened(data)
        drafts, key, draft = self.draft(data)
        if getattr(draft, "mesh" if data.get("what") == "mesh" else "box") is None:
            raise InputError("There is nothing to place yet: upload a mesh, or set a box.")
        camera = self._camera(opened, data, 640)
        point = placing.surface_at(opened, camera, float(data["x"]), float(data["y"]))
        if data["what"] == "mesh":
            path = drafts.file(key, "mesh", draft.mesh)
            draft = drafts.change(key, placing=placing.dropped(opened, path, draft.placing, point))
        else:
            draft = drafts.change(key, box=placing.dropped_box(opened, draft.box, point))
        return _where(draft)

    @answering
    def move(self, data: dict) -> dict:
        """Change where the mesh stands: {"translate"}, {"rotate"}, {"scale"}."""
        drafts, key, draft = self.draft(data)
        given = {k: data[k] for k in ("translate", "rotate", "scale") if data.get(k) is not None}
        now = placing_of({**draft.placing.__dict__, **given})
        return _where(drafts.change(key, placing=now))

    @answering
    def undo(self, data: dict) -> dict:
        """Take back the last change of where the edit is: {"how": how that was marked, "view": where}."""
        drafts, key, _ = self.draft(data)
        how, view = drafts.undo(key)
        return {"how": how, "view": view}

    # --- jobs

    @answering
    def job_list(self, data: dict) -> dict:
        """{"jobs": [...]} of the scene, newest first, each with the stages that it went through."""
        page = self.place(data).page
        jobs = self.jobs.list(page)[:8]
        return {"jobs": [self._described(page, job) for job in jobs], "trained": self.place(data).trained}

    @answering
    def job_action(self, data: dict) -> dict:
        """{"action"}: pause, resume, stop or forget the job {"job"}."""
        page, action = self.place(data).page, str(data.get("action"))
        if action not in ("pause", "resume", "stop", "forget"):
            raise InputError("a job can be paused, resumed, stopped or forgotten")
        getattr(self.jobs, action)(page, str(data.get("job")))
        return self.job_list(data)

    @answering
    def job_pictures(self, data: dict) -> dict:
        """What the job {"job"} has made so far, as pictures: {"count", "pictures": [{"url", "label"}]}; only
        {"count"} where that is still {"have"}."""
        opened, key = self.opened(data), str(data.get("job"))
        count, pictures = arriving.pictures(opened, self.jobs, key, int(data.get("have", -1)))
        return {"count": count} if pictures is None else {"count": count, "pictures": pictures}

    @answering
    def keep_picture(self, data: dict) -> dict:
        """Keep the picture that the preview {"job"} painted of the photograph {"view"}, or no longer, with
        {"keep": false}; without a {"view"} only say what is kept. The edit starts from these. {"kept":
        {view: file}}."""
        place = self.place(data)
        drafts, key, draft = self.draft(data)
        view = data.get("view")
        if view is not None and data.get("keep", True):
            picture = arriving.previewed(place, self.jobs, str(data.get("job")), str(view))
            draft = drafts.keep(key, str(view), picture, f"{data['job']}-{picture.name}")
        elif view is not None:
            draft = drafts.keep(key, str(view), None)
        return {"kept": draft.kept}

    # --- layers

    @answering
    def layers(self, data: dict) -> dict:
        """{"layers": [{"number", "name", "enabled", "about"}], "can_undo"}, bottom to top."""
        place = self.place(data)
        if not place.trained:
            return {"layers": [], "can_undo": False}
        scene = Scene.open(place.folder)
        rows = [
            {"number": k, "name": entry.name, "enabled": entry.enabled, "about": about(scene, entry)}
            for k, entry in enumerate(scene.layers, 1)
        ]
        return {"layers": rows, "can_undo": scene.can_undo}

    @answering
    def layer_action(self, data: dict) -> dict:
        """{"action"}: enable, disable, remove, undo, move {"to"} or rename {"name"} the layer {"number"}."""
        action, number = str(data.get("action")), int(data.get("number") or 0)
        scene = Scene.open(self.place(data).folder)
        with scene.locked():
            if action in ("enable", "disable"):
                scene.enable(number, action == "enable")
            elif action == "remove":
                scene.remove(number)
            elif action == "move":
                scene.move(number, int(data["to"]))
            elif action == "rename":
                scene.rename(number, str(data["name"])[:60])
            elif action == "undo":
                scene.undo()
            else:
                raise InputError("a layer can be enabled, disabled, moved, renamed and removed")
        return self.layers(data)

    def _described(self, page: Path, job) -> dict[str, Any]:
        stages, notes = stages_of(self.jobs.progress(page, job.key))
        ahead = self.jobs.waiting_before(page, job.key) if job.state == "waiting" else 0
        took = (job.ended or time.time()) - job.started if job.started else 0.0
        return {
            "key": job.key,
            "kind": job.kind,
            "title": job.title,
            "state": job.state,
            "message": outlines.sentence(job.message) if job.message else "",
            "stages": stages,
            "notes": notes[-4:],
            "ahead": ahead,
            "took": duration(took),
        }

    def _mesh_in(self, opened: Opened, data: dict, camera, depth) -> dict:
        drafts, key, draft = self.draft(data)
        if not draft.mesh:
            return {"mesh": None, "handles": {}}
        path = drafts.file(key, "mesh", draft.mesh)
        return {
            "mesh": placing.picture(path, draft.placing, camera, depth),
            "handles": placing.handles(opened, path, draft.placing, camera),
            **_where(draft),
        }

    def _camera(self, opened: Opened, data: dict, width: int):
        if data.get("view"):
            camera = opened.capture.view(str(data["view"])).camera
            return camera.scaled(min(1.0, width / camera.width))
        return live.camera_of(opened, live.Orbit.of(data.get("orbit") or {}), width)

    def _render_depths(self, opened: Opened) -> None:
        thread = self._depths.get(opened.place.folder)
        if (thread is None or not thread.is_alive()) and len(opened.depths) < len(opened.capture.views):
            self._depths[opened.place.folder] = outlines.render_depths(opened)


def about(scene: Scene, entry) -> str:
    """A few words on a layer."""
    try:
        recipe = Recipe.load(scene.layer_folder(entry) / "recipe.yaml")
    except InputError:
        return "its recipe is damaged"
    kind = "mesh" if "mesh" in recipe.region else next(iter(recipe.region))
    return f"{kind}, {recipe.inpainter}, seed {recipe.seed}"


def stages_of(events: list[dict]) -> tuple[list[dict], list[str]]:
    """A command's stages {"task", "share" 0..1, "left": words, "note", "done"}, and what it said."""
    stages: list[dict] = []
    notes: list[str] = []
    for event in events:
        kind, task = event.get("event"), event.get("task")
        if kind in ("message", "warning"):
            notes.append(
                ("Warning: " if kind == "warning" else "") + outlines.sentence(event.get("text", ""))
            )
        elif kind == "start":
            stages.append({"task": task, "share": 0.0, "left": "", "note": "", "done": False})
        elif stages and kind in ("progress", "end"):
            stage = next((s for s in reversed(stages) if s["task"] == task), stages[-1])
            stage["note"] = event.get("note") or stage["note"]
            if kind == "end":
                finished = bool(event.get("finished"))
                stage |= {"done": finished, "share": 1.0 if finished else stage["share"]}
                stage["left"] = duration(event.get("seconds") or 0.0) if finished else "stopped"
            else:
                left = event.get("left")
                stage |= {
                    "share": event.get("share", 0.0),
                    "left": f"{duration(left)} left" if left is not None else "",
                }
    return stages, notes


def placing_of(data: dict) -> Placing:
    """From numbers that a person typed. Raises InputError."""
    from nerf_insert.app.recipes import pose_matrix

    try:
        translate, rotate = (tuple(float(v) for v in data[key]) for key in ("translate", "rotate"))
        made = Placing(translate, rotate, float(data["scale"]))  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise InputError("The place of the mesh needs numbers in all fields.") from None
    if made.scale <= 0:
        raise InputError("The scale of the mesh must be above 0.")
    pose_matrix(made)
    return made


def box_of(centre: list, size: list, rotation: list) -> Box:
    """From numbers that a person typed. Raises InputError."""
    try:
        made = Box(*(tuple(float(v) for v in part) for part in (centre, size, rotation)))  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise InputError("The box needs numbers in all fields.") from None
    if min(made.size) <= 0:
        raise InputError("The size of the box must be above 0 in all three directions.")
    return made


def _where(draft: Draft) -> dict:
    where = {"placing": draft.placing.__dict__}
    return {**where, "box": draft.box.__dict__ if draft.box else None}


def _mask_png(url: str, size: tuple[int, int]) -> bytes:
    """What a browser painted, white on black in the photograph's own size. Raises InputError."""
    if not isinstance(url, str) or not url.startswith("data:image/png;base64,") or len(url) > MAX_MASK:
        raise InputError("what was painted did not arrive as a PNG of a sensible size: paint again")
    try:
        picture = Image.open(
            io.BytesIO(base64.b64decode(url.partition(",")[2], validate=True)), formats=("PNG",)
        )
        if max(picture.size) > 8192:
            raise InputError("what was painted is larger than any photograph: paint again")
        alpha = picture.convert("RGBA").getchannel("A").resize(size, Image.Resampling.BILINEAR)
    except (binascii.Error, OSError, ValueError, SyntaxError):
        raise InputError("what was painted did not arrive whole: paint again") from None
    mask = alpha.point(lambda value: 255 if value > 127 else 0)
    if mask.getbbox() is None:
        raise InputError("nothing is painted")
    buffer = io.BytesIO()
    mask.save(buffer, "PNG")
    return buffer.getvalue()
