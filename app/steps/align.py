"""Part of Open: the report of a capture that the page made, its floor, and a known length."""

from __future__ import annotations

import base64
import html
import io
from pathlib import Path, PurePosixPath
from typing import Any

import gradio as gr
from PIL import Image

from nerf_insert.app.capture_jobs import add_capture
from nerf_insert.app.steps.common import (
    EVERY_EVENT,
    IN_TURN,
    LATEST,
    PRIVATE,
    Context,
    Page,
    Session,
    show_errors,
)
from nerf_insert.capture.capture import View
from nerf_insert.errors import InputError
from nerf_insert.io.files import read_json

SHOWN_WIDTH = 900  # pixels of the photograph that is clicked on
FLOOR, LENGTH = "The floor (one to three places)", "The two ends of a known length"
NONE: dict[str, Any] = {"floor": [], "ends": []}  # pixels, each "VIEW=X,Y"


def build(page: Page) -> dict[str, Any]:
    """Lay out the part.

    Returns:
        "apply", a function that registers what happens after the job has been queued.
    """
    services = page.services
    with gr.Column(visible=False) as part:
        with gr.Accordion("Report: what was found, and what to photograph next", open=False):
            report = gr.HTML("", elem_id="capture-report")
        with gr.Accordion("Floor and scale", open=False, elem_id="align"):
            gr.Markdown("Choose a photograph, say what you click on, and click.")
            views = gr.Dropdown([], label="Photograph", elem_id="align-view")
            what = gr.Radio([FLOOR, LENGTH], value=FLOOR, label="A click shows", elem_id="align-what")
            picture = gr.Image(interactive=False, show_label=False, elem_id="align-picture")
            clicked = gr.Markdown("", elem_id="align-clicked")
            distance = gr.Number(
                None,
                label="Length",
                info="Of the known length, in the unit that you want",
                elem_id="align-length",
            )
            with gr.Row():
                clear = gr.Button("Forget the clicks")
                apply = gr.Button("Move the cameras", variant="primary", elem_id="align-apply")
    pixels = gr.State(NONE)

    def refresh(session: Session) -> list[Any]:
        context = Context(services, session) if session["scene"] else None
        location = context.location if context else None
        if context is None or location is None or location.source is None or location.trained:
            return [gr.Column(visible=False), "", gr.Dropdown([]), None, NONE, "", None]
        names = [view.name for view in context.open_scene.capture.views]
        capture = location.capture_path
        file = capture / "report.html" if capture else None
        shown = _frame(file.read_text(encoding="utf-8")) if file and file.exists() else ""
        first = gr.Dropdown(choices=names, value=names[0])
        known, length = _known(capture / "reconstruction" / "capture.json" if capture else None)
        picture = _picture(context, names[0])
        return [gr.Column(visible=True), shown, first, picture, known, _words(known), length]

    def show(name: str | None, session: Session) -> Any:
        return _picture(Context(services, session), name) if name else None

    def click(
        name: str, kind: str, known: dict[str, Any], session: Session, event: gr.SelectData
    ) -> tuple[dict[str, Any], str]:
        view = Context(services, session).open_scene.capture.view(name)
        scale = view.size[0] / min(SHOWN_WIDTH, view.size[0])
        x, y = (round(float(value) * scale, 1) for value in event.index)
        pixel = f"{view.name}={x:g},{y:g}"
        floor, ends = known["floor"], known["ends"]
        known = {"floor": [*floor, pixel][-3:], "ends": ends} if kind == FLOOR else {
            "floor": floor, "ends": [*ends, pixel][-2:]
        }  # fmt: skip
        return known, _words(known)

    def move(known: dict[str, Any], length: float | None, session: Session) -> None:
        floor, ends = known["floor"], known["ends"]
        if not floor and not ends:
            raise InputError("click on the floor, or on the two ends of a known length, first")
        if ends and (len(ends) < 2 or not length or length <= 0):
            raise InputError("a known length needs two clicks and a positive number")
        scale = (ends[0], ends[1], float(length)) if ends and length else None
        add_capture(services, Context(services, session).location, floor, scale)

    page.when_opened(refresh, [part, report, views, picture, pixels, clicked, distance])
    views.input(show_errors(show), [views, page.session], picture, **LATEST)
    picture.select(show_errors(click), [views, what, pixels, page.session], [pixels, clicked], **EVERY_EVENT)
    clear.click(lambda: (NONE, ""), None, [pixels, clicked], **IN_TURN)
    applied = apply.click(show_errors(move), [pixels, distance, page.session], None, **PRIVATE)
    return {"apply": lambda handler, inputs, outputs: applied.success(handler, inputs, outputs, **PRIVATE)}


def _known(file: Path | None) -> tuple[dict[str, Any], float | None]:
    """The clicks that a capture was aligned with, and the known length."""
    world = read_json(file).get("world", {}) if file is not None and file.exists() else {}

    def pixel(data: dict[str, Any]) -> str:
        return f"{data['view']}={data['x']:g},{data['y']:g}"

    length = world.get("length")
    ends = [pixel(length["start"]), pixel(length["end"])] if length else []
    floor = [pixel(place) for place in world.get("floor", [])]
    return {"floor": floor, "ends": ends}, length["distance"] if length else None


def _words(known: dict[str, Any]) -> str:
    def places(pixels: list[str]) -> str:
        return ", ".join(PurePosixPath(pixel).name for pixel in pixels)

    said = [f"Floor: {places(known['floor'])}"] if known["floor"] else []
    said += [f"Length between: {places(known['ends'])}"] if known["ends"] else []
    return "  \n".join(said)


def _picture(context: Context, name: str) -> Image.Image:
    """A photograph as it is shown, decoded by the child process."""
    view: View = context.open_scene.capture.view(name)
    url = context.open_scene.photograph(view, SHOWN_WIDTH)
    return Image.open(io.BytesIO(base64.b64decode(url.split(",", 1)[1])))


def _frame(report: str) -> str:
    """The report in a frame of its own, which may run its script and nothing else."""
    return (
        '<iframe title="Report of the capture" sandbox="allow-scripts" '
        'style="width: 100%; height: 640px; border: 0" '
        f'srcdoc="{html.escape(report, quote=True)}"></iframe>'
    )
