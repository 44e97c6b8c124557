"""Progress for people and for machines; everything goes to stderr, so that stdout stays for results.

    progress = Progress.of("auto")
    with progress.task("Training the base", total=2000) as task:
        task.advance(1, note="31.2 dB")

A terminal gets a bar with time left, a log file a plain line every ten seconds, a machine one JSON
object a line. Whoever holds a Progress can pause, resume and stop the work that reports to it, from any
thread; the work notices when it next reports. Time spent pausing does not count.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Mapping
from typing import Any, TextIO

from nerf_insert.errors import Stopped

EVERY = 10.0  # seconds between plain lines
EVERY_JSON = 1.0  # seconds between JSON lines


class Task:
    """One piece of work with `total` steps, 0 <= `done` <= `total`; a context manager."""

    def __init__(self, owner: Progress, description: str, total: float, done: float = 0.0) -> None:
        self.owner, self.description, self.total = owner, description, max(float(total), 1e-9)
        self.done = self.first = min(float(done), self.total)  # `first`: done by an earlier run
        self.note = ""
        self.metrics: dict[str, float] = {}
        self.written = 0.0  # when this task was last reported
        self.began = owner.now()

    def advance(
        self, steps: float = 1, note: str | None = None, metrics: Mapping[str, float] | None = None
    ) -> None:
        """Report `steps` more steps as done. See `update`."""
        self.update(self.done + steps, note, metrics)

    def update(
        self, done: float, note: str | None = None, metrics: Mapping[str, float] | None = None
    ) -> None:
        """Report `done` steps as done in all. Wait while the work is paused.

        Args:
            done: Steps done since the very beginning, those of earlier runs included.
            note: A short live figure for people, kept until the next one.
            metrics: Figures for programs, such as {"psnr": 31.2}; each is kept until its next value.

        Raises:
            Stopped: The work is to end here.
        """
        self.done = min(done, self.total)
        self.note = self.note if note is None else note
        self.metrics.update(metrics or {})
        self.owner.changed(self)
        self.owner.check()

    @property
    def share(self) -> float:
        return self.done / self.total

    @property
    def elapsed(self) -> float:
        """Seconds since the task began, without pauses."""
        return self.owner.now() - self.began

    @property
    def left(self) -> float | None:
        """Seconds left if it goes on as it went, None before anything is done."""
        now = self.done - self.first
        return self.elapsed * (self.total - self.done) / now if now > 0 else None

    def __enter__(self) -> Task:
        self.began = self.owner.now()
        self.owner.opened(self)
        return self

    def __exit__(self, kind: type | None, *_: object) -> None:
        self.owner.closed(self, finished=kind is None)


class Progress:
    """Says nothing at all, and is what the other kinds share."""

    @staticmethod
    def of(mode: str = "auto", stream: TextIO | None = None) -> Progress:
        """`mode`: "auto" (a bar on a terminal, else lines), "bar", "lines", "json" or "silent"."""
        stream = stream or sys.stderr
        if mode == "auto":
            mode = "bar" if stream.isatty() else "lines"
        return {"bar": Bar, "lines": Lines, "json": Machine, "silent": Progress}[mode](stream)

    def __init__(self, stream: TextIO | None = None) -> None:
        self.stream = stream or sys.stderr
        self.idle = 0.0  # seconds spent pausing
        self._running, self._stopped = threading.Event(), False
        self._running.set()

    def now(self) -> float:
        """A clock in seconds that stands still while the work is paused."""
        return time.monotonic() - self.idle

    def pause(self) -> None:
        """Let the work wait at its next report; what it holds in memory stays there."""
        self._running.clear()

    def resume(self) -> None:
        self._running.set()

    def stop(self) -> None:
        """Let the work end at its next report with Stopped; what it keeps on disk is where it goes on."""
        self._stopped = True
        self._running.set()

    def check(self) -> None:
        """Wait while paused; raises Stopped once `stop` was called."""
        if not self._running.is_set():
            began = time.monotonic()
            self.paused(True)
            self._running.wait()
            self.idle += time.monotonic() - began
            self.paused(False)
        if self._stopped:
            raise Stopped("stopped")

    def paused(self, on: bool) -> None:
        """The work has begun to wait, or goes on."""

    def task(self, description: str, total: float, done: float = 0.0) -> Task:
        """A piece of work of `total` steps, to be entered with `with`."""
        return Task(self, description, total, done)

    def say(self, text: str) -> None:
        """Tell the person something."""

    def warn(self, text: str) -> None:
        """Tell the person of something that can be lived with."""

    def opened(self, task: Task) -> None: ...

    def changed(self, task: Task) -> None: ...

    def closed(self, task: Task, finished: bool) -> None: ...


class Lines(Progress):
    """Plain lines, as a log file wants them."""

    every = EVERY

    def say(self, text: str) -> None:
        print(text, file=self.stream, flush=True)

    def warn(self, text: str) -> None:
        self.say(f"warning: {text}")

    def paused(self, on: bool) -> None:
        self.say("paused" if on else "going on")

    def opened(self, task: Task) -> None:
        task.written = time.monotonic()
        self.say(f"{task.description} ...")

    def changed(self, task: Task) -> None:
        if time.monotonic() - task.written >= self.every:
            task.written = time.monotonic()
            self.report(task)

    def report(self, task: Task) -> None:
        left = f", {duration(task.left)} left" if task.left is not None else ""
        self.say(f"{task.description}: {task.share:.0%}{left}" + (f", {task.note}" if task.note else ""))

    def closed(self, task: Task, finished: bool) -> None:
        how = "done in" if finished else f"stopped at {task.share:.0%} after"
        self.say(
            f"{task.description}: {how} {duration(task.elapsed)}" + (f", {task.note}" if task.note else "")
        )


class Machine(Lines):
    """JSON objects, one a line: {"event": "start" | "progress" | "end" | "message" | "warning", ...}."""

    every = EVERY_JSON

    def write(self, event: str, **fields: Any) -> None:
        print(json.dumps({"event": event, **fields}), file=self.stream, flush=True)

    def say(self, text: str) -> None:
        self.write("message", text=text)

    def warn(self, text: str) -> None:
        self.write("warning", text=text)

    def opened(self, task: Task) -> None:
        task.written = time.monotonic()
        self.write("start", task=task.description, total=task.total)

    def report(self, task: Task) -> None:
        left = None if task.left is None else round(task.left, 1)
        self.write("progress", task=task.description, share=round(task.share, 4), left=left, note=task.note)

    def closed(self, task: Task, finished: bool) -> None:
        self.write(
            "end", task=task.description, finished=finished, seconds=round(task.elapsed, 2), note=task.note
        )


class Bar(Progress):
    """A live bar for each open task; a finished one leaves a line with its time."""

    def __init__(self, stream: TextIO | None = None) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, TaskProgressColumn, TextColumn
        from rich.progress import Progress as Live

        super().__init__(stream)
        self.console = Console(file=self.stream, highlight=False)
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[left]}", markup=False),
            TextColumn("{task.fields[note]}", style="cyan", markup=False),
        )
        self.live = Live(*columns, console=self.console, transient=True, redirect_stdout=False)
        self.shown: dict[Task, Any] = {}

    def say(self, text: str) -> None:
        self.console.print(text, markup=False, soft_wrap=True)

    def paused(self, on: bool) -> None:
        self.say("paused" if on else "going on")

    def warn(self, text: str) -> None:
        self.console.print(f"warning: {text}", style="yellow", markup=False, soft_wrap=True)

    def opened(self, task: Task) -> None:
        if not self.shown:
            self.live.start()
        self.shown[task] = self.live.add_task(task.description, total=task.total, left="", note="")

    def changed(self, task: Task) -> None:
        if task in self.shown:
            left = "" if task.left is None else f"{duration(task.left)} left"
            self.live.update(self.shown[task], completed=task.done, left=left, note=task.note)

    def closed(self, task: Task, finished: bool) -> None:
        self.live.remove_task(self.shown.pop(task))
        if not self.shown:
            self.live.stop()
        how = "done in" if finished else f"stopped at {task.share:.0%} after"
        self.say(
            f"{task.description}: {how} {duration(task.elapsed)}" + (f", {task.note}" if task.note else "")
        )


def duration(seconds: float) -> str:
    """Seconds as people say them: 8 s, 1 min 20 s, 2 h 5 min."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    if round(seconds) < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


SILENT = Progress()
