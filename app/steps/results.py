"""Results: before and after, the layers, an orbit video, downloads."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
from jaxtyping import UInt8

from nerf_insert.app import downloads
from nerf_insert.app.draft_to_recipe import command_line
from nerf_insert.app.jobs.job import Job
from nerf_insert.app.scene_cache import RENDER_LOCK
from nerf_insert.app.steps import floaters
from nerf_insert.app.steps.common import (
    EVERY_EVENT,
    LATEST,
    PRIVATE,
    Context,
    Page,
    Session,
    jobs_value,
    show_errors,
    stage_value,
    stamped,
)
from nerf_insert.app.widgets import widget, widget_event
from nerf_insert.errors import InputError
from nerf_insert.io.images import to_uint8
from nerf_insert.rendering.stack import LayerStack
from nerf_insert.scene.recipe import Recipe

WIDTH = 800  # pixels of the images that are compared
KINDS = ["render", "export"]
EXPORTS = {
    "dataset": "Edited capture",
    "nerfstudio": "nerfstudio run",
    "mesh": "Scene as a mesh",
    "pointcloud": "Scene as a point cloud",
    "splat": "Scene as splats",
    "html": "Scene as a web page",
}


def build(page: Page) -> dict[str, Any]:
    """Lay out the step.

    Returns:
        "layers", the widget; "choices", the components that list the layers; "list_layers", the function of
        the session that updates these.
    """
    services, session = page.services, page.session
    gr.Markdown("### Before and after")
    slider = gr.ImageSlider(
        label="Before and after", show_label=False, type="numpy", elem_id="slider", max_height=360
    )
    video = gr.Button("Render an orbit video", elem_id="make-video")
    gr.Markdown("### Layers")
    layers = widget("layers", services, {"scene": None})
    jobs = widget("jobs", services, {"scene": None, "kinds": KINDS}, "results-jobs")
    player = gr.Video(label="Orbit video", visible=False, elem_id="orbit-video", autoplay=False)
    with gr.Accordion("Floaters", open=False, elem_id="floaters-part"):
        floaters.build(page)
    gr.Markdown("### Download")
    number = gr.Dropdown([], label="Layer", elem_id="which-layer")
    with gr.Row():
        layer = gr.Button("Layer (zip)", elem_id="get-layer", size="sm")
        recipe = gr.Button("Recipe (zip)", elem_id="get-recipe", size="sm")
        scene = gr.Button("Whole scene (zip)", elem_id="get-scene", size="sm")
    with gr.Row():
        dataset = gr.Button("Export the edited capture", elem_id="get-dataset", size="sm")
        run = gr.Button("Export a nerfstudio run", elem_id="get-nerfstudio", size="sm")
        splats = gr.Button("Download as splats", elem_id="get-splats", size="sm")
        web_page = gr.Button("Download as a web page", elem_id="get-html", size="sm")
    ready = gr.File(label="Ready to download", visible=False, elem_id="download", interactive=False)
    command = gr.Textbox(
        "",
        label="Command that repeats this layer",
        lines=3,
        buttons=["copy"],
        interactive=False,
        elem_id="layer-command",
    )

    def before_and_after(session: Session) -> tuple[UInt8[np.ndarray, "H W 3"], ...] | None:
        context = Context(services, session)
        capture = context.open_scene.capture
        if not context.location.trained:
            return None
        view = capture.view(session["view"]) if session["view"] else capture.views[0]
        stack, camera = context.open_scene.stack(), view.camera.scaled(min(1.0, WIDTH / view.camera.width))
        with RENDER_LOCK:
            renders = [s.render_image(camera).rgb for s in (LayerStack(stack.base), stack)]
        return tuple(to_uint8(rgb).cpu().numpy() for rgb in renders)

    def list_layers(session: Session) -> list[Any]:
        """Return the choices of the dropdown, with the topmost layer selected, and its command."""
        context = Context(services, session)
        entries = context.open_scene.scene.layers if context.location.trained else []
        choices = [(f"{k}  {entry.name}", k) for k, entry in enumerate(entries, 1)]
        top = len(entries) or None
        return [gr.Dropdown(choices=choices, value=top), layer_command(top, session)]

    def layer_command(which: int | None, session: Session) -> str:
        if not which:
            return ""
        opened = Context(services, session).open_scene.scene
        file = opened.recipe_file(opened.layers[int(which) - 1])
        if not file.exists():
            return "This layer has no recipe."
        return command_line(Recipe.load(file), opened.folder, file)

    def layers_changed(session: Session) -> list[Any]:
        now = stamped(session)
        return [now, stage_value(now), *list_layers(session)]

    def download(kind: str) -> Callable[..., Any]:
        def give(which: int | None, session: Session) -> gr.File:
            opened = Context(services, session).open_scene.scene
            if kind != "scene" and not which:
                raise InputError("Choose a layer first.")
            file = downloads.zip_file(kind, opened, int(which or 0), services.downloads)
            return gr.File(value=str(file), visible=True)

        return show_errors(give)

    def render_video(session: Session) -> dict[str, Any]:
        add_orbit(Context(services, session))
        return jobs_value(session, KINDS)

    def export(kind: str) -> Callable[..., Any]:
        def start(session: Session) -> dict[str, Any]:
            add_export(Context(services, session), kind)
            return jobs_value(session, KINDS)

        return show_errors(start)

    def job_ended(session: Session, event: gr.EventData) -> list[Any]:
        ended = event._data or {}
        location = Context(services, session).location
        files = [str(file) for file in services.finished_files(location, str(ended.get("kind")))]
        if ended.get("state") != "done" or not files:
            return [gr.skip(), gr.skip()]
        if ended.get("kind") == "render":
            return [gr.Video(value=files[0], visible=True), gr.skip()]
        return [gr.skip(), gr.File(value=files, visible=True)]

    def refresh(session: Session) -> list[Any]:
        shown, files = gr.Video(value=None, visible=False), gr.File(value=None, visible=False)
        if not session["scene"]:
            no_layers = gr.Dropdown(choices=[], value=None)
            return [{"scene": None}, {"scene": None, "kinds": KINDS}, no_layers, "", None, shown, files]
        location = Context(services, session).location
        videos, exports = (services.finished_files(location, kind) for kind in KINDS)
        if videos:
            shown = gr.Video(value=str(videos[0]), visible=True)
        if exports:
            files = gr.File(value=[str(file) for file in exports], visible=True)
        layers_value = {"scene": session["scene"], "stamp": secrets.token_hex(4)}
        old_images = gr.skip() if session["step"] == "results" else None
        return [layers_value, jobs_value(session, KINDS), *list_layers(session), old_images, shown, files]

    page.when_opened(refresh, [layers, jobs, number, command, slider, player, ready])
    page.while_at("results", before_and_after, [slider], show_progress="minimal")
    video.click(show_errors(render_video), session, jobs, **PRIVATE)
    outputs = [session, page.stage, number, command]
    widget_event(layers, "changed")(show_errors(layers_changed), session, outputs, **EVERY_EVENT)
    number.input(show_errors(layer_command), [number, session], command, **LATEST)
    for button, kind in ((layer, "layer"), (recipe, "recipe"), (scene, "scene")):
        button.click(download(kind), [number, session], ready, **{**PRIVATE, "show_progress": "minimal"})
    dataset.click(export("dataset"), session, jobs, **PRIVATE)
    run.click(export("nerfstudio"), session, jobs, **PRIVATE)
    splats.click(export("splat"), session, jobs, **PRIVATE)
    web_page.click(export("html"), session, jobs, **PRIVATE)
    widget_event(jobs, "ended")(show_errors(job_ended), session, [player, ready], **LATEST)
    return {"layers": layers, "list_layers": show_errors(list_layers), "choices": [number, command]}


def add_orbit(context: Context, seconds: float = 4.0) -> Job:
    """Queue the render of an orbit video of this length.

    Raises:
        InputError: The scene is not trained.
    """
    context.require_trained()
    scene, options = str(context.location.folder), ["--seconds", str(seconds), "--fps", "15"]

    def prepare(folder: Path) -> list[str]:
        return ["render", scene, "--orbit", "--out", str(folder / "out" / downloads.ORBIT_VIDEO), *options]

    return context.services.jobs.add(context.location.page, "render", "Orbit video", prepare)


def add_export(context: Context, kind: str) -> Job:
    """Queue an export of the edited scene, of one of the `EXPORTS`.

    Raises:
        InputError: There is no such export, or the scene is not trained.
    """
    if kind not in EXPORTS:
        raise InputError(f"there is no export {kind!r}: choose one of {', '.join(EXPORTS)}")
    context.require_trained()

    def prepare(folder: Path) -> list[str]:
        out = folder / "out" / downloads.SINGLE_FILES.get(kind, "")
        return ["export", str(context.location.folder), kind, "--out", str(out)]

    return context.services.jobs.add(context.location.page, "export", EXPORTS[kind], prepare)
