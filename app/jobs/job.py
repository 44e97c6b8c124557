"""One job: its state, the output of its command, and its process."""

from __future__ import annotations

import contextlib
import json
import os
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil

UNFINISHED = ("waiting", "running", "paused", "stopping")
LOG_TAIL = 4000  # bytes of the log read to find a command's last line
MAX_MESSAGE = 300  # characters of that line
RENAMED = {"words": "arguments", "born": "process_started"}  # keys of jobs that version 0.1.0 saved


@dataclass(frozen=True)
class Job:
    """A command of the queue.

    Attributes:
        key: Name of its folder.
        kind: train, edit, preview, clean, light, render or export.
        title: Its name on the page.
        arguments: Of the command line, without `nerf-insert`.
        state: waiting, running, paused or stopping; then stopped (can be resumed), failed or done.
        pid: Its process.
        process_started: Start time of its process, which tells a reused process number apart.
        created: Time of queueing; like all times in seconds since the epoch.
        started: Time at which it began to run.
        ended: Time at which it ended.
        message: Why it failed.
    """

    key: str
    kind: str
    title: str
    arguments: list[str]
    state: str = "waiting"
    pid: int | None = None
    process_started: float | None = None
    created: float = 0.0
    started: float | None = None
    ended: float | None = None
    message: str = ""

    @staticmethod
    def from_dict(data: dict[str, Any]) -> Job:
        """Create a job from what job.json holds.

        Raises:
            TypeError: The data is not that of a job.
        """
        return Job(**{RENAMED.get(key, key): value for key, value in data.items()})


def finish(job: Job, folder: Path, code: int | None) -> Job:
    """Return a job whose process has ended, in its final state.

    Args:
        job: The job as it was.
        folder: Its folder.
        code: Exit code of its process; None if that is unknown.
    """
    result = read_result(folder)
    message = str(result.get("error", ""))
    if result.get("ok"):
        state = "done"
    elif message.startswith("stopped") or job.state == "stopping" or (not result and code is None):
        state, message = "stopped", ""  # by a person, by the server's end, or with the whole machine
    else:
        state, message = "failed", message or failure_message(folder, code)
    return replace(job, state=state, message=message, ended=time.time())


def failure_message(folder: Path, code: int | None) -> str:
    """Describe the end of a command that gave no result."""
    if code is not None and code < 0:
        return f"the system ended it (signal {-code}), perhaps for lack of memory; Resume continues it"
    return "it ended without a result; " + read_lines(folder / "log.jsonl", LOG_TAIL)[-1][:MAX_MESSAGE]


def read_result(folder: Path) -> dict[str, Any]:
    """Return the result that a job's command printed at its end; {} before that."""
    output = read_lines(folder / "out.json")
    event = parse_event(output[-1]) if output else None
    return event if event is not None and "ok" in event else {}


def parse_event(line: str) -> dict[str, Any] | None:
    """Parse a line of a command's output; None for lines that are no event."""
    try:
        event = json.loads(line)
    except ValueError:  # printed by a library, or still being written
        return None
    return event if isinstance(event, dict) else None


def read_lines(file: Path, tail: int | None = None) -> list[str]:
    """Return the lines of a file; with `tail` those of its last bytes, and at least one."""
    try:
        data = file.read_bytes()
    except OSError:
        data = b""
    lines = (data if tail is None else data[-tail:]).decode(errors="replace").splitlines()
    return lines or ([] if tail is None else [""])


def process_start_time(pid: int) -> float | None:
    """Return when a process started; None if there is no such process."""
    try:
        return psutil.Process(pid).create_time()
    except psutil.Error:
        return None


def is_running(job: Job) -> bool:
    """Return whether the job's process still runs."""
    return is_same_process(job.pid, job.process_started)


def is_same_process(pid: int | None, started: float | None) -> bool:
    """Return whether the process of this number still runs and started at this time."""
    if pid is None or started is None:
        return False
    try:
        process = psutil.Process(pid)
        return abs(process.create_time() - started) < 1 and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def send_signals(job: Job, *signals: int) -> None:
    """Send signals to the job's process if it still runs."""
    if job.pid is not None and is_running(job):
        for number in signals:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(job.pid, number)
