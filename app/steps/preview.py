"""Preview: a few painted views before the long run, with one seed or another."""

from __future__ import annotations

import secrets

import gradio as gr

from nerf_insert.app import model_list
from nerf_insert.app.draft_to_recipe import recipe_of
from nerf_insert.app.jobs.queue import keep_recipe
from nerf_insert.app.steps.common import PRIVATE, Page, Session, Work, told
from nerf_insert.app.widgets import widget
from nerf_insert.scene.recipe import MAX_SEED

KINDS = ["preview"]


def build(page: Page) -> None:
    services, session = page.services, page.session
    gr.Markdown(
        "Paints a few photographs as the edit would and fits nothing: quick, and the scene stays as it is. "
        "The edit will start from the pictures that you keep, and paint the others after them."
    )
    with gr.Row():
        views = gr.Slider(1, 12, 4, step=1, label="Views to paint", elem_id="preview-views")
        seed = gr.Number(
            0,
            label="Seed",
            info="Another number, another look, in the edit too",
            precision=0,
            minimum=0,
            maximum=MAX_SEED,
            elem_id="seed",
            min_width=100,
        )
    with gr.Row():
        start = gr.Button("Preview", variant="primary", elem_id="start-preview")
        another = gr.Button("Try another seed", elem_id="another-seed")
        forget = gr.Button("Keep none", elem_id="forget-kept")
    jobs = widget("jobs", services, {"scene": None, "kinds": KINDS}, "preview-jobs")

    def keep_seed(number: float | None, session: Session) -> None:
        work = Work(services, session)
        work.drafts.change(work.key, seed=int(number or 0))

    def preview(count: int, number: float | None, session: Session):
        keep_seed(number, session)
        work = Work(services, session)
        work.need_trained()
        add_preview(services, work, work.draft, int(count))
        return value(session)

    def preview_another(count: int, session: Session):
        number = secrets.randbelow(100_000)
        return [number, preview(count, number, session)]

    def value(session: Session) -> dict:
        now = {"scene": session["scene"], "draft": session["draft"], "kinds": KINDS}
        return {**now, "stamp": secrets.token_hex(4)}

    def forget_kept(session: Session):
        work = Work(services, session)
        work.drafts.change(work.key, kept={})
        return value(session)

    def refresh(session: Session):
        if not session["scene"]:
            return [gr.skip(), {"scene": None, "kinds": KINDS}]
        return [Work(services, session).draft.seed, value(session)]

    page.when_opened(refresh, [seed, jobs])
    seed.input(told(keep_seed), [seed, session], None, trigger_mode="always_last", **PRIVATE)
    start.click(told(preview), [views, seed, session], jobs, **PRIVATE)
    forget.click(told(forget_kept), session, jobs, **PRIVATE)
    another.click(told(preview_another), [views, session], [seed, jobs], **PRIVATE)


def add_preview(services, work: Work, draft, count: int):
    """Queue a preview of a draft; the job."""
    recipe = recipe_of(draft, work.drafts, work.key)
    model_list.check_recipe(recipe)

    def make(folder) -> list[str]:
        file = keep_recipe(recipe, folder)
        out = ["--out", str(folder / "out"), "--paint", str(count)]
        return ["preview", str(work.place.folder), "--recipe", str(file), *out]

    return services.jobs.add(
        work.place.page, "preview", f"Preview of {recipe.name}, seed {recipe.seed}", make
    )
