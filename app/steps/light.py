"""Light: estimate the scene's light, look at it on a ball, and change it by hand. A part of Edit."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from nerf_insert.app.jobs.job import Job, read_result
from nerf_insert.app.steps.common import (
    EVERY_EVENT,
    LATEST,
    LATEST_IN_TURN,
    PRIVATE,
    Context,
    Page,
    Session,
    jobs_value,
    show_errors,
)
from nerf_insert.app.widgets import widget, widget_event
from nerf_insert.capture.placement import up_of
from nerf_insert.editing.light_probe import ball_in, beside_photograph, find_place, nearest_view
from nerf_insert.errors import InputError
from nerf_insert.geometry.color import linear_to_srgb, srgb_to_linear
from nerf_insert.geometry.frames import orthonormal_frame
from nerf_insert.inpaint.mesh.light_option import GivenLight, parse_light
from nerf_insert.io.images import to_uint8

KINDS = ["light"]
DRAWN: dict[str, Any] = {**LATEST, "concurrency_limit": 1, "concurrency_id": "ball"}  # in the order asked
DARK = 1e-3  # a light below this has no color


@dataclass(frozen=True)
class Controls:
    """A light as the page's controls show it.

    Attributes:
        turn: Where the key light is, degrees around the scene's up axis.
        height: Above the horizon, degrees.
        softness: Half of the angle under which it is seen, degrees.
        strength: What a white surface shows that faces it, in the color's largest channel, linear.
        color: Of the key light, "#rrggbb" with a largest channel of 255.
        sky_strength: What a white surface shows that lies open to the sky alone, in its largest channel.
        sky_color: As `color`.
    """

    turn: float
    height: float
    softness: float
    strength: float
    color: str
    sky_strength: float
    sky_color: str

    @staticmethod
    def of(light: GivenLight, up: Float[Tensor, "3"]) -> Controls:
        """Return the controls that show a light; `up` is a unit vector."""
        given = up if light.direction is None else torch.tensor(light.direction, dtype=torch.float32)
        x, y, z = (orthonormal_frame(up) @ torch.nn.functional.normalize(given, dim=0)).tolist()
        turn, height = math.degrees(math.atan2(y, x)), math.degrees(math.asin(max(-1.0, min(1.0, z))))
        strength, color = _split(light.key)
        sky_strength, sky_color = _split(light.sky)
        return Controls(turn, height, light.angle, strength, color, sky_strength, sky_color)

    def light(self, up: Float[Tensor, "3"], distance: float | None) -> dict[str, Any]:
        """Return the option of the inpainter `mesh` that they mean.

        Args:
            up: Unit vector.
            distance: How far away the key light is, world units; None: very far.
        """
        turn, height = math.radians(self.turn), math.radians(self.height)
        flat = math.cos(height)
        own = torch.tensor([flat * math.cos(turn), flat * math.sin(turn), math.sin(height)])
        return {
            "direction": [round(value, 4) for value in (own @ orthonormal_frame(up)).tolist()],
            "angle": self.softness,
            "distance": distance,
            "key": _joined(self.strength, self.color),
            "sky": _joined(self.sky_strength, self.sky_color),
        }


def _split(linear: tuple[float, float, float]) -> tuple[float, str]:
    """Return a color's largest channel, and what remains of the color as "#rrggbb"."""
    strength = max(linear)
    if strength < DARK:
        return round(strength, 3), "#ffffff"
    channels = (255 * linear_to_srgb(np.array(linear) / strength)).round().astype(int)
    return round(strength, 3), "#" + "".join(f"{channel:02x}" for channel in channels)


def _joined(strength: float, color: str) -> list[float]:
    """Return a linear color from its largest channel and "#rrggbb". Raises InputError for other colors."""
    return [round(strength * value, 4) for value in srgb_to_linear(_channels(color)).tolist()]


def _channels(color: str) -> Float[np.ndarray, "3"]:
    """Return the sRGB channels, 0..1, of a color picker's value, "#rrggbb" or "rgba(r, g, b, a)"."""
    try:
        if color.startswith("#"):
            values = [int(color[k : k + 2], 16) for k in (1, 3, 5)]
        else:
            values = [float(part) for part in color.partition("(")[2].rstrip(")").split(",")[:3]]
        return np.array(values).reshape(3).clip(0, 255) / 255
    except ValueError:
        raise InputError(f"{color!r} is not a color such as #ffcc88") from None


def build(page: Page) -> list[Any]:
    """Lay out the part; return the listeners that change the draft."""
    services, session = page.services, page.session
    gr.Markdown(
        "A mesh is lit by the scene's light, which the edit estimates. Look at it here, or change it."
    )
    start = gr.Button("Estimate the light", elem_id="estimate-light", size="sm")
    jobs = widget("jobs", services, {"scene": None, "kinds": KINDS}, "light-jobs")
    about = gr.Markdown("", elem_id="about-light")
    picture = gr.Image(
        label="A gray ball in the light, beside a photograph",
        visible=False,
        interactive=False,
        buttons=["fullscreen"],
        elem_id="light-picture",
    )
    by_hand = gr.Checkbox(
        False,
        label="Set the light by hand",
        elem_id="light-by-hand",
        info="It starts from the estimate, or from soft daylight",
    )
    with gr.Column(visible=False) as column:
        turn = gr.Slider(-180, 180, 0, step=1, label="Direction (degrees around)", elem_id="light-turn")
        height = gr.Slider(-90, 90, 90, step=1, label="Height (degrees)", elem_id="light-height")
        softness = gr.Slider(
            0.1, 60, 10, step=0.1, label="Softness (degrees)", info="Half of its width", elem_id="light-soft"
        )
        with gr.Row():
            strength = gr.Number(0.7, label="Strength", minimum=0, step=0.1, min_width=80)
            color = gr.ColorPicker("#ffffff", label="Color")
        with gr.Row():
            sky_strength = gr.Number(0.4, label="Sky's strength", minimum=0, step=0.1, min_width=80)
            sky_color = gr.ColorPicker("#ffffff", label="Sky's color")
    controls = [turn, height, softness, strength, color, sky_strength, sky_color]

    def estimate(session: Session) -> dict[str, Any]:
        add_estimate(Context(services, session))
        return jobs_value(session, KINDS)

    def switch(on: bool, session: Session) -> list[Any]:
        context = Context(services, session)
        light = None
        if on:
            try:
                light = json.loads(latest_estimate(context)["option"])
                parse_light(light, "light")  # the folder can be somebody else's
            except (InputError, ValueError):  # none yet, or damaged
                light = Controls.of(GivenLight(), _up(context)).light(_up(context), None)
        context.drafts.change(context.key, light=light)
        return shown(session)

    def save(*values_and_session: Any) -> None:
        *values, session = values_and_session
        context = Context(services, session)
        before = context.draft.light
        if before is None or any(value is None for value in values):
            return
        light = Controls(*values).light(_up(context), before.get("distance"))
        parse_light(light, "light")  # raises for what no light can have
        context.drafts.change(context.key, light=light)

    def pictured(session: Session) -> list[Any]:
        return [*_pictured(Context(services, session))]

    def shown(session: Session) -> list[Any]:
        """Return the values of all components."""
        context = Context(services, session)
        light = context.draft.light
        values: list[Any] = [gr.skip()] * len(controls)
        if light is not None:
            now = Controls.of(_given(light), _up(context))
            values = [getattr(now, field) for field in Controls.__dataclass_fields__]
        return [*_pictured(context), light is not None, gr.Column(visible=light is not None), *values]

    def refresh(session: Session) -> list[Any]:
        if not session["scene"] or not Context(services, session).location.trained:
            nothing = [gr.skip()] * len(controls)
            hidden = [gr.Image(visible=False), False, gr.Column(visible=False)]
            return [{"scene": session["scene"], "kinds": KINDS}, "", *hidden, *nothing]
        return [jobs_value(session, KINDS), *shown(session)]

    outputs = [about, picture, by_hand, column, *controls]
    page.when_opened(refresh, [jobs, *outputs])
    start.click(show_errors(estimate), session, jobs, **PRIVATE)
    widget_event(jobs, "ended")(show_errors(shown), session, outputs, **LATEST)
    changes = [by_hand.input(show_errors(switch), [by_hand, session], outputs, **EVERY_EVENT)]
    for control in controls:
        how = LATEST_IN_TURN if isinstance(control, gr.Slider) else EVERY_EVENT
        changes.append(control.input(show_errors(save), [*controls, session], None, **how))
    sliders = [control for control in controls if isinstance(control, gr.Slider)]
    changes += [one.release(show_errors(save), [*controls, session], None, **EVERY_EVENT) for one in sliders]
    for change in changes[1:]:
        change.then(show_errors(pictured), session, [about, picture], **DRAWN)
    return changes


def _pictured(context: Context) -> tuple[str, Any]:
    """Return what is said of the light, and the ball in it: the draft's own, else what was estimated last."""
    light = context.draft.light
    if light is not None:
        return "The light is set by hand.", gr.Image(value=_picture(context, light), visible=True)
    try:
        found = latest_estimate(context)
    except InputError:
        return "", gr.Image(value=None, visible=False)
    file = context.services.jobs.folder(context.location.page, found["job"]) / "out.png"
    shown = file.is_file() and not file.is_symlink()  # the folder can be somebody else's
    image = gr.Image(value=str(file) if shown else None, visible=shown)
    return f"{found['verdict'].capitalize()}.", image


def _picture(context: Context, light: dict[str, Any]) -> UInt8[np.ndarray, "H W 3"]:
    """Render a ball in a draft's light, beside a photograph."""
    place, seeing = find_place(context.open_scene.capture, _at(context))
    view = nearest_view(place, seeing)
    ball = ball_in(_given(light).light(place.at, place.size, _up(context)), place, view)
    return to_uint8(beside_photograph(view, ball)).numpy()


def _given(light: dict[str, Any]) -> GivenLight:
    """Return a draft's light. Raises InputError if it is none."""
    parsed = parse_light(light, "light")
    return parsed if isinstance(parsed, GivenLight) else GivenLight()


def _up(context: Context) -> Float[Tensor, "3"]:
    return up_of(context.open_scene.capture.train)


def _at(context: Context) -> list[float] | None:
    """Return where the draft's mesh stands, world coordinates; None without one."""
    return [*context.draft.mesh_pose.translate] if context.draft.mesh else None


def add_estimate(context: Context) -> Job:
    """Queue an estimate of the light where the draft's mesh stands, or where the photographs look.

    Raises:
        InputError: The scene is not trained, or no photograph shows the place.
    """
    context.require_trained()
    at = _at(context)
    find_place(context.open_scene.capture, at)

    def prepare(folder: Path) -> list[str]:
        place = [] if at is None else ["--at=" + ",".join(f"{value:.10g}" for value in at)]
        return ["light", str(context.location.folder), "--out", str(folder / "out.png"), *place]

    return context.services.jobs.add(context.location.page, "light", "Estimate of the light", prepare)


def latest_estimate(context: Context) -> dict[str, Any]:
    """Return the light that was estimated last, as `nerf-insert light` prints it, and the "job".

    Raises:
        InputError: None was.
    """
    page, jobs = context.location.page, context.services.jobs
    for job in jobs.list_jobs(page):
        if job.kind == "light" and job.state == "done":
            found = {"job": job.key, **read_result(jobs.folder(page, job.key))}
            if isinstance(found.get("option"), str) and isinstance(found.get("verdict"), str):
                return found
    raise InputError("Estimate the light first.")
