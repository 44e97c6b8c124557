"""What the steps share: the page's state, and errors as sentences."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import gradio as gr

from nerf_insert.app.drafts import Draft
from nerf_insert.app.region_overlay import sentence
from nerf_insert.app.scene_cache import OpenScene
from nerf_insert.app.services import Services
from nerf_insert.app.shutdown import IN_FLIGHT
from nerf_insert.app.workspace import SceneLocation
from nerf_insert.errors import InputError, RunError

log = logging.getLogger("nerf_insert.app")
Session = dict[str, Any]  # what one browser works on: scene, draft, step, how, stamp, view
FRESH: Session = {"scene": None, "draft": None, "step": "open", "how": "paint", "stamp": 0, "view": None}
PRIVATE = {"api_visibility": "private", "show_progress": "hidden", "concurrency_limit": None}
# Of quick events that read the session and change it: one after the other, or the one would undo the other.
IN_TURN = {**PRIVATE, "concurrency_limit": 1, "concurrency_id": "session"}
MANY = {**IN_TURN, "trigger_mode": "multiple"}  # ... and that say something, of which none may be lost


@dataclass
class Page:
    """The page while it is built. `session` travels with every handler; `refreshers` are (function of the
    session, outputs), run together whenever another scene has been opened."""

    services: Services
    session: gr.State
    stage: gr.HTML
    refreshers: list[tuple[Callable, Sequence[Any]]] = field(default_factory=list)
    edit_jobs: list[gr.HTML] = field(default_factory=list)

    def when_opened(self, refresh: Callable, outputs: Sequence[Any]) -> None:
        self.refreshers.append((refresh, outputs))

    @property
    def refreshed(self) -> list[Any]:
        """The outputs of `refresh`."""
        return [self.session, *(one for _, outputs in self.refreshers for one in outputs)]

    def refresh(self, session: Session) -> list[Any]:
        """All of the page as of a session; without a scene where that cannot be opened any more."""
        now: Any = gr.skip()
        try:
            if session["scene"]:
                _ = Work(self.services, session).opened.capture
        except InputError as problem:
            gr.Warning(sentence(problem), title="That scene cannot be opened")
            session = now = {**session, "scene": None}
        values: list[Any] = []
        for refresh, outputs in self.refreshers:
            try:
                values += refresh(session)
            except InputError as problem:  # the rest can be used all the same
                gr.Warning(sentence(problem))
                values += [gr.skip()] * len(outputs)
        return [now, *values]

    def while_at(self, step: str, refresh: Callable, outputs: Sequence[Any], **how: Any) -> None:
        """Run a function of the session when a person goes to a step, and there after each change, as of the
        photograph on the stage."""

        same = [gr.skip()] * len(outputs) if len(outputs) > 1 else gr.skip()

        def now(session: Session):
            return refresh(session) if session["scene"] and session["step"] == step else same

        how = {**PRIVATE, "trigger_mode": "always_last", **how}
        self.session.change(told(now), self.session, list(outputs), **how)


def stage_value(session: Session, trained: bool | None = None) -> dict[str, Any]:
    return {key: session.get(key) for key in FRESH} | ({} if trained is None else {"trained": trained})


class Work:
    """The scene and the draft that a session is about. Raises InputError where none is open."""

    def __init__(self, services: Services, session: Session) -> None:
        if not session.get("scene"):
            raise InputError("Open a scene first (step Open).")
        self.session = session
        self.place: SceneLocation = services.workspace.find(session["scene"])
        self.drafts, self.key = services.drafts(self.place), str(session["draft"])
        self.services = services

    @property
    def draft(self) -> Draft:
        return self.drafts.load(self.key)

    @property
    def opened(self) -> OpenScene:
        return self.services.library.get(self.place)

    def need_trained(self) -> None:
        if not self.place.trained:
            raise InputError("This capture has no 3D scene yet: build it first (step Open).")


def told(handler: Callable) -> Callable:
    """The handler, with a sentence in the place of an exception."""

    @functools.wraps(handler)
    def tell(*inputs):
        try:
            with IN_FLIGHT.inside():
                return handler(*inputs)
        except gr.Error:
            raise
        except (InputError, RunError) as error:
            raise gr.Error(sentence(error), title="That did not work", print_exception=False) from None
        except MemoryError:
            raise gr.Error(
                "There is not enough memory for this: close other programs.", print_exception=False
            ) from None
        except Exception:
            log.exception("%s failed", getattr(handler, "__name__", handler))
            words = "Something in NeRF-Insert broke; the terminal that it runs in says what."
            raise gr.Error(words, title="That did not work", print_exception=False) from None

    return tell


def stamped(session: Session, **changes: Any) -> Session:
    """The session after something that the stage has to show anew."""
    return {**session, **changes, "stamp": session.get("stamp", 0) + 1}
