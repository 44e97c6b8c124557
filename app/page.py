"""The page: the stage on the left, the steps on the right, and what passes between them."""

from __future__ import annotations

import secrets
from pathlib import Path

import gradio as gr

from nerf_insert.app.api import add_endpoints
from nerf_insert.app.downloads import AGE
from nerf_insert.app.services import Services
from nerf_insert.app.steps import content, edit, mark, open, preview, results
from nerf_insert.app.steps.common import (
    FRESH,
    IN_TURN,
    MANY,
    PRIVATE,
    Page,
    Session,
    stage_value,
    stamped,
    told,
)
from nerf_insert.app.widgets import widget
from nerf_insert.app.workspace import SceneLocation
from nerf_insert.errors import InputError

STEPS = (
    ("open", "1 Open"),
    ("mark", "2 Mark"),
    ("say", "3 Say"),
    ("preview", "4 Preview"),
    ("edit", "5 Edit"),
    ("look", "6 Look"),
)
HEAD = (
    "<div class='title'><h1>NeRF-Insert</h1>"
    "<p>Change one place in a captured scene, and nothing else.</p></div>"
)
CACHE = (3600, int(AGE))  # seconds: how often, and how old, temporary files are removed
RECOVERY = 5.0  # seconds
CSS = Path(__file__).parent / "page.css"


def build(services: Services, first: SceneLocation | None = None) -> gr.Blocks:
    """`first`: the scene that a browser sees which does not ask for another."""
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
                with gr.Tabs(selected="open", overflow_behavior="wrap") as tabs:
                    parts = {}
                    builders = {
                        "open": open,
                        "mark": mark,
                        "say": content,
                        "preview": preview,
                        "edit": edit,
                        "look": results,
                    }
                    entered = {}
                    for name, title in STEPS:
                        with gr.Tab(title, id=name, render_children=True, elem_id=f"step-{name}") as entered[
                            name
                        ]:
                            parts[name] = builders[name].build(page)
        _connect(services, page, tabs, entered, parts, browser, first)
    return blocks


def _connect(
    services: Services,
    page: Page,
    tabs: gr.Tabs,
    entered: dict,
    parts: dict,
    browser,
    first: SceneLocation | None,
) -> None:
    session, stage = page.session, page.stage

    def arrive(kept: dict, request: gr.Request):
        """A browser comes, or comes back: give it its drafts, and the scene that its address names."""
        kept = (
            kept
            if isinstance(kept, dict) and len(str(kept.get("id", ""))) == 16
            else {"id": secrets.token_hex(8)}
        )
        now: Session = {**FRESH, "draft": kept["id"]}
        wanted = dict(request.query_params)
        try:
            place = services.workspace.find(wanted["scene"]) if wanted.get("scene") else first
        except InputError:
            place = first
        if place is not None:
            services.jobs.adopt(place.page)
            now["scene"] = place.key
        step = wanted.get("step", "open")
        now["step"] = step if step in dict(STEPS) and place is not None else "open"
        return [kept, now, gr.Tabs(selected=now["step"])]

    def enter(step: str):
        def go(now: Session):
            if not now["draft"]:  # the tab that is open at first; `arrive` says which step it is
                return [gr.skip(), gr.skip()]
            now = {**now, "step": step}
            return [now, stage_value(now)]

        return told(go)

    def chosen(now: Session, event: gr.EventData):
        return {**now, "view": str((event._data or {}).get("view") or "") or None}

    def scene_changed(now: Session):
        now = stamped(now)
        return [now, stage_value(now), {"scene": now["scene"], "stamp": secrets.token_hex(4)}]

    def refresh_all(event):
        event.then(told(page.refresh), session, page.refreshed, **PRIVATE)

    refresh_all(gr.on(page_load(), arrive, browser, [browser, session, tabs], **IN_TURN))
    for opening in parts["open"]["opening"]:
        refresh_all(opening)
    refresh_all(parts["open"]["trained"](lambda now: now, session, session, **PRIVATE))
    # An answer is lost where Gradio's stream of answers ends just as the next event is sent (6.31): its
    # script waits on the ended stream, until another event opens a new one. This one does.
    gr.Timer(RECOVERY).tick(lambda: None, **MANY)
    for name, tab in entered.items():
        tab.select(enter(name), session, [session, stage], **MANY)
    stage.chosen(told(chosen), session, session, **MANY)
    shown = parts["look"]
    for jobs in page.edit_jobs:
        jobs.ended(told(scene_changed), session, [session, stage, shown["layers"]], **PRIVATE).then(
            shown["rows"], session, shown["choices"], **PRIVATE
        )


def page_load():
    return gr.context.Context.root_block.load
