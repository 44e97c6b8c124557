"""The page for programs: named endpoints with plain data, for gradio_client and, where enabled, MCP.

`scene` is a key that the endpoint `scenes` lists. `draft` is a name of the caller's choosing, 8 to 40
lower-case letters and digits, under which masks, mesh, box and content are kept until they become an edit.
Positions are world coordinates, lengths world units, angles degrees; positions in images are fractions of
their width and height. What of the input is not honored is listed in an answer's `warnings`. Gradio shows the
docstrings of the endpoints.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.data_classes import FileData
from gradio.utils import get_upload_folder

from nerf_insert.app import inpainter_list, mesh_overlay, model_list
from nerf_insert.app.capture_jobs import add_capture
from nerf_insert.app.downloads import job_file, zip_file
from nerf_insert.app.draft_to_recipe import check_content, command_line, recipe_from_draft
from nerf_insert.app.drafts import RENAMED, Draft, MeshPose
from nerf_insert.app.form_values import parse_box, parse_mesh_pose
from nerf_insert.app.mesh_uploads import gathered
from nerf_insert.app.messages import as_sentence
from nerf_insert.app.services import Services
from nerf_insert.app.steps.common import Context, show_errors
from nerf_insert.app.steps.edit import add_edit
from nerf_insert.app.steps.floaters import add_cleaning, add_search
from nerf_insert.app.steps.light import add_estimate, latest_estimate
from nerf_insert.app.steps.open import add_training
from nerf_insert.app.steps.preview import add_preview
from nerf_insert.app.steps.results import add_export, add_orbit
from nerf_insert.app.uploads import take_files, take_image
from nerf_insert.app.workspace import SceneLocation
from nerf_insert.errors import InputError, warn, warnings_to
from nerf_insert.geometry.up_axis import UpAxis
from nerf_insert.io import schema

CONTENT = (
    "prompt", "negative_prompt", "inpainter", "model", "options", "name", "seed", "steps", "rounds",
    "blend_width", "view_dependent", "dilate", "mesh_is_region", "combine", "light", "shadow",
)  # fmt: skip
EMPTY: dict[str, Any] = {
    "points": {},
    "not_points": {},
    "masks": {},
    "heal": {},
    "mesh": None,
    "box": None,
    "reference": None,
    "kept": {},
}


def add_endpoints(services: Services) -> None:
    """Add the endpoints to the page that is being built."""

    def context(scene: str, draft: str = "") -> Context:
        return Context(services, {"scene": scene, "draft": draft})

    def scenes() -> list:
        """List all scenes and captures that can be opened: key, title, whether the 3D scene is built."""
        return [_listed(location) for location in services.workspace.locations()]

    def open_sample() -> dict:
        """Open the bundled sample capture."""
        return _listed(services.workspace.sample())

    def upload(file: dict | list) -> dict:
        """Upload a capture, a downloaded scene or photographs in a zip, a video, or a list of photographs.

        From a video, or photographs without camera positions, a capture is made: a job of the scene. A file
        of Gaussian splats is taken as well: a job makes a scene of it.
        """
        files = [uploaded(one) for one in (file if isinstance(file, list) else [file])]
        location = take_files(files, services.workspace)
        if location.pending:
            add_capture(services, location)
        return _listed(location)

    def build_scene(scene: str, steps: int = 1500) -> dict:
        """Start building the 3D scene of a capture; returns the job."""
        return asdict(add_training(services, services.workspace.find(scene), int(steps)))

    def photographs(scene: str) -> dict:
        """Return the names and sizes of the photographs."""
        return answered(services.scene({"scene": scene}))

    def mark(scene: str, draft: str, view: str, png: str, heal: bool = False) -> dict:
        """Set the mask of a photograph: a PNG data URL that is opaque in the mask; empty removes it.

        With `heal` it is a stroke of a few pixels, under which the surface is healed.
        """
        call = {"scene": scene, "draft": draft, "view": view, "png": png or None, "heal": heal}
        return answered(services.mark(call))

    def click(scene: str, draft: str, view: str, x: float, y: float, belongs: bool = True) -> dict:
        """Click on an object at x, y (fractions of the photograph `view`), or on what is not part of it.

        Returns all clicks: {"points": {view: [[x, y]]}, "not_points"}.
        """
        sent = {"scene": scene, "draft": draft, "view": view, "x": x, "y": y, "belongs": belongs}
        return answered(services.click(sent))

    def set_mesh(scene: str, draft: str, file: dict, where: dict) -> dict:
        """Upload a mesh, or a zip of one with its materials and textures. Returns its pose.

        `where` may have translate, rotate (about x, y, z), scale, and up_axis, the axis of the file that is
        turned to the scene's up (x, y, z, -x, -y, -z or none; y for glTF) where rotate is not given.
        """
        on = context(scene, draft)
        up_axis = schema.parse(where.get("up_axis"), UpAxis | None, "up_axis")
        with gathered([uploaded(file)]) as path:
            initial = asdict(mesh_overlay.initial_pose(on.open_scene, path, up_axis))
            pose = parse_mesh_pose({**initial, **where})
            return asdict(on.drafts.set_mesh(draft, path, pose).mesh_pose)

    def drop(
        scene: str, draft: str, what: str, x: float, y: float, view: str = "", orbit: dict | None = None
    ) -> dict:
        """Stand the mesh or box (`what`) on the surface that an image shows at x, y.

        The image is a photograph (`view`) or an orbit {yaw, pitch, distance}. Returns {"mesh_pose", "box"}.
        """
        call = {"scene": scene, "draft": draft, "what": what, "x": x, "y": y, "view": view, "orbit": orbit}
        return _with_old_keys(answered(services.drop(call)))

    def move(scene: str, draft: str, where: dict) -> dict:
        """Set translate, rotate (about x, y, z) or scale of the mesh. Returns {"mesh_pose", "box"}."""
        return _with_old_keys(answered(services.move({**where, "scene": scene, "draft": draft})))

    def undo(scene: str, draft: str) -> dict:
        """Undo the last change of the draft's region.

        Returns {"how": click, paint, heal, mesh or box, "view"}.
        """
        return answered(services.undo({"scene": scene, "draft": draft}))

    def set_box(scene: str, draft: str, center: list, size: list, rotation: list) -> dict:
        """Set a box by its center, side lengths and rotation about x, y, z."""
        box = parse_box(center, size, rotation or [0.0, 0.0, 0.0])
        context(scene, draft).drafts.change(draft, box=box)
        return asdict(box)

    def content(scene: str, draft: str, values: dict) -> dict:
        """Set fields of a draft and return the whole draft.

        The fields: prompt, negative_prompt, inpainter, model, options, name, seed, steps, rounds,
        blend_width, view_dependent, dilate, mesh_is_region, combine (union or intersection), light (as the
        option `light` of the inpainter mesh; null: estimated), shadow (cast, contact, none, or "" for what
        fits the edit).
        """
        values = {RENAMED.get(key, key): value for key, value in values.items()}
        unknown = [key for key in values if key not in CONTENT]
        if unknown:
            raise InputError(f"a draft has no field {unknown[0]!r}; it has {', '.join(CONTENT)}")
        on = context(scene, draft)
        changed = replace(on.draft, **values)
        check_content(changed, on.drafts.allowed)
        if changed.has_region:
            recipe_from_draft(changed, on.drafts, draft)  # raises if no recipe can be made
        on.drafts.change(draft, **values)
        return _with_old_keys({field.name: asdict(on.draft)[field.name] for field in fields(Draft)})

    def say(scene: str, draft: str, words: dict) -> dict:
        """Do as `content` does (the old name)."""
        return content(scene, draft, words)

    def set_reference(scene: str, draft: str, file: dict) -> str:
        """Upload a reference image."""
        on = context(scene, draft)
        take_image(uploaded(file), on.drafts.file(draft, "reference", "reference.png"))
        on.drafts.change(draft, reference="reference.png")
        return "reference.png"

    def forget(scene: str, draft: str, what: str) -> str:
        """Remove points, not_points, masks, heal (strokes), mesh, box, reference or kept (images)."""
        on = context(scene, draft)
        if what not in EMPTY:
            raise InputError(f"a draft can forget {', '.join(EMPTY)}")
        if what == "mesh":
            on.drafts.set_mesh(draft, None, MeshPose())
        else:
            on.drafts.change(draft, **{what: EMPTY[what]})
        return what

    def inpainters() -> list:
        """List the inpainters: name, whether it is available here, and what it does or what is missing."""
        return inpainter_list.available_inpainters()

    def models() -> list:
        """List the models for the inpainter diffusion (its option `model` and others).

        Each has its name, whether it is on this machine, kind, family, licence, gigabytes and a note.
        """
        return model_list.all_models()

    def region(scene: str, draft: str) -> dict:
        """Return where the draft's region shows, {name: PNG data URL}, and what the checks say of it."""
        return answered(services.region({"scene": scene, "draft": draft}))

    def recipe(scene: str, draft: str) -> dict:
        """Return the draft's recipe, and the command line that runs it."""
        on = context(scene, draft)
        made = recipe_from_draft(on.draft, on.drafts, draft)
        file = on.drafts.folder(draft) / "recipe.yaml"
        return {"recipe": made.to_dict(), "command": command_line(made, on.location.folder, file)}

    def preview(scene: str, draft: str, views: int = 4) -> dict:
        """Start painting a few views; returns the job."""
        return asdict(add_preview(context(scene, draft), int(views)))

    def keep(scene: str, draft: str, job: str, view: str, on: bool = True) -> dict:
        """Let the edit start from the image that a preview painted of a photograph, or no longer.

        Returns all kept images, {photograph: file}.
        """
        call = {"scene": scene, "draft": draft, "job": job, "view": view, "keep": on}
        return answered(services.keep_image(call))["kept"]

    def estimate_light(scene: str, draft: str) -> dict:
        """Start estimating the light where the draft's mesh stands; returns the job."""
        return asdict(add_estimate(context(scene, draft)))

    def light(scene: str, draft: str) -> dict:
        """Return the light that was estimated last, as `nerf-insert light` prints it."""
        return latest_estimate(context(scene, draft))

    def edit(scene: str, draft: str) -> dict:
        """Start the edit; returns the job."""
        return asdict(add_edit(context(scene, draft)))

    def jobs(scene: str) -> dict:
        """List the scene's jobs with their progress, newest first."""
        answer = answered(services.job_list({"scene": scene}))
        for job in answer["jobs"]:
            job["stages"] = [_with_old_keys(stage) for stage in job["stages"]]
        return answer

    def job_images(scene: str, job: str) -> list:
        """List the images that a job has produced so far, newest last.

        Each has `label` and `url`, a JPEG data URL; those of a preview also `view`, the photograph's name.
        """
        return answered(services.job_images({"scene": scene, "job": job}))["images"]

    def job_action(scene: str, job: str, action: str) -> dict:
        """Pause, resume, stop or forget a job; returns the jobs."""
        return answered(services.job_action({"scene": scene, "job": job, "action": action}))

    def layers(scene: str) -> dict:
        """List the scene's layers, bottom to top."""
        return answered(services.layers({"scene": scene}))

    def layer_action(scene: str, action: str, number: int = 0, to: int = 0, name: str = "") -> dict:
        """Enable, disable, remove, move (to) or rename (name) a layer, or undo the last change."""
        call = {"scene": scene, "action": action, "number": number, "to": to, "name": name}
        return answered(services.layer_action(call))

    def render(
        scene: str, view: str = "", orbit: dict | None = None, width: int = 640, what: str = "edited"
    ) -> dict:
        """Render the scene from a photograph's camera (`view`) or an orbit {yaw, pitch, distance}.

        `what`: edited, before or depth. Returns {"url": JPEG data URL, "width", "height", "seconds"}.
        """
        return answered(
            services.render({"scene": scene, "view": view, "orbit": orbit, "width": width, "what": what})
        )

    def photograph(scene: str, view: str, width: int = 640) -> str:
        """Return a photograph as a JPEG data URL, at most `width` pixels wide."""
        call = {"scene": scene, "names": [view], "width": width}
        return answered(services.photographs(call))["urls"][view]

    def orbit_video(scene: str, seconds: float = 4.0) -> dict:
        """Start rendering a video around the edited scene; returns the job."""
        return asdict(add_orbit(context(scene), seconds))

    def find_floaters(scene: str) -> dict:
        """Start looking for floaters, pieces in the air that few photographs confirm; returns the job."""
        return asdict(add_search(context(scene)))

    def remove_floaters(scene: str, job: str) -> dict:
        """Start removing, as a layer, what a job of `find_floaters` found; returns the new job."""
        return asdict(add_cleaning(context(scene), job))

    def export(scene: str, kind: str) -> dict:
        """Start exporting the edited scene; returns the job.

        `kind`: dataset, nerfstudio (a run), mesh, pointcloud, splat (a PLY file) or html
        (a web page).
        """
        return asdict(add_export(context(scene), kind))

    def download(scene: str, what: str, number: int = 0, job: str = "") -> dict:
        """Download a layer or its recipe, the scene with its photographs, or the output of a job.

        `what`: layer or recipe (of the layer `number`), scene, or job (an orbit_video or export, by its key).
        """
        on = context(scene)
        on.require_trained()
        if what == "job":
            page = on.location.page
            file = job_file(services.jobs.get(page, job), services.jobs.folder(page, job), services.downloads)
        elif what in ("layer", "recipe", "scene"):
            file = zip_file(what, on.open_scene.scene, number, services.downloads)
        else:
            raise InputError("what can be downloaded is a layer, a recipe, a scene or a job")
        return FileData(path=str(file), orig_name=file.name, size=file.stat().st_size).model_dump()

    for endpoint in (
        scenes, open_sample, upload, build_scene, photographs, photograph, click, mark, set_mesh, drop, move,
        undo, set_box, forget, inpainters, models, content, set_reference, region, recipe, preview, keep,
        estimate_light, light, edit, jobs, job_images, job_action, layers, layer_action, render, orbit_video,
        find_floaters, remove_floaters, export, download,
    ):  # fmt: skip
        _add(endpoint, endpoint.__name__)
    _add(say, "say")  # names of version 0.1.0
    _add(job_images, "job_pictures")


def answered(answer: dict[str, Any]) -> dict[str, Any]:
    """Return the answer of a service.

    Raises:
        InputError: The answer is an error.
    """
    if "error" in answer:
        raise InputError(answer["error"])
    return answer


def uploaded(file: dict[str, Any] | None) -> Path:
    """Return the path of a file that a client uploaded.

    Raises:
        InputError: It was not uploaded.
    """
    path = Path(str((file or {}).get("path", ""))).resolve()
    if not path.is_relative_to(Path(get_upload_folder()).resolve()) or not path.is_file():
        raise InputError("upload the file first (gradio_client: handle_file)")
    return path


def _add(endpoint: Callable[..., Any], name: str) -> None:
    gr.api(show_errors(with_warnings(endpoint)), api_name=name, concurrency_limit=None)


def with_warnings(endpoint: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate an endpoint whose answer is a dict so that it lists under "warnings" what was warned of."""

    @functools.wraps(endpoint)
    def answer(*inputs: Any) -> Any:
        heard: list[str] = []
        with warnings_to(heard.append):
            found = endpoint(*inputs)
        if heard and isinstance(found, dict):
            return {**found, "warnings": [*found.get("warnings", ()), *map(as_sentence, heard)]}
        for text in heard:
            warn(text)
        return found

    return answer


def _listed(location: SceneLocation) -> dict[str, Any]:
    return {"scene": location.key, "title": location.title, "trained": location.trained}


def _with_old_keys(answer: dict[str, Any]) -> dict[str, Any]:
    """Return an answer that also has the keys by which version 0.1.0 named some values."""
    old = {"placing": "mesh_pose", "shell": "blend_width", "share": "fraction"}
    return answer | {before: answer[now] for before, now in old.items() if now in answer}
