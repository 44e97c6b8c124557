"""Content: what to put into the region, and the inpainter that paints it."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr

from nerf_insert.app import model_list
from nerf_insert.app.draft_to_recipe import check_schedule
from nerf_insert.app.inpainter_list import registered_inpainters
from nerf_insert.app.steps.common import EVERY_EVENT, PRIVATE, Context, Page, Session, show_errors
from nerf_insert.app.uploads import take_image
from nerf_insert.editing.session import CONSISTENT, INCONSISTENT
from nerf_insert.errors import InputError
from nerf_insert.io.decoding import SUFFIXES

AUTOMATIC = (
    "Automatic: mesh if you placed one, diffusion if you enter a prompt or a reference image, otherwise fill"
)


def build(page: Page) -> None:
    """Lay out the step."""
    services, session = page.services, page.session
    known = registered_inpainters()
    inpainter = gr.Radio(
        inpainter_choices(known), value="", label="Inpainter", info=AUTOMATIC, elem_id="inpainter"
    )
    gr.Markdown(
        "\n".join(f"- **{name}**: {about}" for name, (_, about) in known.items()), elem_id="about-inpainters"
    )
    with gr.Column() as by_diffusion:
        model = gr.Dropdown(
            model_list.model_choices(),
            value="",
            label="Diffusion model",
            info="Models on this machine come first. You can also enter the folder of another one",
            allow_custom_value=True,
            elem_id="model",
        )
        about_model = gr.Markdown(model_list.describe_model(""), elem_id="about-model")
    with gr.Column():
        prompt = gr.Textbox(
            "",
            label="Prompt",
            info="What to put there, for inpainters that read text",
            placeholder="a pair of blue headphones",
            lines=2,
            elem_id="prompt",
        )
        negative = gr.Textbox("", label="Negative prompt", info="What to avoid", elem_id="negative-prompt")
        reference = gr.File(
            label="Reference image", file_types=[*SUFFIXES], type="filepath", elem_id="reference", height=110
        )
        about_reference = gr.Markdown("", elem_id="about-reference")
    name = gr.Textbox(
        "", label="Layer name", info="Empty: named after its content", max_length=60, elem_id="layer-name"
    )
    with gr.Accordion("Advanced", open=False):
        steps = gr.Number(
            None,
            label="Steps",
            info="Training steps of the layer; more are sharper and slower. Empty: "
            f"{CONSISTENT.steps}, or {INCONSISTENT.steps} if the painted images may contradict one another",
            precision=0,
            minimum=1,
            elem_id="fit-steps",
        )
        rounds = gr.Number(
            None,
            label="Rounds",
            info="How often all views are painted and fitted. Empty: the inpainter's default",
            precision=0,
            minimum=1,
            maximum=1000,
            elem_id="rounds",
        )
        blend_width = gr.Number(
            None,
            label="Blend width",
            info="Soft border of the layer, as a fraction of the region's diagonal. Empty: the inpainter's "
            "default",
            minimum=0,
            maximum=0.5,
            step=0.01,
            elem_id="blend-width",
        )
        view_dependent = gr.Checkbox(
            False,
            label="View-dependent color",
            info="For shiny objects; inconsistent views may then appear as glitter",
            elem_id="view-dependent",
        )
        options = gr.Textbox(
            "",
            label="Inpainter options",
            info='JSON, for example {"guidance": 7}; see the documentation of the inpainter',
            elem_id="options",
        )
    fields = {
        "inpainter": inpainter,
        "model": model,
        "prompt": prompt,
        "negative_prompt": negative,
        "name": name,
        "steps": steps,
        "rounds": rounds,
        "blend_width": blend_width,
        "view_dependent": view_dependent,
        "options": options,
    }

    def save(*values_and_session: Any) -> None:
        *values, session = values_and_session
        context = Context(services, session)
        changes = dict(zip(fields, values, strict=True))
        for key in ("inpainter", "model", "prompt", "negative_prompt", "name"):
            changes[key] = changes[key] or ""
        for key in ("steps", "rounds"):
            changes[key] = int(changes[key]) if changes[key] else None
        changes["view_dependent"] = bool(changes["view_dependent"])
        changes["options"] = parse_options(changes["options"])
        check_schedule(replace(context.draft, **changes))
        context.drafts.change(context.key, **changes)

    def take_reference(path: str | None, session: Session) -> Any:
        context = Context(services, session)
        if path is None:
            return gr.skip()
        take_image(Path(path), context.drafts.file(context.key, "reference", "reference.png"))
        context.drafts.change(context.key, reference="reference.png")
        return f"Uploaded {Path(path).name}."

    def forget_reference(session: Session) -> str:
        context = Context(services, session)
        shutil.rmtree(context.drafts.folder(context.key) / "reference", ignore_errors=True)
        context.drafts.change(context.key, reference=None)
        return ""

    def refresh(session: Session) -> list[Any]:
        if not session["scene"]:
            return [gr.skip()] * (len(fields) + 1)
        draft = Context(services, session).draft
        values = [getattr(draft, key) for key in fields]
        values[-1] = json.dumps(draft.options) if draft.options else ""
        return [*values, "A reference image is set." if draft.reference else ""]

    def refresh_models(session: Session) -> list[Any]:
        """Models may have been downloaded meanwhile."""
        chosen = Context(services, session).draft.model
        return [
            gr.Radio(choices=inpainter_choices(known)),
            gr.Dropdown(choices=model_list.model_choices()),
            model_list.describe_model(chosen),
        ]

    page.when_opened(refresh, [*fields.values(), about_reference])
    page.while_at("content", refresh_models, [inpainter, model, about_model])
    inpainter.change(
        lambda chosen: gr.Column(visible=chosen in ("", "diffusion")), inpainter, by_diffusion, **PRIVATE
    )
    model.change(lambda chosen: model_list.describe_model(chosen or ""), model, about_model, **PRIVATE)
    inputs = [*fields.values(), session]
    for component in fields.values():
        event = component.blur if isinstance(component, gr.Textbox) else component.input
        event(show_errors(save), inputs, None, **EVERY_EVENT)
    prompt.input(show_errors(save), inputs, None, **EVERY_EVENT)
    reference.upload(show_errors(take_reference), [reference, session], about_reference, **PRIVATE)
    reference.clear(show_errors(forget_reference), session, about_reference, **PRIVATE)


def inpainter_choices(known: dict[str, tuple[bool, str]]) -> list[tuple[str, str]]:
    """Return (label, name) of the inpainters that can be chosen; "" stands for the automatic choice."""
    missing = {name: "cannot be loaded" for name, (available, _) in known.items() if not available}
    if model_list.describe_model(""):
        missing.setdefault("diffusion", "no model on this machine yet")
    labels = {name: f"{name} ({missing[name]})" if name in missing else name for name in known}
    return [("automatic", ""), *((label, name) for name, label in labels.items())]


def parse_options(text: str | None) -> dict[str, Any]:
    """Parse the options of an inpainter.

    Raises:
        InputError: The text is not a JSON object.
    """
    if not (text or "").strip():
        return {}
    try:
        data = json.loads(text or "")
    except (ValueError, RecursionError):
        data = None
    if not isinstance(data, dict):
        raise InputError('the options must be a JSON object, for example {"guidance": 7}')
    return data
