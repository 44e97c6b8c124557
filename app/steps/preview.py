"""Preview: a few painted views before the long run, with one seed or another."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Any

import gradio as gr

from nerf_insert.app import model_list
from nerf_insert.app.draft_to_recipe import recipe_from_draft
from nerf_insert.app.jobs.job import Job
from nerf_insert.app.jobs.queue import keep_recipe
from nerf_insert.app.steps.common import EVERY_EVENT, IN_TURN, Context, Page, Session, jobs_value, show_errors
from nerf_insert.app.widgets import widget
from nerf_insert.scene.recipe import MAX_SEED

KINDS = ["preview"]


def build(page: Page) -> None:
    """Lay out the step."""
    services, session = page.services, page.session
    gr.Markdown(
        "Paint a few photographs as the edit would, without fitting a layer: quick, and the scene does not "
        "change. The edit starts from the images that you keep and paints the other views to match."
    )
    with gr.Row():
        views = gr.Slider(1, 12, 4, step=1, label="Views to paint", elem_id="preview-views")
        seed = gr.Number(
            0,
            label="Seed",
            info="Another seed gives another result, in the edit too",
            precision=0,
            minimum=0,
            maximum=MAX_SEED,
            elem_id="seed",
            min_width=100,
        )
    with gr.Row():
        start = gr.Button("Preview", variant="primary", elem_id="start-preview")
        another = gr.Button("Try another seed", elem_id="another-seed")
        forget = gr.Button("Clear kept images", elem_id="forget-kept")
    jobs = widget("jobs", services, {"scene": None, "kinds": KINDS}, "preview-jobs")

    def save_seed(number: float | None, session: Session) -> None:
        context = Context(services, session)
        context.drafts.change(context.key, seed=int(number or 0))

    def preview(count: int, number: float | None, session: Session) -> dict[str, Any]:
        save_seed(number, session)
        add_preview(Context(services, session), int(count))
        return with_draft(session)

    def preview_another(count: int, session: Session) -> list[Any]:
        number = secrets.randbelow(100_000)
        return [number, preview(count, number, session)]

    def forget_kept(session: Session) -> dict[str, Any]:
        context = Context(services, session)
        context.drafts.change(context.key, kept={})
        return with_draft(session)

    def with_draft(session: Session) -> dict[str, Any]:
        return {**jobs_value(session, KINDS), "draft": session["draft"]}

    def refresh(session: Session) -> list[Any]:
        if not session["scene"]:
            return [gr.skip(), {"scene": None, "kinds": KINDS}]
        return [Context(services, session).draft.seed, with_draft(session)]

    page.when_opened(refresh, [seed, jobs])
    seed.input(show_errors(save_seed), [seed, session], None, **EVERY_EVENT)
    start.click(show_errors(preview), [views, seed, session], jobs, **IN_TURN)
    forget.click(show_errors(forget_kept), session, jobs, **IN_TURN)
    another.click(show_errors(preview_another), [views, session], [seed, jobs], **IN_TURN)


def add_preview(context: Context, count: int) -> Job:
    """Queue a preview of a draft.

    Args:
        context: The scene and the draft.
        count: Number of views to paint.

    Raises:
        InputError: The scene is not trained, or the draft is not complete.
    """
    context.require_trained()
    recipe = recipe_from_draft(context.draft, context.drafts, context.key)
    model_list.check_recipe_model(recipe)

    def prepare(folder: Path) -> list[str]:
        file = keep_recipe(recipe, folder)
        output = ["--out", str(folder / "out"), "--paint", str(count)]
        return ["preview", str(context.location.folder), "--recipe", str(file), *output]

    title = f"Preview of {recipe.name}, seed {recipe.seed}"
    return context.services.jobs.add(context.location.page, "preview", title, prepare)
