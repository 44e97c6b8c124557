"""Look and keep: before and after, the layers, an orbit video, files to take away."""

from __future__ import annotations

import secrets
from pathlib import Path

import gradio as gr

from nerf_insert.app import downloads
from nerf_insert.app.draft_to_recipe import command_line
from nerf_insert.app.scene_cache import RENDERING
from nerf_insert.app.steps.common import MANY, PRIVATE, Page, Session, Work, stage_value, stamped, told
from nerf_insert.app.widgets import widget
from nerf_insert.errors import InputError
from nerf_insert.io.images import to_uint8
from nerf_insert.rendering.stack import LayerStack
from nerf_insert.scene.recipe import Recipe

WIDTH = 800  # pixels of the pictures that are compared
KINDS = ["render", "export"]
EXPORTS = {
    "dataset": "Edited capture",
    "nerfstudio": "nerfstudio run",
    "mesh": "Scene as a mesh",
    "pointcloud": "Scene as points",
}


def build(page: Page) -> dict:
    services, session = page.services, page.session
    gr.Markdown("### Before and after, from the chosen photograph")
    slider = gr.ImageSlider(
        label="Before and after", show_label=False, type="numpy", elem_id="slider", max_height=360
    )
    video = gr.Button("Make an orbit video", elem_id="make-video")
    gr.Markdown("### Layers")
    layers = widget("layers", services, {"scene": None})
    jobs = widget("jobs", services, {"scene": None, "kinds": KINDS}, "look-jobs")
    player = gr.Video(label="Orbit", visible=False, elem_id="orbit-video", autoplay=False)
    gr.Markdown("### Keep")
    number = gr.Dropdown([], label="Layer", elem_id="which-layer")
    with gr.Row():
        layer = gr.Button("Layer (zip)", elem_id="get-layer", size="sm")
        recipe = gr.Button("Recipe (zip)", elem_id="get-recipe", size="sm")
        scene = gr.Button("Whole scene (zip)", elem_id="get-scene", size="sm")
    with gr.Row():
        dataset = gr.Button("Edited capture", elem_id="get-dataset", size="sm")
        native = gr.Button("nerfstudio run", elem_id="get-nerfstudio", size="sm")
    ready = gr.File(label="Ready to download", visible=False, elem_id="download", interactive=False)
    command = gr.Textbox(
        "",
        label="The command that repeats this layer",
        lines=3,
        buttons=["copy"],
        interactive=False,
        elem_id="layer-command",
    )
    to = services.downloads

    def before_and_after(session: Session):
        work = Work(services, session)
        capture = work.opened.capture
        if not work.place.trained:
            return None
        view = capture.view(session["view"]) if session["view"] else capture.views[0]
        stack, camera = work.opened.stack(), view.camera.scaled(min(1.0, WIDTH / view.camera.width))
        with RENDERING:
            pair = [s.render_image(camera).rgb for s in (LayerStack(stack.base), stack)]
        return tuple(to_uint8(picture).cpu().numpy() for picture in pair)

    def rows(session: Session):
        """Choices for the layer's dropdown, newest chosen, with its command."""
        place = Work(services, session).place
        entries = Work(services, session).opened.scene.layers if place.trained else []
        choices = [(f"{k}  {entry.name}", k) for k, entry in enumerate(entries, 1)]
        chosen = len(entries) or None
        return [gr.Dropdown(choices=choices, value=chosen), command_of(chosen, session) if chosen else ""]

    def command_of(which: int | None, session: Session) -> str:
        if not which:
            return ""
        opened_scene = Work(services, session).opened.scene
        file = opened_scene.layer_folder(opened_scene.layers[int(which) - 1]) / "recipe.yaml"
        if not file.exists():
            return "This layer came without its recipe."
        return command_line(Recipe.load(file), opened_scene.folder, file)

    def changed(session: Session):
        now = stamped(session)
        return [now, stage_value(now), *rows(session)]

    def get(kind: str):
        def give(which: int | None, session: Session):
            opened_scene = Work(services, session).opened.scene
            if kind == "scene":
                file = downloads.scene_zip(opened_scene, to)
            else:
                if not which:
                    raise InputError("Choose a layer first.")
                file = getattr(downloads, f"{kind}_zip")(opened_scene, int(which), to)
            return gr.File(value=str(file), visible=True)

        return told(give)

    def make_video(session: Session):
        add_orbit(services, Work(services, session))
        return value(session)

    def export(kind: str):
        def give(session: Session):
            add_export(services, Work(services, session), kind)
            return value(session)

        return told(give)

    def finished(session: Session, event: gr.EventData):
        given = event._data or {}
        work = Work(services, session)
        files = [str(file) for file in services.finished(work.place, str(given.get("kind")))]
        if given.get("state") != "done" or not files:
            return [gr.skip(), gr.skip()]
        if given.get("kind") == "render":
            return [gr.Video(value=files[0], visible=True), gr.skip()]
        return [gr.skip(), gr.File(value=files, visible=True)]

    def value(session: Session) -> dict:
        return {"scene": session["scene"], "kinds": KINDS, "stamp": secrets.token_hex(4)}

    def refresh(session: Session):
        hidden = gr.Video(value=None, visible=False), gr.File(value=None, visible=False)
        if not session["scene"]:
            nothing = {"scene": None}
            none = gr.Dropdown(choices=[], value=None)
            return [nothing, {**nothing, "kinds": KINDS}, none, "", None, *hidden]
        place = Work(services, session).place
        films, exports = (services.finished(place, kind) for kind in KINDS)
        shown = gr.Video(value=str(films[0]), visible=True) if films else hidden[0]
        files = gr.File(value=[str(file) for file in exports], visible=True) if exports else hidden[1]
        layers_value = {"scene": session["scene"], "stamp": secrets.token_hex(4)}
        old = gr.skip() if session["step"] == "look" else None
        return [layers_value, value(session), *rows(session), old, shown, files]

    page.when_opened(refresh, [layers, jobs, number, command, slider, player, ready])
    page.while_at("look", before_and_after, [slider], show_progress="minimal")
    video.click(told(make_video), session, jobs, **PRIVATE)
    layers.changed(told(changed), session, [session, page.stage, number, command], **MANY)
    number.input(told(command_of), [number, session], command, **PRIVATE)
    for button, kind in ((layer, "layer"), (recipe, "recipe"), (scene, "scene")):
        button.click(get(kind), [number, session], ready, **{**PRIVATE, "show_progress": "minimal"})
    dataset.click(export("dataset"), session, jobs, **PRIVATE)
    native.click(export("nerfstudio"), session, jobs, **PRIVATE)
    jobs.ended(told(finished), session, [player, ready], **PRIVATE)
    return {
        "layers": layers,
        "rows": told(rows),
        "choices": [number, command],
    }


def add_orbit(services, work: Work, seconds: float = 4.0):
    """Queue an orbit video; the job."""
    work.need_trained()
    scene, length = str(work.place.folder), ["--seconds", str(seconds), "--fps", "15"]

    def make(folder: Path) -> list[str]:
        return ["render", scene, "--orbit", "--out", str(folder / "out" / downloads.FILM), *length]

    return services.jobs.add(work.place.page, "render", "Orbit video", make)


def add_export(services, work: Work, kind: str):
    """Queue an export; the job."""
    if kind not in EXPORTS:
        raise InputError(f"there is no export {kind!r}: choose one of {', '.join(EXPORTS)}")
    work.need_trained()

    def make(folder: Path) -> list[str]:
        return ["export", str(work.place.folder), kind, "--out", str(folder / "out")]

    return services.jobs.add(work.place.page, "export", EXPORTS[kind], make)
