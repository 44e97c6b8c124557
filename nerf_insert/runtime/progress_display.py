"""How progress is shown: a live bar, plain lines, or JSON for machines.

A terminal gets a bar with the time left, a log file a plain line every ten seconds, a machine one JSON
object a line.
"""

from __future__ import annotations

import json
import sys
from typing import IO, Any, cast

from nerf_insert.runtime.progress import Progress, Task, TextStream

EVERY = 10.0  # seconds between plain lines
EVERY_JSON = 1.0  # seconds between JSON lines


def create_progress(mode: str = "auto", stream: TextStream | None = None) -> Progress:
    """Create the progress for a mode; see `Progress.of`."""
    stream = sys.stderr if stream is None else stream
    if mode == "auto":
        mode = "bar" if stream.isatty() else "lines"
    kinds = {"bar": BarProgress, "lines": LineProgress, "json": JsonProgress, "silent": Progress}
    return kinds[mode](stream)


class LineProgress(Progress):
    """Plain lines, for a log file."""

    every = EVERY

    def say(self, text: str) -> None:
        print(text, file=self.stream, flush=True)

    def warn(self, text: str) -> None:
        self.say(f"warning: {text}")

    def paused(self, on: bool) -> None:
        self.say("paused" if on else "resumed")

    def opened(self, task: Task) -> None:
        task.written = self.clock()
        self.say(f"{task.description} ...")

    def changed(self, task: Task) -> None:
        if self.clock() - task.written >= self.every:
            task.written = self.clock()
            self.report(task)

    def report(self, task: Task) -> None:
        """Show how far a task is."""
        left = f", {duration(task.left)} left" if task.left is not None else ""
        self.say(f"{task.description}: {task.share:.0%}{left}" + (f", {task.note}" if task.note else ""))

    def closed(self, task: Task, finished: bool) -> None:
        self.say(_summary(task, finished))


class JsonProgress(LineProgress):
    """JSON objects, one a line: {"event": "start" | "progress" | "end" | "message" | "warning", ...}."""

    every = EVERY_JSON

    def say(self, text: str) -> None:
        self._write("message", text=text)

    def warn(self, text: str) -> None:
        self._write("warning", text=text)

    def opened(self, task: Task) -> None:
        task.written = self.clock()
        self._write("start", task=task.description, total=task.total)

    def report(self, task: Task) -> None:
        left = None if task.left is None else round(task.left, 1)
        self._write("progress", task=task.description, share=round(task.share, 4), left=left, note=task.note)

    def closed(self, task: Task, finished: bool) -> None:
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
        self.console.print(text, markup=False, soft_wrap=True)

    def warn(self, text: str) -> None:
        self.console.print(f"warning: {text}", style="yellow", markup=False, soft_wrap=True)

    def paused(self, on: bool) -> None:
        self.say("paused" if on else "resumed")

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
