"""Open: the sample, a known scene or capture, a zip; and build the 3D scene of a capture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr

from nerf_insert.app.jobs.job import UNFINISHED, Job
from nerf_insert.app.services import Services
from nerf_insert.app.steps.common import FRESH, PRIVATE, Context, Page, Session, show_errors, stage_value
from nerf_insert.app.uploads import take_zip
from nerf_insert.app.widgets import widget, widget_event
from nerf_insert.app.workspace import SceneLocation
from nerf_insert.errors import InputError
from nerf_insert.training.scene_trainer import TrainConfig

KINDS = ["train"]
DEFAULT_STEPS = TrainConfig().steps
QUALITIES = [(f"{name} ({steps} steps)", steps) for name, steps in
             (("Quick", 300), ("Default", DEFAULT_STEPS), ("Fine", 4000))]  # fmt: skip
MAX_WARNINGS = 3  # of a capture that are shown


def build(page: Page) -> dict[str, Any]:
    """Lay out the step.

    Returns:
        "opening", the events that open a scene, and "trained", the event that a scene has been built.
    """
    services = page.services
    gr.Markdown(
        "Open a scene, or a *capture* to build one from: photographs and a `transforms.json` with cameras."
    )
    scenes = gr.Dropdown([], label="Scenes and captures", info="Newest first", elem_id="scenes")
    with gr.Row():
        sample = gr.Button("Open the bundled sample", elem_id="open-sample")
        upload = gr.UploadButton(
            "Upload a capture or scene (zip)", file_types=[".zip"], type="filepath", elem_id="upload-zip"
        )
    about = gr.Markdown("", elem_id="about-scene")
    with gr.Column(visible=False) as untrained:
        quality = gr.Radio(
            QUALITIES,
            value=DEFAULT_STEPS,
            label="Quality",
            info="More steps are sharper and slower; the default takes about three minutes on two CPU cores",
            elem_id="quality",
        )
        train = gr.Button("Build the 3D scene", variant="primary", elem_id="train")
    jobs = widget("jobs", services, {"scene": None, "kinds": KINDS}, "train-jobs")

    def open_location(location: SceneLocation, session: Session) -> Session:
        if not session.get("draft"):
            raise InputError("the page is still loading: try again in a moment")
        session = {**FRESH, "draft": session["draft"], "step": session["step"], "scene": location.key}
        services.jobs.adopt(location.page)
        return session

    def choose(key: str, session: Session) -> Any:
        if not key or key == session.get("scene"):
            return gr.skip()
        return open_location(services.workspace.find(key), session)

    def open_sample(session: Session) -> Session:
        return open_location(services.workspace.sample(), session)

    def take(file: str | None, session: Session) -> Any:
        return open_location(take_zip(Path(file), services.workspace), session) if file else gr.skip()

    def start_training(steps: int, session: Session) -> dict[str, Any]:
        add_training(services, Context(services, session).location, int(steps))
        return {"scene": session["scene"], "kinds": KINDS, "stamp": session["stamp"]}

    def refresh(session: Session) -> list[Any]:
        if not session["scene"]:
            no_jobs = {"scene": None, "kinds": KINDS}
            hidden = gr.Column(visible=False)
            return [scene_choices(services, None), "", hidden, no_jobs, stage_value(session)]
        context = Context(services, session)
        capture, trained = context.open_scene.capture, context.location.trained
        width, height = capture.views[0].size
        words = f"**{context.location.title}**: {len(capture.views)} photographs, {width}x{height} pixels; "
        words += "3D scene built." if trained else "no 3D scene yet."
        words += "".join(f"\n\n*{warning}*" for warning in capture.warnings[:MAX_WARNINGS])
        return [
            scene_choices(services, context.location.key),
            words,
            gr.Column(visible=not trained),
            {"scene": session["scene"], "kinds": KINDS, "trained": trained},
            stage_value(session, trained),
        ]

    page.when_opened(refresh, [scenes, about, untrained, jobs, page.stage])
    with_progress = {**PRIVATE, "show_progress": "full"}
    opening = [
        scenes.input(show_errors(choose), [scenes, page.session], page.session, **PRIVATE),
        sample.click(show_errors(open_sample), page.session, page.session, **PRIVATE),
        upload.upload(show_errors(take), [upload, page.session], page.session, **with_progress),
    ]
    train.click(show_errors(start_training), [quality, page.session], jobs, **PRIVATE)
    return {"opening": opening, "trained": widget_event(jobs, "ended")}


def add_training(services: Services, location: SceneLocation, steps: int) -> Job:
    """Queue the job that builds the 3D scene of a capture.

    Raises:
        InputError: It is built already, or is being built.
    """
    capture = location.capture_path
    if location.trained or capture is None:
        raise InputError("this scene is already built")
    jobs = services.jobs.list_jobs(location.page)
    if any(job.kind == "train" and job.state in UNFINISHED for job in jobs):
        raise InputError("this scene is already being built")
    arguments = ["train", str(capture), "--out", str(location.folder), "--steps", str(steps)]
    return services.jobs.add(location.page, "train", f"Build {location.title}", lambda folder: arguments)


def scene_choices(services: Services, key: str | None) -> gr.Dropdown:
    """Return an update of the list of scenes, with the scene of this key selected."""
    choices = [
        (location.title + ("" if location.trained else " (capture)"), location.key)
        for location in services.workspace.locations()
    ]
    return gr.Dropdown(choices=choices, value=key)
