"""Open: the sample, a scene or capture that is known, a zip. And make a 3D scene of a capture."""

from __future__ import annotations

from pathlib import Path

import gradio as gr

from nerf_insert.app.steps.common import FRESH, PRIVATE, Page, Session, Work, stage_value, told
from nerf_insert.app.uploads import take_zip
from nerf_insert.app.widgets import widget
from nerf_insert.app.workspace import SceneLocation
from nerf_insert.errors import InputError
from nerf_insert.training.scene_trainer import TrainConfig

QUICK, USUAL, FINE = 300, TrainConfig().steps, 4000
QUALITY = [
    (f"Quick look ({QUICK} steps)", QUICK),
    (f"Usual ({USUAL} steps)", USUAL),
    (f"Fine ({FINE} steps)", FINE),
]


def build(page: Page) -> dict:
    """Its components by name; page.py fills them when a browser arrives."""
    services = page.services
    gr.Markdown("A scene is made from a *capture*: photographs and a `transforms.json` with their cameras.")
    places = gr.Dropdown(
        [], label="Scenes and captures", info="Those that you opened before", elem_id="places"
    )
    with gr.Row():
        sample = gr.Button("Open the bundled sample", elem_id="open-sample")
        upload = gr.UploadButton(
            "Upload a capture or scene (zip)", file_types=[".zip"], type="filepath", elem_id="upload-zip"
        )
    about = gr.Markdown("", elem_id="about-scene")
    with gr.Column(visible=False) as make:
        quality = gr.Radio(
            QUALITY,
            value=USUAL,
            label="How good the 3D scene shall be",
            info="More steps look sharper and take longer; the usual number is three minutes on two cores",
            elem_id="quality",
        )
        train = gr.Button("Build the 3D scene", variant="primary", elem_id="train")
    jobs = widget("jobs", services, {"scene": None, "kinds": ["train"]}, "train-jobs")

    def open_place(place: SceneLocation, session: Session) -> Session:
        if not session.get("draft"):
            raise InputError("the page is still loading: try again in a moment")
        session = {**FRESH, "draft": session["draft"], "step": session["step"], "scene": place.key}
        services.jobs.adopt(place.page)
        return session

    def choose(key: str, session: Session):
        if not key or key == session.get("scene"):
            return gr.skip()
        return open_place(services.workspace.find(key), session)

    def open_sample(session: Session):
        return open_place(services.workspace.sample(), session)

    def take(file: str | None, session: Session):
        return open_place(take_zip(Path(file), services.workspace), session) if file else gr.skip()

    def start_training(steps: int, session: Session) -> dict:
        work = Work(services, session)
        place = work.place
        if place.capture_path is None or place.trained:
            raise gr.Error("This scene is built already.", print_exception=False)
        if any(
            job.kind == "train" and job.state in ("waiting", "running", "paused")
            for job in services.jobs.list(place.page)
        ):
            raise gr.Error("It is being built already, see below.", print_exception=False)
        words = ["train", str(place.capture_path), "--out", str(place.folder), "--steps", str(int(steps))]
        services.jobs.add(place.page, "train", f"Build {place.title}", lambda folder: words)
        return {"scene": session["scene"], "kinds": ["train"], "stamp": session["stamp"]}

    def refresh(session: Session):
        if not session["scene"]:
            return [
                places_update(services, None),
                "",
                gr.Column(visible=False),
                {"scene": None, "kinds": ["train"]},
                stage_value(session),
            ]
        work = Work(services, session)
        capture = work.opened.capture
        views = capture.views
        size = f"{views[0].size[0]}x{views[0].size[1]}"
        state = "has a 3D scene" if work.place.trained else "has no 3D scene yet"
        words = f"**{work.place.title}**: {len(views)} photographs, {size} pixels; {state}."
        words += "".join(f"\n\n*{warning}*" for warning in capture.warnings[:3])
        return [
            places_update(services, work.place.key),
            words,
            gr.Column(visible=not work.place.trained),
            {"scene": session["scene"], "kinds": ["train"], "trained": work.place.trained},
            stage_value(session, work.place.trained),
        ]

    page.when_opened(refresh, [places, about, make, jobs, page.stage])
    opening = [
        places.input(told(choose), [places, page.session], page.session, **PRIVATE),
        sample.click(told(open_sample), page.session, page.session, **PRIVATE),
        upload.upload(
            told(take), [upload, page.session], page.session, **{**PRIVATE, "show_progress": "full"}
        ),
    ]
    train.click(told(start_training), [quality, page.session], jobs, **PRIVATE)
    return {"opening": opening, "trained": jobs.ended}


def places_update(services, key: str | None):
    choices = [(f"{p.title}{'' if p.trained else '  (capture)'}", p.key) for p in services.workspace.places()]
    return gr.Dropdown(choices=choices, value=key)
