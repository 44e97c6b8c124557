"""What the steps share: the page's state, and exceptions as messages."""

from __future__ import annotations

import functools
import logging
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import gradio as gr

from nerf_insert.app.drafts import Draft
from nerf_insert.app.messages import INTERNAL_ERROR, OUT_OF_MEMORY, as_sentence
from nerf_insert.app.scene_cache import OpenScene
from nerf_insert.app.services import Services
from nerf_insert.app.shutdown import IN_FLIGHT
from nerf_insert.app.workspace import SceneLocation
from nerf_insert.errors import InputError, RunError, warnings_to

log = logging.getLogger("nerf_insert.app")
Session = dict[str, Any]  # state of one browser: scene, draft, step, how, stamp, view
FRESH: Session = {"scene": None, "draft": None, "step": "open", "how": "paint", "stamp": 0, "view": None}
FAILED = "That did not work"
# Options of event listeners.
PRIVATE: dict[str, Any] = {
    "api_visibility": "private",
    "show_progress": "hidden",
    "concurrency_limit": None,
}
# ... of those that show how things are now: asked again meanwhile, they run again, after this run.
LATEST: dict[str, Any] = {**PRIVATE, "trigger_mode": "always_last"}
# ... of quick ones that change the session or the draft: one after the other, or one would undo the other.
IN_TURN: dict[str, Any] = {**PRIVATE, "concurrency_limit": 1, "concurrency_id": "session"}
# ... and of those of which none may be dropped or wait: it says what a field holds, or carries data.
EVERY_EVENT: dict[str, Any] = {**IN_TURN, "trigger_mode": "multiple"}
# ... and of those that come by the dozen, as while something is dragged: the last one counts.
LATEST_IN_TURN: dict[str, Any] = {**IN_TURN, "trigger_mode": "always_last"}


@dataclass
class Page:
    """The page while it is being built.

    Attributes:
        services: What the server does.
        session: The browser's state, an input of every handler.
        stage: The widget with the photographs and the 3D view.
        refreshers: (function of the session, outputs, whether it knows scenes without camera positions), all
            run when a scene has been opened.
        edit_jobs: The widgets whose jobs change the scene's layers.
    """

    services: Services
    session: gr.State
    stage: gr.HTML
    refreshers: list[tuple[Callable[[Session], Sequence[Any]], Sequence[Any], bool]] = field(
        default_factory=list
    )
    edit_jobs: list[gr.HTML] = field(default_factory=list)

    def when_opened(
        self, refresh: Callable[[Session], Sequence[Any]], outputs: Sequence[Any], pending: bool = False
    ) -> None:
        """Run a function of the session whenever a scene has been opened.

        Args:
            refresh: Returns the values of the outputs.
            outputs: Components that it updates.
            pending: Whether it knows what to do with a scene whose camera positions are not found yet; else
                it is run as if no scene were open.
        """
        self.refreshers.append((refresh, outputs, pending))

    @property
    def refreshed(self) -> list[Any]:
        """The outputs of `refresh`."""
        return [self.session, *(output for _, outputs, _ in self.refreshers for output in outputs)]

    def refresh(self, session: Session) -> list[Any]:
        """Return the values of all outputs; with no scene selected if it can no longer be opened."""
        now: Any = gr.skip()
        waits = False
        try:
            if session["scene"]:
                waits = Context(self.services, session).location.pending
            if session["scene"] and not waits:
                _ = Context(self.services, session).open_scene.capture
        except InputError as problem:
            gr.Warning(as_sentence(problem), title="This scene cannot be opened")
            session = now = {**session, "scene": None}
        values: list[Any] = []
        for refresh, outputs, pending in self.refreshers:
            try:
                values += refresh({**session, "scene": None} if waits and not pending else session)
            except InputError as problem:  # the rest of the page still works
                gr.Warning(as_sentence(problem))
                values += [gr.skip()] * len(outputs)
        return [now, *values]

    def while_at(
        self, step: str, refresh: Callable[[Session], Any], outputs: Sequence[Any], **options: Any
    ) -> None:
        """Run a function of the session when a person enters a step, and after every change while there.

        Args:
            step: The step.
            refresh: Returns the values of the outputs.
            outputs: Components that it updates.
            options: Options of the event listener.
        """
        unchanged = [gr.skip()] * len(outputs) if len(outputs) > 1 else gr.skip()

        def refresh_here(session: Session) -> Any:
            return refresh(session) if session["scene"] and session["step"] == step else unchanged

        options = {**LATEST, **options}
        self.session.change(show_errors(refresh_here), self.session, list(outputs), **options)


def stage_value(session: Session, trained: bool | None = None) -> dict[str, Any]:
    """Return the value of the stage widget, which its script reads."""
    return {key: session.get(key) for key in FRESH} | ({} if trained is None else {"trained": trained})


def jobs_value(session: Session, kinds: Sequence[str]) -> dict[str, Any]:
    """Return a value of the jobs widget that makes it list the jobs of these kinds afresh."""
    return {"scene": session["scene"], "kinds": kinds, "stamp": secrets.token_hex(4)}


class Context:
    """The scene and the draft of a session.

    Attributes:
        session: The session.
        services: What the server does.
        location: The scene folder.
        drafts: The scene's drafts.
        key: The ID of the session's draft.
    """

    def __init__(self, services: Services, session: Session) -> None:
        """Look up the scene of a session.

        Raises:
            InputError: No scene is open, or it no longer exists.
        """
        if not session.get("scene"):
            raise InputError("Open a scene first (step Open).")
        self.session = session
        self.services = services
        self.location: SceneLocation = services.workspace.find(session["scene"])
        self.drafts, self.key = services.drafts(self.location), str(session["draft"])

    @property
    def draft(self) -> Draft:
        """The draft as it is on disk now."""
        return self.drafts.load(self.key)

    @property
    def open_scene(self) -> OpenScene:
        """The scene, from the cache."""
        return self.services.scene_cache.get(self.location)

    def require_trained(self) -> None:
        """Check that the 3D scene is built.

        Raises:
            InputError: It is not.
        """
        if not self.location.trained:
            raise InputError("This capture has no 3D scene yet: build it first (step Open).")


def show_errors(handler: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate a handler so that its exceptions and warnings appear as messages on the page."""

    @functools.wraps(handler)
    def guarded(*inputs: Any) -> Any:
        try:
            with IN_FLIGHT.track(), warnings_to(lambda text: gr.Warning(as_sentence(text))):
                return handler(*inputs)
        except gr.Error:
            raise
        except (InputError, RunError) as error:
            raise gr.Error(as_sentence(error), title=FAILED, print_exception=False) from None
        except MemoryError:
            raise gr.Error(OUT_OF_MEMORY, title=FAILED, print_exception=False) from None
        except Exception:
            log.exception("%s failed", getattr(handler, "__name__", handler))
            raise gr.Error(INTERNAL_ERROR, title=FAILED, print_exception=False) from None

    return guarded


def stamped(session: Session, **changes: Any) -> Session:
    """Return the session with changes that the stage has to show."""
    return {**session, **changes, "stamp": session.get("stamp", 0) + 1}
