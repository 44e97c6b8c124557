"""Run one job: a command in a process of its own, with what it says and how it ended in a folder.

    FOLDER/NAME/job.json    its command, state, attempts and times
                log.jsonl   the command's progress (stderr)
                out.json    its result (stdout)

A job whose folder says that it is done is not run again. Every command resumes what an earlier run of it
left, so a job that was killed is simply started again.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from nerf_insert.batch.jobs import Job
from nerf_insert.errors import InputError, RunError
from nerf_insert.io.files import read_json, write_json
from nerf_insert.runtime.child import THREADS, environment

DONE, FAILED, STOPPED, SKIPPED = "done", "failed", "stopped", "skipped"
POLL = 0.2  # seconds between looks at a running command
PATIENCE = 60.0  # seconds that a command has to stop in before it is killed
BAD_INPUT, INTERRUPTED = 2, 130  # exit codes of the command line
PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None  # loaded before any fork


@dataclass(frozen=True)
class Outcome:
    """How a job ended.

    Attributes:
        name: The job's name.
        state: "done", "failed", "stopped" or "skipped".
        message: Why it failed or was skipped.
        attempts: How often it was started, earlier calls included.
        seconds: Time that the last attempt took.
        result: What the command printed.
    """

    name: str
    state: str
    message: str = ""
    attempts: int = 0
    seconds: float = 0.0
    result: dict[str, Any] | None = None


def finished(job: Job, folder: Path) -> Outcome | None:
    """Return how a job ended in an earlier call, None if it has to run."""
    with suppress(InputError, KeyError, TypeError):
        record = read_json(folder / "job.json")
        if record["words"] == job.words and record["state"] == DONE:
            return Outcome(job.name, DONE, "", record["attempts"], record["seconds"], _result(folder))
    return None


def run_job(
    job: Job,
    folder: Path,
    cwd: Path,
    cpus: int,
    gpus: tuple[str, ...] = (),
    should_stop: Callable[[], bool] = lambda: False,
) -> Outcome:
    """Run a job until it is done, failed as often as it may, or is stopped.

    Args:
        job: The job.
        folder: The job's folder.
        cwd: The folder that paths in its command are relative to.
        cpus: Threads that it uses.
        gpus: The graphics cards that it may use, as CUDA_VISIBLE_DEVICES names them.
        should_stop: Tells whether the work is to end.

    Raises:
        RunError: The folder cannot be written.
    """
    if done := finished(job, folder):
        return done
    attempts, tries = _earlier_attempts(job, folder), 0
    while True:
        attempts, tries = attempts + 1, tries + 1
        _record(job, folder, Outcome(job.name, "running", attempts=attempts))
        outcome, again = _attempt(job, folder, cwd, cpus, gpus, should_stop)
        outcome = replace(outcome, attempts=attempts)
        _record(job, folder, outcome)
        if not again or tries > job.retries:
            return outcome


def _attempt(
    job: Job, folder: Path, cwd: Path, cpus: int, gpus: tuple[str, ...], should_stop: Callable[[], bool]
) -> tuple[Outcome, bool]:
    """Run the command once; tell how it ended and whether another try may help."""
    variables = environment() | dict.fromkeys(THREADS, str(cpus)) | {"PYTHONUNBUFFERED": "1"}
    if gpus:
        variables["CUDA_VISIBLE_DEVICES"] = ",".join(gpus)
    began = time.monotonic()
    try:
        with open(folder / "log.jsonl", "w") as log, open(folder / "out.json", "w") as out:
            process = subprocess.Popen(
                [sys.executable, "-m", "nerf_insert", *job.words, "--json"],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=log,
                cwd=cwd,
                env=variables,
                start_new_session=True,  # Ctrl-C is ours to handle
                preexec_fn=_end_with_parent if LIBC else None,
            )
    except OSError as error:
        raise RunError(f"cannot start the job {job.name}: {error}") from error
    stopped = False
    try:
        while process.poll() is None:
            if should_stop():
                stopped = True
                break
            time.sleep(POLL)
    finally:
        if process.poll() is None:
            _stop(process)
    seconds, result, code = round(time.monotonic() - began, 2), _result(folder), process.returncode
    if code == 0 and result is not None and result.get("ok", True):
        return Outcome(job.name, DONE, "", 0, seconds, result), False
    if stopped or code == INTERRUPTED:
        return Outcome(job.name, STOPPED, "stopped; run the same list again to go on", 0, seconds), False
    message = (result or {}).get("error") or (
        f"its process was ended by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
    )
    return Outcome(job.name, FAILED, str(message), 0, seconds, result), code != BAD_INPUT


def _end_with_parent() -> None:
    """Let Linux end this process when the thread that started it dies, however it dies."""
    assert LIBC is not None
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _stop(process: subprocess.Popen) -> None:
    """Ask a process to end, so that its work can be resumed; kill it if it does not."""
    with suppress(ProcessLookupError):
        process.terminate()
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _result(folder: Path) -> dict[str, Any] | None:
    """Return what the command printed, None if it has not come to its end."""
    try:
        lines = (folder / "out.json").read_text().strip().splitlines()
        result = json.loads(lines[-1])
    except (IndexError, OSError, ValueError):
        return None
    return result if isinstance(result, dict) else None


def _earlier_attempts(job: Job, folder: Path) -> int:
    """Return how often the same command was started in this folder before."""
    with suppress(InputError, KeyError, TypeError):
        record = read_json(folder / "job.json")
        return int(record["attempts"]) if record["words"] == job.words else 0
    return 0


def _record(job: Job, folder: Path, outcome: Outcome) -> None:
    record = asdict(outcome)
    del record["result"]
    write_json(folder / "job.json", {**record, "words": job.words, "time": time.time()})
