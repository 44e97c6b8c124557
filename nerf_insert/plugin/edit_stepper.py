"""An edit that goes on one step at a time: nerfstudio's training loop asks for steps, the edit loop runs
through. The edit runs in a thread of its own and waits after every step that it reports, so that at any
moment only one of the two is at work.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass

from nerf_insert.editing.loop import edit
from nerf_insert.errors import Stopped
from nerf_insert.fields.layer import Layer
from nerf_insert.runtime.progress import Progress, Task
from nerf_insert.scene.recipe import Recipe
from nerf_insert.scene.scene import LayerEntry, Scene


@dataclass(frozen=True)
class Step:
    """What the edit was doing: the task, the share of it that is done, and its live figure."""

    task: str
    share: float
    note: str


class SteppedEdit:
    """`edit(scene, recipe)` step by step. `watch` is told of the layer that grows, `say` of messages."""

    def __init__(
        self, scene: Scene, recipe: Recipe, watch: Callable[[Layer], None], say: Callable[[str], None]
    ) -> None:
        self.recipe = recipe
        self.entry: LayerEntry | None = None
        self._error: BaseException | None = None
        self._gate = Gate(say)
        self._thread = threading.Thread(target=self._run, args=(scene, watch), daemon=True)

    def step(self) -> Step | None:
        """Let the edit go on until it has done its next step; none when it has ended, `entry` is its layer
        then. Raises what the edit raised."""
        if self._thread.ident is None:
            self._thread.start()
        elif self._thread.is_alive():
            self._gate.go.release()
        step = self._gate.steps.get() if self._thread.is_alive() or not self._gate.steps.empty() else None
        if step is None and self._error is not None:
            raise self._error
        return step

    def stop(self) -> None:
        """End the edit where it is; its folder stays, and the same recipe goes on from there."""
        self._gate.stop()
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self, scene: Scene, watch: Callable[[Layer], None]) -> None:
        try:
            self.entry = edit(scene, self.recipe, self._gate, watch=watch)
        except Stopped:
            pass
        except BaseException as error:
            self._error = error
        finally:
            self._gate.steps.put(None)


class Messages(Progress):
    """Says what there is to say with `say`."""

    def __init__(self, say: Callable[[str], None]) -> None:
        super().__init__()
        self.say = say  # type: ignore[method-assign]

    def warn(self, text: str) -> None:
        self.say(f"warning: {text}")


class Gate(Messages):
    """Reports every step, and waits to be let on."""

    def __init__(self, say: Callable[[str], None]) -> None:
        super().__init__(say)
        self.steps: queue.Queue[Step | None] = queue.Queue()
        self.go = threading.Semaphore(0)

    def changed(self, task: Task) -> None:
        self.steps.put(Step(task.description, task.share, task.note))
        self.go.acquire()

    def stop(self) -> None:
        super().stop()
        self.go.release()
