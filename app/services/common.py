"""What all services share: the scene and draft of a call, and exceptions as sentences.

Every call names the scene and the draft that it is about, so browsers do not interfere with each other. A
call that fails answers {"error": sentence}; internal errors also go to the server's log.
"""

from __future__ import annotations

import functools
import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from gradio.utils import get_upload_folder

from nerf_insert.app import region_overlay
from nerf_insert.app.drafts import Draft, Drafts
from nerf_insert.app.jobs.queue import JobQueue
from nerf_insert.app.live_splats import LiveSplats
from nerf_insert.app.messages import INTERNAL_ERROR, OUT_OF_MEMORY, as_sentence
from nerf_insert.app.scene_cache import OpenScene, SceneCache
from nerf_insert.app.shutdown import IN_FLIGHT
from nerf_insert.app.workspace import SceneLocation, Workspace
from nerf_insert.errors import InputError, RunError, warnings_to

log = logging.getLogger("nerf_insert.app")
Answer = dict[str, Any]  # plain data, as JSON has it
S = TypeVar("S", bound="Service")


def answer_errors(call: Callable[[S, Answer], Answer]) -> Callable[[S, Answer], Answer]:
    """Decorate a service call so that it answers {"error": sentence} instead of raising.

    What was warned of is under "warnings", as sentences.
    """

    @functools.wraps(call)
    def answer(self: S, data: Answer) -> Answer:
        heard: list[str] = []
        found = guarded(self, data, heard)
        return {**found, "warnings": [as_sentence(text) for text in heard]} if heard else found

    def guarded(self: S, data: Answer, heard: list[str]) -> Answer:
        try:
            with IN_FLIGHT.track(), warnings_to(heard.append):
                return call(self, data)
        except (InputError, RunError) as error:
            return {"error": as_sentence(error)}
        except MemoryError:
            return {"error": OUT_OF_MEMORY}
        except Exception:
            log.exception("%s failed", call.__name__)
            return {"error": INTERNAL_ERROR}

    return answer


class Service:
    """The state of a server: its workspace, jobs, open scenes, uploads and downloads.

    `data` of every call has {"scene": key} and, where a draft is read or changed, {"draft": ID}.
    """

    def __init__(self, workspace: Workspace, jobs: JobQueue) -> None:
        self.workspace, self.jobs, self.scene_cache = workspace, jobs, SceneCache()
        self.uploads = Path(get_upload_folder())  # Gradio's own, from which it may serve files
        self.downloads = self.uploads / "downloads"
        self._latest_render: dict[str, Any] = {}  # number of the latest render that each window asked for
        self._live_splats: WeakKeyDictionary[OpenScene, LiveSplats] = WeakKeyDictionary()
        self._depth_threads: dict[Path, threading.Thread] = {}

    def location(self, data: Answer) -> SceneLocation:
        """Return the location of the scene that a call names.

        Raises:
            InputError: There is no such scene.
        """
        return self.workspace.find(str(data.get("scene", "")))

    def open_scene(self, data: Answer) -> OpenScene:
        """Return the scene that a call names.

        Raises:
            InputError: There is no such scene.
        """
        return self.scene_cache.get(self.location(data))

    def drafts(self, location: SceneLocation) -> Drafts:
        """Return the drafts of a scene, which may name uploaded files and files of the workspace."""
        return Drafts(location.page, self.uploads, self.workspace.folder)

    def draft(self, data: Answer) -> tuple[Drafts, str, Draft]:
        """Return the scene's drafts, the ID of the draft that a call names, and that draft.

        Raises:
            InputError: There is no such scene, or the ID is not valid.
        """
        drafts, key = self.drafts(self.location(data)), str(data.get("draft", ""))
        return drafts, key, drafts.load(key)

    def _render_depths(self, scene: OpenScene) -> None:
        """Start a thread that renders the depths that are missing, unless one is running."""
        thread = self._depth_threads.get(scene.location.folder)
        if (thread is None or not thread.is_alive()) and len(scene.depths) < len(scene.capture.views):
            self._depth_threads[scene.location.folder] = region_overlay.render_depths(scene)
