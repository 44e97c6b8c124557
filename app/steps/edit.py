"""Edit: start the edit, watch it, pause, stop and resume it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr

from nerf_insert.app import model_list
from nerf_insert.app.draft_to_recipe import command_line, recipe_from_draft
from nerf_insert.app.drafts import Draft
from nerf_insert.app.jobs.job import Job
from nerf_insert.app.jobs.queue import keep_recipe
from nerf_insert.app.messages import as_sentence
from nerf_insert.app.steps import light
from nerf_insert.app.steps.common import (
    EVERY_EVENT,
    IN_TURN,
    LATEST,
    Context,
    Page,
    Session,
    jobs_value,
    show_errors,
)
from nerf_insert.app.widgets import widget
from nerf_insert.errors import InputError
from nerf_insert.scene.recipe import Recipe

KINDS = ["edit"]
SHADOWS = [  # what people read, and the recipe's word
    ("As fits the edit: a mesh casts one, a removal takes it back", ""),
    ("Cast a shadow, or take it back", "cast"),
    ("Only a soft shadow where it stands", "contact"),
    ("None", "none"),
]


def build(page: Page) -> None:
    """Lay out the step."""
    services, session = page.services, page.session
    summary = gr.Markdown("", elem_id="edit-summary")
    shadow = gr.Dropdown(
        choices=SHADOWS,
        value="",
        label="Shadow",
        info="A layer of its own, which can be faded and switched off under Results",
        elem_id="shadow",
    )
    with gr.Accordion("Light", open=False, elem_id="light-part"):
        light_changes = light.build(page)
    start = gr.Button("Start the edit", variant="primary", elem_id="start-edit")
    jobs = widget("jobs", services, {"scene": None, "kinds": KINDS}, "edit-jobs")
    with gr.Accordion("Command line", open=False):
        command = gr.Textbox(
            "",
            label="Command that runs this edit",
            lines=3,
            buttons=["copy"],
            interactive=False,
            elem_id="command",
        )

    def edit(session: Session) -> dict[str, Any]:
        add_edit(Context(services, session))
        return jobs_value(session, KINDS)

    def described(session: Session) -> list[str]:
        return describe_edit(Context(services, session))

    def save_shadow(kind: str | None, session: Session) -> list[str]:
        context = Context(services, session)
        context.drafts.change(context.key, shadow=kind or "")
        return describe_edit(context)

    def refresh(session: Session) -> list[Any]:
        if not session["scene"]:
            return ["Open a scene first.", "", "", {"scene": None, "kinds": KINDS}]
        context = Context(services, session)
        return [*describe_edit(context), context.draft.shadow, jobs_value(session, KINDS)]

    page.when_opened(refresh, [summary, command, shadow, jobs])
    shadow.input(show_errors(save_shadow), [shadow, session], [summary, command], **EVERY_EVENT)
    start.click(show_errors(edit), session, jobs, **IN_TURN)
    page.while_at("edit", described, [summary, command])
    for change in light_changes:
        change.then(show_errors(described), session, [summary, command], **LATEST)
    page.edit_jobs.append(jobs)


def describe_edit(context: Context) -> list[str]:
    """Describe the edit that a draft makes, in words and as a command; or what is missing, and ""."""
    draft = context.draft
    try:
        recipe = recipe_from_draft(draft, context.drafts, context.key)
    except InputError as problem:
        return [as_sentence(problem), ""]
    file = context.drafts.folder(context.key) / "recipe.yaml"
    return [_summary(draft, recipe), command_line(recipe, context.location.folder, file)]


def _summary(draft: Draft, recipe: Recipe) -> str:
    region, content = [], []
    if draft.points:
        region.append("what you clicked on")
    if draft.masks:
        region.append(f"masks on {len(draft.masks)} photograph{'s' if len(draft.masks) > 1 else ''}")
    if draft.heal:
        region.append("the surface under your strokes")
    if draft.mesh and draft.mesh_is_region:
        region.append(f"the mesh {Path(draft.mesh).name}")
    if draft.box:
        region.append("the box")
    if draft.prompt:
        content.append(f"“{draft.prompt}”")
    if draft.reference:
        content.append("a reference image")
    words = f"**{recipe.name}**: the region is {' and '.join(region)}; the inpainter is `{recipe.inpainter}`"
    words += f", with {' and '.join(content)}" if content else ""
    words += f"; the seed is {recipe.seed}."
    if recipe.approved:
        count = len(recipe.approved)
        words += (
            f" It starts from the {count} preview images"
            if count > 1
            else " It starts from the preview image"
        )
        words += " that you kept."
    return words + " The edit becomes a new layer. The scene outside the region does not change."


def add_edit(context: Context) -> Job:
    """Queue the edit that a draft describes.

    Raises:
        InputError: The scene is not trained, or the draft is not complete.
    """
    context.require_trained()
    recipe = recipe_from_draft(context.draft, context.drafts, context.key)
    model_list.check_recipe_model(recipe)

    def prepare(folder: Path) -> list[str]:
        return ["edit", str(context.location.folder), "--recipe", str(keep_recipe(recipe, folder))]

    title = f"{recipe.name}, by {recipe.inpainter}"
    return context.services.jobs.add(context.location.page, "edit", title, prepare)
