"""The parts of the page that Gradio has no component for, each a .html, a .css and a .js file of its own:

    stage    the photographs, painted on and placed in; the view that can be orbited
    jobs     progress of long work, with pause, stop and resume
    layers   the scene's layers, switched, renamed, moved, deleted

They ask the server through `services.Services`; the rest of the page hears of them by their events and tells
them what to show by their value.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr

from nerf_insert.app.services import Services

HERE = Path(__file__).parent
ASKS = {
    "stage": (
        "scene",
        "photographs",
        "mark",
        "mask",
        "region",
        "region_in",
        "render",
        "orbit_of",
        "mesh",
        "drop",
        "move",
        "undo",
    ),
    "jobs": ("job_list", "job_action", "job_pictures", "keep_picture"),
    "layers": ("layers", "layer_action"),
}


def widget(name: str, services: Services, value: dict[str, Any], elem_id: str | None = None) -> gr.HTML:
    """A component of the page; `value` is what its script finds in props.value."""
    html, css, script = ((HERE / f"{name}.{kind}").read_text() for kind in ("html", "css", "js"))
    return gr.HTML(
        value,
        html_template=html,
        css_template=css,
        js_on_load=script,
        apply_default_css=False,
        server_functions=[_function(getattr(services, asked)) for asked in ASKS[name]],
        elem_id=elem_id or name,
        elem_classes=["widget"],
    )


def _function(method: Callable[[dict], dict]) -> Callable[[dict], dict]:
    """The method as a function, which Gradio puts a mark on."""

    def ask(data: dict) -> dict:
        return method(data)

    ask.__name__ = method.__name__
    return ask
