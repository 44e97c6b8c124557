"""Say: what shall be there, who paints it, and how."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import gradio as gr

from nerf_insert.app import model_list
from nerf_insert.app.inpainter_list import inpainters
from nerf_insert.app.steps.common import PRIVATE, Page, Session, Work, told
from nerf_insert.app.uploads import take_picture
from nerf_insert.editing.session import CONSISTENT, INCONSISTENT
from nerf_insert.errors import InputError
from nerf_insert.scene.recipe import Recipe

AUTOMATIC = "what fits: mesh where there is one, diffusion where words say what, else fill"


def build(page: Page) -> None:
    services, session = page.services, page.session
    known = inpainters()
    inpainter = gr.Radio(painters(known), value="", label="Who paints it", elem_id="inpainter")
    gr.Markdown(
        "\n".join(f"- **{name}**: {words}" for name, (_, words) in known.items()), elem_id="about-inpainters"
    )
    with gr.Column() as by_diffusion:
        model = gr.Dropdown(
            model_list.choices(),
            value="",
            label="Diffusion model",
            info="Those on this machine come first; or the folder of another one",
            allow_custom_value=True,
            elem_id="model",
        )
        about_model = gr.Markdown(model_list.about(""), elem_id="about-model")
    with gr.Column():
        prompt = gr.Textbox(
            "",
            label="Text",
            info="What shall be there, for painters that read text",
            placeholder="a pair of blue headphones",
            lines=2,
            elem_id="prompt",
        )
        negative = gr.Textbox("", label="Not this", info="What shall not be there", elem_id="negative-prompt")
        reference = gr.File(
            label="Reference picture", file_types=["image"], type="filepath", elem_id="reference", height=110
        )
        about_reference = gr.Markdown("", elem_id="about-reference")
    name = gr.Textbox(
        "", label="Name of the layer", info="Empty: after what it is", max_length=60, elem_id="layer-name"
    )
    with gr.Accordion("More", open=False):
        steps = gr.Number(
            None,
            label="Steps",
            info="Of fitting the layer; more is sharper and slower. Empty: "
            f"{CONSISTENT[0]}, or {INCONSISTENT[0]} "
            "where pictures may contradict one another",
            precision=0,
            minimum=1,
            elem_id="fit-steps",
        )
        rounds = gr.Number(
            None,
            label="Rounds",
            info="How often all views are painted and fitted. Empty: what the painter asks for",
            precision=0,
            minimum=1,
            maximum=1000,
            elem_id="rounds",
        )
        shell = gr.Number(
            None,
            label="Blend shell",
            info="Soft border of the layer, in shares of the region's diagonal. Empty: as the painter asks",
            minimum=0,
            maximum=0.5,
            step=0.01,
            elem_id="shell",
        )
        shiny = gr.Checkbox(
            False,
            label="Colors may change with the direction of view",
            info="For shiny things; views that disagree may then show as glitter",
            elem_id="view-dependent",
        )
        options = gr.Textbox(
            "",
            label="Options of the painter",
            info='As JSON, such as {"guidance": 7}; its own documentation says which',
            elem_id="options",
        )
    fields = [inpainter, model, prompt, negative, name, steps, rounds, shell, shiny, options]

    def keep(*given):
        *values, session = given
        work = Work(services, session)
        chosen, which, text, against, called, many, again, soft, shine, extra = values
        changes = {
            "inpainter": chosen or "",
            "model": which or "",
            "prompt": text or "",
            "negative_prompt": against or "",
            "name": called or "",
            "steps": int(many) if many else None,
            "rounds": int(again) if again else None,
            "shell": soft,
            "view_dependent": bool(shine),
            "options": options_of(extra),
        }
        check = {"steps": changes["steps"] or 1, "rounds": changes["rounds"], "shell": changes["shell"]}
        box = {"box": {"center": [0, 0, 0], "size": [1, 1, 1]}}
        Recipe.from_dict({"region": box, "schedule": check})  # what is out of bounds
        work.drafts.change(work.key, **changes)

    def take_reference(path: str | None, session: Session):
        work = Work(services, session)
        if path is None:
            return gr.skip()
        take_picture(Path(path), work.drafts.file(work.key, "reference", "reference.png"))
        work.drafts.change(work.key, reference="reference.png")
        return f"Taken: {Path(path).name}"

    def forget_reference(session: Session):
        work = Work(services, session)
        shutil.rmtree(work.drafts.folder(work.key) / "reference", ignore_errors=True)
        work.drafts.change(work.key, reference=None)
        return ""

    def refresh(session: Session):
        if not session["scene"]:
            return [gr.skip()] * (len(fields) + 1)
        d = Work(services, session).draft
        extra = json.dumps(d.options) if d.options else ""
        return [
            d.inpainter, d.model, d.prompt, d.negative_prompt, d.name, d.steps, d.rounds, d.shell,
            d.view_dependent, extra, "A reference picture is set." if d.reference else "",
        ]  # fmt: skip

    def available(session: Session):
        """A model may have been downloaded since."""
        which = Work(services, session).draft.model
        return [
            gr.Radio(choices=painters(known)),
            gr.Dropdown(choices=model_list.choices()),
            model_list.about(which),
        ]

    page.when_opened(refresh, [*fields, about_reference])
    page.while_at("say", available, [inpainter, model, about_model])
    inpainter.change(
        lambda chosen: gr.Column(visible=chosen in ("", "diffusion")), inpainter, by_diffusion, **PRIVATE
    )
    model.change(lambda which: model_list.about(which or ""), model, about_model, **PRIVATE)
    for part in fields:
        event = part.blur if isinstance(part, gr.Textbox) else part.input
        event(told(keep), [*fields, session], None, trigger_mode="always_last", **PRIVATE)
    prompt.input(told(keep), [*fields, session], None, trigger_mode="always_last", **PRIVATE)
    reference.upload(told(take_reference), [reference, session], about_reference, **PRIVATE)
    reference.clear(told(forget_reference), session, about_reference, **PRIVATE)


def painters(known: dict[str, tuple[bool, str]]) -> list[tuple[str, str]]:
    """(label, name) of what can be chosen, the first what fits."""
    missing = {name: "not available" for name, (fine, _) in known.items() if not fine}
    if model_list.about(""):
        missing.setdefault("diffusion", "no model on this machine yet")
    return [(AUTOMATIC, "")] + [
        (f"{name} ({missing[name]})" if name in missing else name, name) for name in known
    ]


def options_of(text: str | None) -> dict:
    """Raises InputError for what is no JSON object."""
    if not (text or "").strip():
        return {}
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        data = None
    if not isinstance(data, dict):
        raise InputError('the options have to be JSON in braces, such as {"guidance": 7}')
    return data
