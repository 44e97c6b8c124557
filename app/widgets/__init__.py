"""Parts of the page that Gradio has no component for, each with its own .html, .css and .js file.

    stage    the photographs, painted on and placed in; the 3D view
    jobs     progress of long work, with pause, stop and resume
    layers   the scene's layers: switch, rename, reorder, delete

Their scripts call methods of `services.Services`. The rest of the page hears of them through their events and
tells them what to show through their value.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr

from nerf_insert.app.services import Services
from nerf_insert.export.html import VIEWER

HERE = Path(__file__).parent
SCRIPTS = {  # of a widget, before its own
    "stage": (VIEWER / "orbit_camera.js", VIEWER / "splat_view.js", HERE / "live_splats.js"),
}
CALLS = {  # methods of the services that each widget may call
    "stage": (
        "scene",
        "photographs",
        "mark",
        "mask",
        "region",
        "region_in",
        "click",
        "render",
        "orbit_of",
        "mesh",
        "drop",
        "move",
        "undo",
        "splats",
        "splats_part",
    ),
    "jobs": ("job_list", "job_action", "job_images", "keep_image"),
    "layers": ("layers", "layer_action"),
}


def widget(name: str, services: Services, value: dict[str, Any], elem_id: str | None = None) -> gr.HTML:
    """Create a widget.

    Args:
        name: stage, jobs or layers.
        services: What its script may call.
        value: What its script finds in props.value.
        elem_id: ID of its element; None: its name.
    """
    html, css, own = ((HERE / f"{name}.{kind}").read_text() for kind in ("html", "css", "js"))
    script = "".join([*(path.read_text() for path in SCRIPTS.get(name, ())), own])
    return gr.HTML(
        value,
        html_template=html,
        css_template=css,
        js_on_load=script,
        apply_default_css=False,
        server_functions=[_function(getattr(services, call)) for call in CALLS[name]],
        elem_id=elem_id or name,
        elem_classes=["widget"],
    )


def widget_event(component: gr.HTML, name: str) -> Callable[..., Any]:
    """Return the listener of an event that a widget's script triggers."""
    return getattr(component, name)


def _function(method: Callable[[dict[str, Any]], dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    """Return the method as a function, to which Gradio can add attributes."""

    def call(data: dict) -> dict:
        return method(data)

    call.__name__ = method.__name__
    return call
