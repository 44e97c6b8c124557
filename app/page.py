"""The page: the stage on the left, the steps on the right, and the events between them."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.context import Context as BuildContext

from nerf_insert.app.api import add_endpoints
from nerf_insert.app.downloads import MAX_AGE
from nerf_insert.app.services import Services
from nerf_insert.app.steps import content, edit, mark, open, preview, results
from nerf_insert.app.steps.common import (
    EVERY_EVENT,
    FRESH,
    IN_TURN,
    LATEST,
    LATEST_IN_TURN,
    Page,
    Session,
    show_errors,
    stage_value,
    stamped,
)
from nerf_insert.app.widgets import widget, widget_event
from nerf_insert.app.workspace import SceneLocation
from nerf_insert.errors import InputError

STEPS = {  # name: title, module
    "open": ("1 Open", open),
    "mark": ("2 Mark", mark),
    "content": ("3 Content", content),
    "preview": ("4 Preview", preview),
    "edit": ("5 Edit", edit),
    "results": ("6 Results", results),
}
OLD_STEPS = {"say": "content", "look": "results"}  # names in addresses of version 0.1.0
HEAD = (
    "<div class='title'><h1>NeRF-Insert</h1>"
    "<p>Edit one place in a captured 3D scene. Everything else stays exactly as it was.</p></div>"
)
CACHE = (3600, int(MAX_AGE))  # seconds: how often temporary files are removed, and from which age
RECOVERY = 5.0  # seconds
ID_BYTES = 8  # of a browser's ID
CSS = Path(__file__).parent / "page.css"


def build(services: Services, first: SceneLocation | None = None) -> gr.Blocks:
    """Build the page.

    Args:
        services: What the server does.
        first: The scene for browsers whose address names none.
    """
    with gr.Blocks(
        title="NeRF-Insert", fill_width=True, analytics_enabled=False, delete_cache=CACHE
    ) as blocks:
        add_endpoints(services)  # first: Gradio numbers names that are taken, and handlers have names too
        session = gr.State(FRESH)
        browser = gr.BrowserState({"id": ""}, storage_key="nerf-insert", secret="nerf-insert")
        gr.HTML(HEAD, elem_id="head")
        with gr.Row(elem_id="body"):
            with gr.Column(scale=7, min_width=340):
                stage = widget("stage", services, stage_value(FRESH))
            with gr.Column(scale=5, min_width=340, elem_id="steps"):
                page = Page(services, session, stage)
                parts: dict[str, Any] = {}
                entered: dict[str, gr.Tab] = {}
                with gr.Tabs(selected="open", overflow_behavior="wrap") as tabs:
                    for name, (title, step) in STEPS.items():
                        with gr.Tab(title, id=name, render_children=True, elem_id=f"step-{name}") as tab:
                            parts[name] = step.build(page)
                        entered[name] = tab
        _connect(page, tabs, entered, parts, browser, first)
    return blocks


def _connect(
    page: Page,
    tabs: gr.Tabs,
    entered: dict[str, gr.Tab],
    parts: dict[str, Any],
    browser: gr.BrowserState,
    first: SceneLocation | None,
) -> None:
    """Connect the events of the page.

    Args:
        page: The page.
        tabs: The steps' tabs.
        entered: The tab of each step.
        parts: What the steps' `build` returned.
        browser: What a browser keeps between visits: its ID.
        first: The scene for browsers whose address names none.
    """
    services, session, stage = page.services, page.session, page.stage

    def arrive(kept: Any, request: gr.Request) -> list[Any]:
        """Give a browser its drafts back, and the scene and step that its address names."""
        if not isinstance(kept, dict) or len(str(kept.get("id", ""))) != 2 * ID_BYTES:
            kept = {"id": secrets.token_hex(ID_BYTES)}
        now: Session = {**FRESH, "draft": kept["id"]}
        wanted = dict(request.query_params)
        try:
            location = services.workspace.find(wanted["scene"]) if wanted.get("scene") else first
        except InputError:
            location = first
        if location is not None:
            services.jobs.adopt(location.page)
            now["scene"] = location.key
        step = wanted.get("step", "open")
        step = OLD_STEPS.get(step, step)
        now["step"] = step if step in STEPS and location is not None else "open"
        return [kept, now, gr.Tabs(selected=now["step"])]

    def enter(step: str) -> Any:
        def go(now: Session) -> list[Any]:
            if not now["draft"]:  # the first tab, before `arrive` has said which step it is
                return [gr.skip(), gr.skip()]
            now = {**now, "step": step}
            return [now, stage_value(now)]

        return show_errors(go)

    def view_chosen(now: Session, event: gr.EventData) -> Session:
        return {**now, "view": str((event._data or {}).get("view") or "") or None}

    def scene_changed(now: Session) -> list[Any]:
        now = stamped(now)
        return [now, stage_value(now), {"scene": now["scene"], "stamp": secrets.token_hex(4)}]

    def refresh_all(event: Any) -> None:
        event.then(show_errors(page.refresh), session, page.refreshed, **LATEST)

    refresh_all(gr.on(page_load(), arrive, browser, [browser, session, tabs], **IN_TURN))
    for opening in parts["open"]["opening"]:
        refresh_all(opening)
    refresh_all(parts["open"]["trained"](lambda now: now, session, session, **LATEST))
    # An answer is lost if Gradio's stream of answers ends just as the next event is sent (6.31): its script
    # waits on the ended stream until another event opens a new one. This one does.
    gr.Timer(RECOVERY).tick(lambda: None, **EVERY_EVENT)
    for name, tab in entered.items():
        tab.select(enter(name), session, [session, stage], **EVERY_EVENT)
    widget_event(stage, "chosen")(show_errors(view_chosen), session, session, **EVERY_EVENT)
    shown = parts["results"]
    for jobs in page.edit_jobs:
        ended = widget_event(jobs, "ended")
        outputs = [session, stage, shown["layers"]]
        ended(show_errors(scene_changed), session, outputs, **LATEST_IN_TURN).then(
            shown["list_layers"], session, shown["choices"], **LATEST
        )


def page_load() -> Any:
    """Return the event that the page has been loaded."""
    assert BuildContext.root_block is not None  # inside `with gr.Blocks()`
    return BuildContext.root_block.load
