"""Edit: start the long run, watch it, stop it, let it go on."""

from __future__ import annotations

import secrets
from pathlib import Path

import gradio as gr

from nerf_insert.app import model_list
from nerf_insert.app.draft_to_recipe import command_line, recipe_of
from nerf_insert.app.jobs.queue import keep_recipe
from nerf_insert.app.region_overlay import sentence
from nerf_insert.app.steps.common import PRIVATE, Page, Session, Work, told
from nerf_insert.app.widgets import widget
from nerf_insert.errors import InputError

KINDS = ["edit"]


def build(page: Page) -> None:
    services, session = page.services, page.session
    summary = gr.Markdown("", elem_id="edit-summary")
    start = gr.Button("Start the edit", variant="primary", elem_id="start-edit")
    jobs = widget("jobs", services, {"scene": None, "kinds": KINDS}, "edit-jobs")
    with gr.Accordion("The same from the command line", open=False):
        command = gr.Textbox(
            "", label="Command", lines=3, buttons=["copy"], interactive=False, elem_id="command"
        )

    def edit(session: Session):
        work = Work(services, session)
        work.need_trained()
        add_edit(services, work, work.draft)
        return value(session)

    def value(session: Session) -> dict:
        return {"scene": session["scene"], "kinds": KINDS, "stamp": secrets.token_hex(4)}

    def refresh(session: Session):
        if not session["scene"]:
            return ["Open a scene first.", "", {"scene": None, "kinds": KINDS}]
        return [*described(Work(services, session)), value(session)]

    page.when_opened(refresh, [summary, command, jobs])
    start.click(told(edit), session, jobs, **PRIVATE)
    page.while_at("edit", lambda now: described(Work(services, now)), [summary, command])
    page.edit_jobs.append(jobs)


def described(work: Work) -> list[str]:
    """What would be done, in words and as a command."""
    draft = work.draft
    try:
        recipe = recipe_of(draft, work.drafts, work.key)
    except InputError as problem:
        return [sentence(problem), ""]
    where = []
    if draft.masks:
        where.append(f"masks on {len(draft.masks)} photograph{'s' if len(draft.masks) > 1 else ''}")
    if draft.mesh and draft.mesh_is_region:
        where.append(f"the mesh {Path(draft.mesh).name}")
    if draft.box:
        where.append("the box")
    what = [f"“{draft.prompt}”"] if draft.prompt else []
    what += ["a reference picture"] if draft.reference else []
    many = len(where) > 1 or (draft.masks and len(draft.masks) > 1)
    words = f"**{recipe.name}**: where {' and '.join(where)} {'say' if many else 'says'}"
    words += f", painted by `{recipe.inpainter}`"
    words += f" from {' and '.join(what)}" if what else ""
    if recipe.approved:
        count = len(recipe.approved)
        pictures = f"{count} previewed pictures" if count > 1 else "previewed picture"
        words += f", starting from the {pictures} that you kept"
    words += f", seed {recipe.seed}. It becomes a layer on top of the scene, which stays as it is outside."
    file = work.drafts.folder(work.key) / "recipe.yaml"
    return [words, command_line(recipe, work.place.folder, file)]


def add_edit(services, work: Work, draft):
    """Queue the edit that a draft describes; the job."""
    recipe = recipe_of(draft, work.drafts, work.key)
    model_list.check_recipe(recipe)

    def make(folder) -> list[str]:
        return ["edit", str(work.place.folder), "--recipe", str(keep_recipe(recipe, folder))]

    return services.jobs.add(work.place.page, "edit", f"{recipe.name}, by {recipe.inpainter}", make)
