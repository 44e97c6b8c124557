"""What all services share.

Every call names the scene and the draft that it is about, so that browsers do not get in each other's way. A
call that fails answers {"error": sentence}; whatever is our own fault goes to the server's log.
"""

from __future__ import annotations

import functools
import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gradio.utils import get_upload_folder

from nerf_insert.app import region_overlay
from nerf_insert.app.drafts import Draft, Drafts
from nerf_insert.app.jobs.queue import Jobs
from nerf_insert.app.scene_cache import OpenScene, SceneCache
from nerf_insert.app.shutdown import IN_FLIGHT
from nerf_insert.app.workspace import SceneLocation, Workspace
from nerf_insert.errors import InputError, RunError

log = logging.getLogger("nerf_insert.app")


def answering(call: Callable) -> Callable:
    """A sentence in the place of an exception."""

    @functools.wraps(call)
    def answer(self, data: dict) -> dict:
        try:
            with IN_FLIGHT.inside():
                return call(self, data)
        except (InputError, RunError) as error:
            return {"error": region_overlay.sentence(error)}
        except MemoryError:
            return {"error": "There is not enough memory for this: close other programs."}
        except Exception:
            log.exception("%s failed", call.__name__)
            return {"error": "Something in NeRF-Insert broke; the terminal that it runs in says what."}

    return answer


class Service:
    def __init__(self, workspace: Workspace, jobs: Jobs) -> None:
        self.workspace, self.jobs, self.library = workspace, jobs, SceneCache()
        self.uploads = Path(get_upload_folder())  # Gradio's own, and what it may hand out
        self.downloads = self.uploads / "downloads"
        self._turns: dict[str, Any] = {}  # of each window, the picture that it asked for last
        self._depths: dict[Path, threading.Thread] = {}

    def place(self, data: dict) -> SceneLocation:
        return self.workspace.find(str(data.get("scene", "")))

    def opened(self, data: dict) -> OpenScene:
        return self.library.get(self.place(data))

    def drafts(self, place: SceneLocation) -> Drafts:
        """What is about to be done in a scene, with files of the workspace or that were uploaded."""
        return Drafts(place.page, self.uploads, self.workspace.folder)

    def draft(self, data: dict) -> tuple[Drafts, str, Draft]:
        drafts, key = self.drafts(self.place(data)), str(data.get("draft", ""))
        return drafts, key, drafts.load(key)

    def _render_depths(self, opened: OpenScene) -> None:
        thread = self._depths.get(opened.place.folder)
        if (thread is None or not thread.is_alive()) and len(opened.depths) < len(opened.capture.views):
            self._depths[opened.place.folder] = region_overlay.render_depths(opened)
