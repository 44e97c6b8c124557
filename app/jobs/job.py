"""One job: how it stands, what its command has said, and the process that it is."""

from __future__ import annotations

import contextlib
import json
import os
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil

OPEN = ("waiting", "running", "paused", "stopping")
LAST_WORDS = 4000  # bytes of what a command said last, when it ended without a result


@dataclass(frozen=True)
class Job:
    """`state`: waiting, running, paused, stopping; then stopped (can go on), failed or done."""

    key: str
    kind: str  # train, edit, preview, render, export
    title: str
    words: list[str]  # of the command line, without `nerf-insert`
    state: str = "waiting"
    pid: int | None = None
    born: float | None = None  # of the process, so that a number used again is not taken for it
    created: float = 0.0
    started: float | None = None
    ended: float | None = None
    message: str = ""


def ended(job: Job, folder: Path, code: int | None) -> Job:
    """How a job stands whose process is no more."""
    said = result(folder)
    message = str(said.get("error", ""))
    if said.get("ok"):
        state = "done"
    elif message.startswith("stopped") or job.state == "stopping" or (not said and code is None):
        state, message = "stopped", ""  # by the person, by the server's end, or with the whole machine
    else:
        state, message = "failed", message or last_words(folder, code)
    return replace(job, state=state, message=message, ended=time.time())


def last_words(folder: Path, code: int | None) -> str:
    """For a command that ended without an answer: killed for its memory, say."""
    if code is not None and code < 0:
        return (
            f"it was ended by the system (signal {-code}), perhaps for want of memory; Resume goes on there"
        )
    return "it ended without an answer; " + lines(folder / "log.jsonl", LAST_WORDS)[-1:][0][:300]


def result(folder: Path) -> dict[str, Any]:
    """What the command answered at its end, {} before that."""
    said = lines(folder / "out.json")
    event = event_of(said[-1]) if said else None
    return event if event is not None and "ok" in event else {}


def event_of(line: str) -> dict[str, Any] | None:
    try:
        event = json.loads(line)
    except ValueError:  # something a library printed, or a line that is still being written
        return None
    return event if isinstance(event, dict) else None


def lines(file: Path, last: int | None = None) -> list[str]:
    """Those of a file, or of its last bytes, at least one of these."""
    try:
        data = file.read_bytes()
    except OSError:
        return [""] if last else []
    return (
        data[-last:].decode(errors="replace").splitlines() or [""]
        if last
        else data.decode(errors="replace").splitlines()
    )


def born(pid: int) -> float | None:
    """When a process began, None where there is none."""
    try:
        return psutil.Process(pid).create_time()
    except psutil.Error:
        return None


def alive(job: Job) -> bool:
    """Whether its process still runs."""
    return lives(job.pid, job.born)


def lives(pid: int | None, born: float | None) -> bool:
    """Whether there is a process of this number that began then."""
    if pid is None or born is None:
        return False
    try:
        process = psutil.Process(pid)
        return abs(process.create_time() - born) < 1 and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def send(job: Job, *numbers: int) -> None:
    """Signals to its process, where that still runs."""
    if alive(job):
        for number in numbers:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(job.pid, number)
