"""Floaters: find what hangs in the air of a scene, show it, and remove it as a layer. A part of Results."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr

from nerf_insert.app.jobs.job import Job, read_result
from nerf_insert.app.jobs.queue import keep_recipe
from nerf_insert.app.steps.common import LATEST, PRIVATE, Context, Page, Session, jobs_value, show_errors
from nerf_insert.app.widgets import widget, widget_event
from nerf_insert.errors import InputError
from nerf_insert.regions.spec import Mesh
from nerf_insert.scene.recipe import Recipe

KINDS = ["clean"]


def build(page: Page) -> None:
    """Lay out the part."""
    services, session = page.services, page.session
    gr.Markdown(
        "Floaters are pieces in the air that touch nothing and that few photographs confirm. They are shown "
        "first. Removing them adds a layer, which *Undo* takes back."
    )
    start = gr.Button("Find floaters", elem_id="find-floaters", size="sm")
    jobs = widget("jobs", services, {"scene": None, "kinds": KINDS}, "clean-jobs")
    about = gr.Markdown("", elem_id="about-floaters")
    sheet = gr.Image(
        label="Photographs, the scene as it is, and without floaters",
        visible=False,
        interactive=False,
        buttons=["fullscreen"],
        elem_id="floaters",
    )
    remove = gr.Button("Remove them", variant="primary", visible=False, elem_id="remove-floaters", size="sm")

    def find(session: Session) -> dict[str, Any]:
        add_search(Context(services, session))
        return jobs_value(session, KINDS)

    def remove_found(session: Session) -> list[Any]:
        context = Context(services, session)
        add_cleaning(context, _latest(context).key)
        return ["The removal is on its way: see *Edit*.", *_nothing()]

    def found(session: Session) -> list[Any]:
        """Return the values of the components that show the latest proposal."""
        context = Context(services, session)
        try:
            folder = services.jobs.folder(context.location.page, _latest(context).key)
        except InputError:
            return ["", *_nothing()]
        count = len(read_result(folder).get("floaters", []))
        if not count:
            return ["No floaters were found.", *_nothing()]
        words = f"{count} floaters were found." if count > 1 else "One floater was found."
        pictures = folder / "out" / "sheet.png"
        shown = pictures.is_file() and not pictures.is_symlink()  # the folder can be somebody else's
        image = gr.Image(value=str(pictures) if shown else None, visible=shown)
        return [words, image, gr.Button(visible=True)]

    def refresh(session: Session) -> list[Any]:
        if not session["scene"]:
            return [{"scene": None, "kinds": KINDS}, "", *_nothing()]
        return [jobs_value(session, KINDS), *found(session)]

    shown = [about, sheet, remove]
    page.when_opened(refresh, [jobs, *shown])
    start.click(show_errors(find), session, jobs, **PRIVATE)
    remove.click(show_errors(remove_found), session, shown, **PRIVATE)
    widget_event(jobs, "ended")(show_errors(found), session, shown, **LATEST)


def _nothing() -> list[Any]:
    """Return the values of the picture and the button that hide both."""
    return [gr.Image(value=None, visible=False), gr.Button(visible=False)]


def _latest(context: Context) -> Job:
    """Return the latest search that is done. Raises InputError if there is none."""
    for job in context.services.jobs.list_jobs(context.location.page):
        if job.kind == "clean" and job.state == "done":
            return job
    raise InputError("Find floaters first.")


def add_search(context: Context) -> Job:
    """Queue a search for floaters.

    Raises:
        InputError: The scene is not trained.
    """
    context.require_trained()

    def prepare(folder: Path) -> list[str]:
        return ["clean", str(context.location.folder), "--out", str(folder / "out")]

    return context.services.jobs.add(context.location.page, "clean", "Search for floaters", prepare)


def add_cleaning(context: Context, search: str) -> Job:
    """Queue the removal of what a search found.

    Args:
        context: The scene.
        search: Key of the search's job.

    Raises:
        InputError: There is no such search, or it found nothing.
    """
    page, jobs = context.location.page, context.services.jobs
    job = jobs.get(page, search)
    out = jobs.folder(page, job.key) / "out"
    if job.kind != "clean" or not (out / "recipe.yaml").exists():
        raise InputError("this search found no floaters")
    recipe = Recipe.load(out / "recipe.yaml")
    own = isinstance(recipe.region, Mesh) and Path(recipe.region.mesh).resolve().is_relative_to(out.resolve())
    if not own:  # the folder can be somebody else's
        raise InputError("this search is damaged: find floaters again")

    def prepare(folder: Path) -> list[str]:
        return ["edit", str(context.location.folder), "--recipe", str(keep_recipe(recipe, folder))]

    return jobs.add(page, "edit", "Floaters", prepare)
