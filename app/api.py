"""The page for programs: named endpoints with plain data, for gradio_client, and for MCP when that is on.

`scene` is the key that `scenes` lists; `draft` is a name of the caller's own choosing, 8 to 40 small letters
and digits, under which masks, mesh, box and words are kept until they become an edit.
"""

from __future__ import annotations

from dataclasses import asdict, fields, replace
from pathlib import Path

import gradio as gr
from gradio.data_classes import FileData
from gradio.utils import get_upload_folder

from nerf_insert.app import inpainter_list, mesh_overlay
from nerf_insert.app import model_list as listed
from nerf_insert.app.downloads import job_file, layer_zip, recipe_zip, scene_zip
from nerf_insert.app.draft_to_recipe import check_said, command_line, recipe_of
from nerf_insert.app.drafts import Draft, MeshPose
from nerf_insert.app.form_values import box_of, placing_of
from nerf_insert.app.services import Services
from nerf_insert.app.steps.common import Work, told
from nerf_insert.app.steps.edit import add_edit
from nerf_insert.app.steps.preview import add_preview
from nerf_insert.app.steps.results import add_export, add_orbit
from nerf_insert.app.uploads import check_mesh_file, take_picture, take_zip
from nerf_insert.errors import InputError

SAYABLE = (
    "prompt", "negative_prompt", "inpainter", "model", "options", "name", "seed", "steps", "rounds", "shell",
    "view_dependent", "dilate", "mesh_is_region",
)  # fmt: skip


def add_endpoints(services: Services) -> None:
    """Add the endpoints to the page that is being built."""

    def work(scene: str, draft: str) -> Work:
        return Work(services, {"scene": scene, "draft": draft})

    def answered(answer: dict) -> dict:
        if "error" in answer:
            raise InputError(answer["error"])
        return answer

    def scenes() -> list:
        """All scenes and captures that can be opened: key, title, and whether a 3D scene was built."""
        return [{"scene": p.key, "title": p.title, "trained": p.trained} for p in services.workspace.places()]

    def open_sample() -> dict:
        """The bundled sample capture, as a scene to build."""
        place = services.workspace.sample()
        return {"scene": place.key, "title": place.title, "trained": place.trained}

    def upload(file: dict) -> dict:
        """Take a zipped capture, or a scene that was downloaded here."""
        place = take_zip(uploaded(file), services.workspace)
        return {"scene": place.key, "title": place.title, "trained": place.trained}

    def build_scene(scene: str, steps: int = 1500) -> dict:
        """Start to build the 3D scene of a capture; the job."""
        place = services.workspace.find(scene)
        if place.trained or place.capture_path is None:
            raise InputError("this scene is built already")
        words = ["train", str(place.capture_path), "--out", str(place.folder), "--steps", str(int(steps))]
        return asdict(services.jobs.add(place.page, "train", f"Build {place.title}", lambda folder: words))

    def photographs(scene: str) -> dict:
        """The photographs' names and sizes."""
        return answered(services.scene({"scene": scene}))

    def mark(scene: str, draft: str, view: str, png: str) -> dict:
        """Keep a mask for a photograph: a PNG data URL with opacity where the edit is; empty removes it."""
        return answered(services.mark({"scene": scene, "draft": draft, "view": view, "png": png or None}))

    def set_mesh(scene: str, draft: str, file: dict, where: dict) -> dict:
        """Take a mesh; `where` may have translate, rotate (degrees about x, y, z) and scale. Its placing."""
        on, path = work(scene, draft), uploaded(file)
        check_mesh_file(path)
        first = mesh_overlay.first_placing(on.opened, path)
        return asdict(on.drafts.set_mesh(draft, path, placing_of({**asdict(first), **where})).placing)

    def drop(
        scene: str, draft: str, what: str, x: float, y: float, view: str = "", orbit: dict | None = None
    ) -> dict:
        """Stand `what`, mesh or box, on the surface that a photograph, or an orbit {yaw, pitch, distance},
        shows at x, y (shares of the picture's width and height). {"placing", "box"}"""
        asked = {"scene": scene, "draft": draft, "what": what, "x": x, "y": y, "view": view, "orbit": orbit}
        return answered(services.drop(asked))

    def move(scene: str, draft: str, where: dict) -> dict:
        """Change where the mesh stands: translate, rotate (degrees about x, y, z) or scale. {"placing",
        "box"}"""
        return answered(services.move({**where, "scene": scene, "draft": draft}))

    def undo(scene: str, draft: str) -> dict:
        """Take back the draft's last change of where the edit is. {"how": paint, mesh or box, "view"}"""
        return answered(services.undo({"scene": scene, "draft": draft}))

    def set_box(scene: str, draft: str, center: list, size: list, rotation: list) -> dict:
        """Set a box: center, side lengths, rotation in degrees; world coordinates."""
        made = box_of(center, size, rotation or [0.0, 0.0, 0.0])
        return asdict(work(scene, draft).drafts.change(draft, box=made).box)

    def say(scene: str, draft: str, words: dict) -> dict:
        """Set prompt, negative_prompt, inpainter, model, options, name, seed, steps, rounds, shell,
        view_dependent, dilate or mesh_is_region; all of the draft as it then is."""
        unknown = [key for key in words if key not in SAYABLE]
        if unknown:
            raise InputError(f"a draft has no {unknown[0]!r}; it may have {', '.join(SAYABLE)}")
        on = work(scene, draft)
        changed = replace(on.draft, **words)
        check_said(changed, on.drafts.allowed)
        if changed.has_region:
            recipe_of(changed, on.drafts, draft)  # raises for what cannot be there
        on.drafts.change(draft, **words)
        return {f.name: asdict(on.draft)[f.name] for f in fields(Draft)}

    def set_reference(scene: str, draft: str, file: dict) -> str:
        """Take a reference picture."""
        on = work(scene, draft)
        take_picture(uploaded(file), on.drafts.file(draft, "reference", "reference.png"))
        on.drafts.change(draft, reference="reference.png")
        return "reference.png"

    def forget(scene: str, draft: str, what: str) -> str:
        """Take masks, mesh, box, reference or kept (pictures of previews) out of the draft; which it was."""
        on = work(scene, draft)
        empty = {"masks": {}, "mesh": None, "box": None, "reference": None, "kept": {}}
        if what not in empty:
            raise InputError(f"a draft can forget {', '.join(empty)}")
        if what == "mesh":
            on.drafts.set_mesh(draft, None, MeshPose())
        else:
            on.drafts.change(draft, **{what: empty[what]})
        return what

    def inpainters() -> list:
        """Who can paint: name, whether it is available here, and a sentence on it or on what is missing."""
        return inpainter_list.available()

    def models() -> list:
        """The models of the inpainter diffusion, for its option `model` and others: name, whether it is here,
        kind, family, licence, gigabytes, note."""
        return listed.every()

    def region(scene: str, draft: str) -> dict:
        """Where the draft's region shows, {name: PNG data URL}, and the checks' words."""
        return answered(services.region({"scene": scene, "draft": draft}))

    def recipe(scene: str, draft: str) -> dict:
        """The recipe that the draft makes, and the command line that runs it."""
        on = work(scene, draft)
        made = recipe_of(on.draft, on.drafts, draft)
        file = on.drafts.folder(draft) / "recipe.yaml"
        return {"recipe": made.to_dict(), "command": command_line(made, on.place.folder, file)}

    def preview(scene: str, draft: str, views: int = 4) -> dict:
        """Paint a few views; the job."""
        on = work(scene, draft)
        on.need_trained()
        return asdict(add_preview(services, on, on.draft, int(views)))

    def keep(scene: str, draft: str, job: str, view: str, on: bool = True) -> dict:
        """Let the edit start from the picture that a preview painted of a photograph, or no longer; all that
        are kept, {photograph: file}."""
        asked = {"scene": scene, "draft": draft, "job": job, "view": view, "keep": on}
        return answered(services.keep_picture(asked))["kept"]

    def edit(scene: str, draft: str) -> dict:
        """Start the edit; the job."""
        on = work(scene, draft)
        on.need_trained()
        return asdict(add_edit(services, on, on.draft))

    def jobs(scene: str) -> dict:
        """The scene's jobs with their progress, newest first."""
        return answered(services.job_list({"scene": scene}))

    def job_pictures(scene: str, job: str) -> list:
        """What a job has made so far, newest last: label and url (a JPEG data URL), and of a preview view."""
        return answered(services.job_pictures({"scene": scene, "job": job}))["pictures"]

    def job_action(scene: str, job: str, action: str) -> dict:
        """pause, resume, stop or forget a job."""
        return answered(services.job_action({"scene": scene, "job": job, "action": action}))

    def layers(scene: str) -> dict:
        """The scene's layers, bottom to top."""
        return answered(services.layers({"scene": scene}))

    def layer_action(scene: str, action: str, number: int = 0, to: int = 0, name: str = "") -> dict:
        """enable, disable, remove, move (to), rename (name) a layer, or undo the last change."""
        asked = {"scene": scene, "action": action, "number": number, "to": to, "name": name}
        return answered(services.layer_action(asked))

    def render(
        scene: str, view: str = "", orbit: dict | None = None, width: int = 640, what: str = "edited"
    ) -> dict:
        """A picture from a photograph's camera, or from an orbit {yaw, pitch, distance}; `what`: edited,
        before or depth. {"url": JPEG data URL, "width", "height", "seconds"}"""
        return answered(
            services.render({"scene": scene, "view": view, "orbit": orbit, "width": width, "what": what})
        )

    def photograph(scene: str, view: str, width: int = 640) -> str:
        """A photograph as a JPEG data URL, at most so many pixels wide."""
        asked = {"scene": scene, "names": [view], "width": width}
        return answered(services.photographs(asked))["urls"][view]

    def orbit_video(scene: str, seconds: float = 4.0) -> dict:
        """Make a video around the edited scene; the job."""
        return asdict(add_orbit(services, work(scene, ""), seconds))

    def export(scene: str, kind: str) -> dict:
        """Write the edited scene as dataset, nerfstudio (a run), mesh or pointcloud; the job."""
        return asdict(add_export(services, work(scene, ""), kind))

    def download(scene: str, what: str, number: int = 0, job: str = "") -> dict:
        """A file to take away: layer or recipe (of the layer `number`), scene (with its photographs), or job
        (what an orbit_video or an export has made)."""
        on = work(scene, "")
        on.need_trained()
        to = services.downloads
        if what == "job":
            page = on.place.page
            file = job_file(services.jobs.get(page, job), services.jobs.folder(page, job), to)
        elif what == "scene":
            file = scene_zip(on.opened.scene, to)
        elif what in ("layer", "recipe"):
            file = {"layer": layer_zip, "recipe": recipe_zip}[what](on.opened.scene, number, to)
        else:
            raise InputError("what can be taken away is a layer, a recipe, the scene or what a job has made")
        return FileData(path=str(file), orig_name=file.name, size=file.stat().st_size).model_dump()

    for endpoint in (
        scenes, open_sample, upload, build_scene, photographs, photograph, mark, set_mesh, drop, move, undo,
        set_box, forget, inpainters, models, say, set_reference, region, recipe, preview, keep, edit, jobs,
        job_pictures, job_action, layers, layer_action, render, orbit_video, export, download,
    ):  # fmt: skip
        gr.api(told(endpoint), api_name=endpoint.__name__, concurrency_limit=None)


def uploaded(file: dict) -> Path:
    """The file that a client has uploaded, and none but such. Raises InputError."""
    path = Path(str((file or {}).get("path", ""))).resolve()
    if not path.is_relative_to(Path(get_upload_folder()).resolve()) or not path.is_file():
        raise InputError("upload the file first (gradio_client: handle_file)")
    return path
