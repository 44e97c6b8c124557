"""Open: the sample, a known scene or capture, an upload; and build the 3D scene of a capture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr

from nerf_insert.app.capture_jobs import add_capture
from nerf_insert.app.jobs.job import UNFINISHED, Job
from nerf_insert.app.messages import as_sentence
from nerf_insert.app.services import Services
from nerf_insert.app.steps import align
from nerf_insert.app.steps.common import (
    FAILED,
    FRESH,
    IN_TURN,
    LATEST_IN_TURN,
    PRIVATE,
    Context,
    Page,
    Session,
    show_errors,
    stage_value,
)
from nerf_insert.app.uploads import take_files
from nerf_insert.app.widgets import widget, widget_event
from nerf_insert.app.workspace import SceneLocation
from nerf_insert.errors import InputError, RunError
from nerf_insert.io.decoding import SUFFIXES
from nerf_insert.reconstruction.sources import VIDEOS
from nerf_insert.training.scene_trainer import TrainConfig

KINDS = ["train", "capture"]
FIND = "Find the camera positions"
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
        "Open a scene, or drop a video of a place, photographs of it, or a zip: of photographs, a *capture* "
        "(photographs and their `transforms.json`) or a scene. A file of Gaussian splats is opened as it is."
    )
    scenes = gr.Dropdown([], label="Scenes and captures", info="Newest first", elem_id="scenes")
    upload = gr.File(
        label="Video, photographs, splats or zip",
        file_count="multiple",
        file_types=[".zip", *VIDEOS, *SUFFIXES, ".ply", ".splat", ".spz", ".sog"],
        type="filepath",
        height=130,
        elem_id="upload-zip",
    )
    sample = gr.Button("Open the bundled sample", elem_id="open-sample")
    about = gr.Markdown("", elem_id="about-scene")
    search = gr.Button(FIND, variant="primary", visible=False, elem_id="find-cameras")
    aligning = align.build(page)
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

    def take(files: list[str] | None, session: Session) -> Any:
        """Open what was uploaded; the upload area is empty again, also after a failure."""
        if not files:
            return gr.skip(), None
        try:
            location = take_files([Path(file) for file in files], services.workspace)
            session = open_location(location, session)
            if location.pending:
                add_capture(services, location)
        except (InputError, RunError) as problem:  # raised, it would leave the files in the upload area
            gr.Warning(as_sentence(problem), title=FAILED)
            return gr.skip(), None
        return session, None

    def find_cameras(session: Session) -> dict[str, Any]:
        add_capture(services, Context(services, session).location)
        return {"scene": session["scene"], "kinds": KINDS, "stamp": session["stamp"]}

    def start_training(steps: int, session: Session) -> dict[str, Any]:
        add_training(services, Context(services, session).location, int(steps))
        return {"scene": session["scene"], "kinds": KINDS, "stamp": session["stamp"]}

    def refresh(session: Session) -> list[Any]:
        if not session["scene"]:
            no_jobs = {"scene": None, "kinds": KINDS}
            hidden = gr.Column(visible=False)
            first, stage = scene_choices(services, None), stage_value(session)
            return [first, "", gr.Button(visible=False), hidden, no_jobs, stage]
        context = Context(services, session)
        if context.location.pending:
            return _refresh_pending(services, context.location, session)
        capture, trained = context.open_scene.capture, context.location.trained
        width, height = capture.views[0].size
        words = f"**{context.location.title}**: {len(capture.views)} photographs, {width}x{height} pixels; "
        words += "3D scene built." if trained else "no 3D scene yet."
        words += "".join(f"\n\n*{warning}*" for warning in capture.warnings[:MAX_WARNINGS])
        return [
            scene_choices(services, context.location.key),
            words,
            gr.Button(visible=False),
            gr.Column(visible=not trained),
            {"scene": session["scene"], "kinds": KINDS, "trained": trained},
            stage_value(session, trained),
        ]

    page.when_opened(refresh, [scenes, about, search, untrained, jobs, page.stage], pending=True)
    with_progress = {**PRIVATE, "show_progress": "full"}
    opening = [
        scenes.input(show_errors(choose), [scenes, page.session], page.session, **LATEST_IN_TURN),
        sample.click(show_errors(open_sample), page.session, page.session, **IN_TURN),
        upload.upload(show_errors(take), [upload, page.session], [page.session, upload], **with_progress),
    ]
    train.click(show_errors(start_training), [quality, page.session], jobs, **PRIVATE)
    search.click(show_errors(find_cameras), page.session, jobs, **PRIVATE)
    aligning["apply"](
        lambda now: {"scene": now["scene"], "kinds": KINDS, "stamp": now["stamp"]}, page.session, jobs
    )
    return {"opening": opening, "trained": widget_event(jobs, "ended")}


def add_training(services: Services, location: SceneLocation, steps: int) -> Job:
    """Queue the job that builds the 3D scene of a capture.

    Raises:
        InputError: It is built already, or is being built.
    """
    capture = location.capture_path
    if location.pending:
        raise InputError("the camera positions of this scene are not found yet")
    if location.trained or capture is None:
        raise InputError("this scene is already built")
    jobs = services.jobs.list_jobs(location.page)
    if any(job.kind == "train" and job.state in UNFINISHED for job in jobs):
        raise InputError("this scene is already being built")
    arguments = ["train", str(capture), "--out", str(location.folder), "--steps", str(steps)]
    return services.jobs.add(location.page, "train", f"Build {location.title}", lambda folder: arguments)


def _refresh_pending(services: Services, location: SceneLocation, session: Session) -> list[Any]:
    """The values of the step while a scene's camera positions are to be found, or its splats to be read."""
    searching = any(job.state in UNFINISHED for job in services.jobs.list_jobs(location.page))
    splats = location.from_splats
    words = f"**{location.title}**: " + (
        "its splats are still to be read" if splats else "camera positions are still to be found"
    )
    words += "; the page opens the scene when they are." if searching else "."
    return [
        scene_choices(services, location.key),
        words,
        gr.Button("Read the splats" if splats else FIND, visible=not searching),
        gr.Column(visible=False),
        {"scene": session["scene"], "kinds": KINDS, "stamp": session["stamp"]},
        stage_value({**session, "scene": None}),
    ]


def scene_choices(services: Services, key: str | None) -> gr.Dropdown:
    """Return an update of the list of scenes, with the scene of this key selected."""
    choices = [
        (location.title + ("" if location.trained else " (capture)"), location.key)
        for location in services.workspace.locations()
    ]
    return gr.Dropdown(choices=choices, value=key)
