"""Tasks that report how far they are, and the control that pauses, resumes and stops them.

    with progress.task("Training the scene", total=2000) as task:
        task.advance(1, note="31.2 dB", metrics={"psnr": 31.2})

`Progress` itself shows nothing; a terminal gets a bar with the time left, a log file a plain line every ten
seconds, a machine one JSON object a line. Whoever holds a Progress can pause, resume and stop the work that
reports to it, from any thread; the work notices at its next report.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import IO, Any, Protocol, cast, runtime_checkable

from nerf_insert.errors import Stopped, warn
from nerf_insert.runtime.pace import Pace

EVERY = 10.0  # seconds between plain lines
EVERY_JSON = 1.0  # seconds between JSON lines


@runtime_checkable
class TextStream(Protocol):
    """Where text is shown, such as sys.stderr."""

    def write(self, text: str, /) -> object:
        """Write text; it may be shown only at the next `flush`."""

    def flush(self) -> object:
        """Show what has been written."""

    def isatty(self) -> bool:
        """Return whether this is a terminal."""
        ...


class Task:
    """One piece of work with `total` steps, 0 <= `done` <= `total`; a context manager."""

    def __init__(self, owner: Progress, description: str, total: float, done: float = 0.0) -> None:
        self.owner, self.description, self.total = owner, description, max(float(total), 1e-9)
        self.done = min(float(done), self.total)
        self.note = ""
        self.metrics: dict[str, float] = {}
        self.written = 0.0  # when a display last showed this task
        self._pace = Pace()
        self._began = self._reported = owner.now()

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
        now, before = self.owner.now(), self.done
        self.done = min(done, self.total)
        self._pace.add(self.done - before, now - self._reported)
        self._reported = now
        self.note = self.note if note is None else note
        self.metrics.update(metrics or {})
        self.owner.changed(self)
        self.owner.check()

    @property
    def share(self) -> float:
        """The fraction that is done, 0..1."""
        return self.done / self.total

    @property
    def elapsed(self) -> float:
        """Seconds since the task began, without pauses."""
        return self.owner.now() - self._began

    @property
    def left(self) -> float | None:
        """Seconds left, or None while too little is known to tell (see `Pace`)."""
        return self._pace.seconds_for(self.total - self.done)

    def __enter__(self) -> Task:
        self._began = self._reported = self.owner.now()
        self.owner.opened(self)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.owner.closed(self, finished=kind is None)


class Progress:
    """Keeps the clock and the control of the work; shows nothing.

    Args:
        stream: Where displays write (default: stderr, so that stdout stays for results).
        clock: Wall time in seconds.
        cpu_clock: CPU time of the working thread in seconds.
    """

    def __init__(
        self,
        stream: TextStream | None = None,
        clock: Callable[[], float] = time.monotonic,
        cpu_clock: Callable[[], float] = time.thread_time,
    ) -> None:
        self.stream: TextStream = stream or sys.stderr
        self.clock, self.cpu_clock = clock, cpu_clock
        self.idle = 0.0  # seconds that do not count: pauses, and time in which the process was suspended
        self.last_sign = (clock(), cpu_clock())  # of life of the working thread
        self._running, self._stopped = threading.Event(), False
        self._running.set()

    @staticmethod
    def of(mode: str = "auto", stream: TextStream | None = None) -> Progress:
        """Create a progress that shows what happens.

        Args:
            mode: "auto" (a bar on a terminal, else lines), "bar", "lines", "json" or "silent".
            stream: Where to write (default: stderr, so that stdout stays for results).
        """
        shown_on: TextStream = sys.stderr if stream is None else stream
        if mode == "auto":
            mode = "bar" if shown_on.isatty() else "lines"
        kinds = {"bar": BarProgress, "lines": LineProgress, "json": JsonProgress, "silent": Progress}
        return kinds[mode](shown_on)

    def now(self) -> float:
        """A clock in seconds that stands still while the work is paused."""
        return self.clock() - self.idle

    def pause(self) -> None:
        """Let the work wait at its next report; what it holds in memory stays there."""
        self._running.clear()

    def resume(self) -> None:
        """End a pause."""
        self._running.set()

    def stop(self) -> None:
        """Let the work end at its next report with Stopped; it resumes later from what it keeps on disk."""
        self._stopped = True
        self._running.set()

    def check(self) -> None:
        """Wait while the work is paused.

        Raises:
            Stopped: `stop` was called.
        """
        if not self._running.is_set():
            began = self.now()
            self.paused(True)
            self._running.wait()
            self.idle += self.now() - began
            self.paused(False)
        self.last_sign = self.clock(), self.cpu_clock()
        if self._stopped:
            raise Stopped("stopped")

    def task(self, description: str, total: float, done: float = 0.0) -> Task:
        """Create a task of `total` steps, `done` of them by an earlier run, to be entered with `with`."""
        return Task(self, description, total, done)

    def say(self, text: str) -> None:
        """Show a message."""

    def warn(self, text: str) -> None:
        """Show a warning: something is wrong but the work can continue.

        By default it goes to whoever listens (`nerf_insert.errors.warnings_to`), else to Python's `warnings`.
        """
        warn(text)

    def paused(self, on: bool) -> None:
        """Called when the work begins to wait, and when it resumes."""

    def opened(self, task: Task) -> None:
        """Called when a task begins."""

    def changed(self, task: Task) -> None:
        """Called when a task reports."""

    def closed(self, task: Task, finished: bool) -> None:
        """Called when a task ends; `finished` is false where an exception ended it."""


class LineProgress(Progress):
    """Plain lines, for a log file."""

    every = EVERY

    def say(self, text: str) -> None:
        """Write the message as a line of its own."""
        print(text, file=self.stream, flush=True)

    def warn(self, text: str) -> None:
        """Write the warning as a line that begins with "warning:"."""
        self.say(f"warning: {text}")

    def paused(self, on: bool) -> None:
        """Write that the work is paused or resumed."""
        self.say("paused" if on else "resumed")

    def opened(self, task: Task) -> None:
        """Write that a task begins."""
        task.written = self.clock()
        self.say(f"{task.description} ...")

    def changed(self, task: Task) -> None:
        """Show how far the task is, if its last line is at least `every` seconds old."""
        if self.clock() - task.written >= self.every:
            task.written = self.clock()
            self.report(task)

    def report(self, task: Task) -> None:
        """Show how far a task is."""
        left = f", {duration(task.left)} left" if task.left is not None else ""
        self.say(f"{task.description}: {task.share:.0%}{left}" + (f", {task.note}" if task.note else ""))

    def closed(self, task: Task, finished: bool) -> None:
        """Write how the task ended and how long it took."""
        self.say(_summary(task, finished))


class JsonProgress(LineProgress):
    """JSON objects, one a line: {"event": "start" | "progress" | "end" | "message" | "warning", ...}."""

    every = EVERY_JSON

    def say(self, text: str) -> None:
        """Write a "message" event."""
        self._write("message", text=text)

    def warn(self, text: str) -> None:
        """Write a "warning" event."""
        self._write("warning", text=text)

    def opened(self, task: Task) -> None:
        """Write a "start" event with the task's number of steps."""
        task.written = self.clock()
        self._write("start", task=task.description, total=task.total)

    def report(self, task: Task) -> None:
        """Write a "progress" event: the share that is done (0..1) and the seconds left, or null."""
        left = None if task.left is None else round(task.left, 1)
        self._write("progress", task=task.description, share=round(task.share, 4), left=left, note=task.note)

    def closed(self, task: Task, finished: bool) -> None:
        """Write an "end" event: whether the task finished, and the seconds it took."""
        seconds = round(task.elapsed, 2)
        self._write("end", task=task.description, finished=finished, seconds=seconds, note=task.note)

    def _write(self, event: str, **fields: Any) -> None:
        print(json.dumps({"event": event, **fields}), file=self.stream, flush=True)


class BarProgress(Progress):
    """A live bar for each open task; a finished one leaves a line with its time."""

    def __init__(self, stream: TextStream | None = None) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, TaskProgressColumn, TextColumn
        from rich.progress import Progress as Live

        super().__init__(stream)
        self.console = Console(file=cast("IO[str]", self.stream), highlight=False)
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
        """Print the message above the bars."""
        self.console.print(text, markup=False, soft_wrap=True)

    def warn(self, text: str) -> None:
        """Print the warning above the bars, in yellow."""
        self.console.print(f"warning: {text}", style="yellow", markup=False, soft_wrap=True)

    def paused(self, on: bool) -> None:
        """Print above the bars that the work is paused or resumed."""
        self.say("paused" if on else "resumed")

    def opened(self, task: Task) -> None:
        """Add a bar for the task."""
        if not self.shown:
            self.live.start()
        self.shown[task] = self.live.add_task(task.description, total=task.total, left="", note="")

    def changed(self, task: Task) -> None:
        """Move the task's bar and renew its time left and its note."""
        if task in self.shown:
            left = "" if task.left is None else f"{duration(task.left)} left"
            self.live.update(self.shown[task], completed=task.done, left=left, note=task.note)

    def closed(self, task: Task, finished: bool) -> None:
        """Replace the task's bar by a line that says how it ended and how long it took."""
        self.live.remove_task(self.shown.pop(task))
        if not self.shown:
            self.live.stop()
        self.say(_summary(task, finished))


def duration(seconds: float) -> str:
    """Format seconds for people: 8 s, 1 min 20 s, 2 h 5 min."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    if round(seconds) < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def _summary(task: Task, finished: bool) -> str:
    """The line that a task leaves."""
    how = "done in" if finished else f"stopped at {task.share:.0%} after"
    return f"{task.description}: {how} {duration(task.elapsed)}" + (f", {task.note}" if task.note else "")


SILENT = Progress()
