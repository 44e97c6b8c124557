"""Long work: a queue of command lines, one running at a time, all of it on disk.

    SCENE/page/jobs/ID/   job.json    the job and its state
                          recipe.yaml, inputs/   of an edit or a preview, as it was queued
                          log.jsonl   the command's progress (stderr)
                          out.json    its result (stdout)
                          out/        its output other than layers and scenes
    WORKSPACE/queue/PID.json          the waiting jobs of a server, in order

A job is `nerf-insert ... --json` in a process of its own: it continues when the browser is closed or the
server dies, and the next server finds it again. Stopping sends the signal on which the engine stops cleanly;
running the same command again resumes it. Jobs that wait when the server ends wait again in the next one.
Only the workspace decides that: a scene folder from somebody else may hold jobs, none of which starts by
itself.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from nerf_insert.app.jobs.job import (
    UNFINISHED,
    Job,
    finish,
    is_running,
    is_same_process,
    parse_event,
    process_start_time,
    read_lines,
    read_result,
    send_signals,
)
from nerf_insert.errors import InputError, RunError
from nerf_insert.inpaint.registry import ONLY_REGISTERED
from nerf_insert.io.files import read_json, write_json, write_yaml
from nerf_insert.scene.recipe import Recipe

PROGRAM = (sys.executable, "-m", "nerf_insert")
ID = re.compile(r"\d{8}-\d{6}-[0-9a-f]{6}")
MAX_ENDED = 8  # jobs of each kind and scene that are kept after their end
POLL = 0.5  # seconds between looks at a process that another server started
JOIN_TIMEOUT = 30.0  # seconds
log = logging.getLogger("nerf_insert.app")


class JobQueue:
    """All jobs of all scenes of one server."""

    def __init__(self, home: Path | None = None) -> None:
        """Start the queue and take over what waits in those of servers that ended.

        Args:
            home: Folder of the queues on disk; None: what waits is forgotten with the process.
        """
        self._home, self._me = home, (os.getpid(), process_start_time(os.getpid()))
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._queue: list[Path] = []
        self._running: Path | None = None
        self._process: subprocess.Popen | None = None
        self._closed = False
        self._take_over()
        self._thread = threading.Thread(target=self._run, name="jobs", daemon=True)
        self._thread.start()

    # --- calls of the page

    def add(self, page: Path, kind: str, title: str, prepare: Callable[[Path], list[str]]) -> Job:
        """Queue a job.

        Args:
            page: The page's folder of the scene.
            kind: train, edit, preview, clean, light, render or export.
            title: The job's name on the page.
            prepare: Puts into the job's folder what the command needs, and returns the command's arguments.

        Raises:
            InputError: Raised by `prepare`.
            RunError: The disk is full.
        """
        key = time.strftime("%Y%m%d-%H%M%S-") + secrets.token_hex(3)
        folder = page / "jobs" / key
        job = Job(key, kind, title, prepare(folder), created=time.time())
        self._save(folder, job)
        with self._changed:
            self._queue.append(folder)
            self._queue_changed()
            ended = [j for j in self.list_jobs(page) if j.kind == kind and j.state not in UNFINISHED]
            for old in ended[MAX_ENDED:]:
                self.forget(page, old.key)
        return job

    def list_jobs(self, page: Path) -> list[Job]:
        """List a scene's jobs, newest first."""
        found = (self._load(file.parent) for file in (page / "jobs").glob("*/job.json"))
        return sorted((job for job in found if job is not None), key=lambda job: job.created, reverse=True)

    def get(self, page: Path, key: str) -> Job:
        """Return a job.

        Raises:
            InputError: There is no such job.
        """
        job = self._load(self.folder(page, key))
        if job is None:
            raise InputError("this job no longer exists")
        return job

    def folder(self, page: Path, key: str) -> Path:
        """Return a job's folder.

        Raises:
            InputError: The key is not valid.
        """
        if not ID.fullmatch(key or ""):
            raise InputError("this page has no job of this name")
        return page / "jobs" / key

    def waiting_before(self, page: Path, key: str) -> int:
        """Return how many jobs, of any scene, come before a waiting one.

        Raises:
            InputError: The key is not valid.
        """
        folder = self.folder(page, key)
        with self._lock:
            ahead = self._queue.index(folder) if folder in self._queue else 0
            return ahead + (self._running is not None)

    def held_up_by(self) -> Job | None:
        """Return the paused job that all others wait for: it keeps its memory, so none runs beside it."""
        with self._lock:
            running = self._load(self._running) if self._running else None
            return running if running and running.state == "paused" else None

    def stop(self, page: Path, key: str) -> None:
        """Stop a job cleanly, so that it can be resumed.

        Raises:
            InputError: There is no such job.
        """
        folder = self.folder(page, key)
        with self._changed:
            job = self.get(page, key)
            if folder in self._queue:
                self._queue.remove(folder)
                self._queue_changed()
                self._save(folder, replace(job, state="stopped", ended=time.time()))
            else:
                self._ask_to_stop(folder, job)

    def pause(self, page: Path, key: str) -> None:
        """Suspend a running job's process.

        Raises:
            InputError: There is no such job.
        """
        with self._lock:
            job = self.get(page, key)
            if job.state == "running":
                send_signals(job, signal.SIGSTOP)
                self._save(self.folder(page, key), replace(job, state="paused"))

    def resume(self, page: Path, key: str) -> None:
        """Continue a paused job, or queue a stopped or failed one again.

        Raises:
            InputError: There is no such job.
        """
        folder = self.folder(page, key)
        with self._changed:
            job = self.get(page, key)
            if job.state == "paused":
                send_signals(job, signal.SIGCONT)
                self._save(folder, replace(job, state="running"))
            elif job.state in ("stopped", "failed") and folder not in self._queue:
                waits = replace(job, state="waiting", started=None, ended=None, message="", pid=None)
                self._save(folder, waits)
                self._queue.append(folder)
                self._queue_changed()

    def forget(self, page: Path, key: str) -> None:
        """Remove a job that has ended, with its folder; layers and scenes stay.

        Raises:
            InputError: There is no such job.
        """
        with self._lock:
            if self.get(page, key).state not in UNFINISHED:
                shutil.rmtree(self.folder(page, key), ignore_errors=True)

    def progress(self, page: Path, key: str) -> list[dict[str, Any]]:
        """Return the events that a job's command has written so far (see runtime/progress.py).

        Raises:
            InputError: The key is not valid.
        """
        file = self.folder(page, key) / "log.jsonl"
        return [event for line in read_lines(file) if (event := parse_event(line)) is not None]

    def result(self, page: Path, key: str) -> dict[str, Any]:
        """Return the result that a job's command printed at its end; {} before that.

        Raises:
            InputError: The key is not valid.
        """
        return read_result(self.folder(page, key))

    def adopt(self, page: Path) -> None:
        """Take over the unfinished jobs of a scene that an earlier server left behind."""
        with self._changed:
            known = {self._running, *self._queue, *self._of_other_servers()}
            for job in self.list_jobs(page):
                folder = self.folder(page, job.key)
                if job.state not in UNFINISHED or folder in known:
                    continue
                if is_running(job):
                    self._queue.insert(0, folder)  # the thread waits for it as for its own
                    self._queue_changed()
                else:
                    self._save(folder, finish(job, folder, None))

    def close(self) -> None:
        """Stop the running job cleanly and wait for it; leave the waiting ones to the next server."""
        with self._changed:
            self._closed = True
            self._me = (self._me[0], None)  # marks the queue as free to take over
            self._queue_changed()
            running = self._load(self._running) if self._running else None
            if running and self._running:
                self._ask_to_stop(self._running, running)
        self._thread.join(timeout=JOIN_TIMEOUT)

    # --- the queue on disk

    def _queue_changed(self) -> None:
        self._changed.notify_all()
        if self._home is not None:
            pid, started = self._me
            waiting = [str(folder) for folder in self._queue]
            with contextlib.suppress(RunError):  # a full disk: the queue of this process still works
                write_json(self._home / f"{pid}.json", {"born": started, "waiting": waiting})

    def _take_over(self) -> None:
        """Queue the waiting jobs of servers that ended."""
        for file, served, folders in self._queues():
            if not served:
                jobs = ((folder, self._load(folder)) for folder in folders)
                self._queue += [folder for folder, job in jobs if job is not None and job.state == "waiting"]
                file.unlink(missing_ok=True)
        if self._queue:
            with self._changed:
                self._queue_changed()

    def _of_other_servers(self) -> list[Path]:
        return [folder for _, served, folders in self._queues() if served for folder in folders]

    def _queues(self) -> Iterator[tuple[Path, bool, list[Path]]]:
        """Yield (file, whether its server runs, waiting jobs) of all servers on this workspace."""
        for file in sorted(self._home.glob("*.json")) if self._home is not None else ():
            with contextlib.suppress(InputError, KeyError, TypeError, ValueError):  # damaged
                data = read_json(file)
                served = is_same_process(int(file.stem), data["born"])
                yield file, served, [Path(str(folder)) for folder in data["waiting"]]

    def _ask_to_stop(self, folder: Path, job: Job) -> None:
        if job.state in ("running", "paused"):
            self._save(folder, replace(job, state="stopping"))
            send_signals(job, signal.SIGTERM, signal.SIGCONT)

    # --- the one thread that runs them

    def _run(self) -> None:
        while not self._closed:
            try:
                self._run_next()
            except RunError as error:  # a full disk, say: the other jobs still get their turn
                log.error("the state of a job could not be saved: %s", error)
                self._running = self._process = None

    def _run_next(self) -> None:
        with self._changed:
            while not self._queue and not self._closed:
                self._changed.wait()
            if self._closed:
                return
            folder = self._running = self._queue.pop(0)
            self._queue_changed()
            job = self._load(folder)
            if job is not None and not is_running(job):
                job = self._start(folder, job)
        code = self._wait(job)
        with self._changed:
            now = self._load(folder)
            if now is not None and now.state in UNFINISHED:
                self._save(folder, finish(now, folder, code))
            self._running = self._process = None

    def _start(self, folder: Path, job: Job) -> Job | None:
        # Whatever a recipe names, and whoever wrote it: no module that is not registered is run.
        environment = {**os.environ, "PYTHONUNBUFFERED": "1", ONLY_REGISTERED: "1"}
        try:
            with open(folder / "log.jsonl", "w") as stderr, open(folder / "out.json", "w") as stdout:
                self._process = subprocess.Popen(
                    [*PROGRAM, *job.arguments, "--json"],
                    stdin=subprocess.DEVNULL,
                    stdout=stdout,
                    stderr=stderr,
                    env=environment,
                    start_new_session=True,  # Ctrl-C in the server's terminal is the server's to handle
                )
        except OSError as error:
            self._save(folder, replace(job, state="failed", message=f"cannot be started: {error}"))
            return None
        pid = self._process.pid
        started = process_start_time(pid)
        job = replace(job, state="running", pid=pid, process_started=started, started=time.time(), message="")
        self._save(folder, job)
        return job

    def _wait(self, job: Job | None) -> int | None:
        """Wait for the process to end; return its exit code, None if another server started it."""
        if self._process is not None:
            return self._process.wait()
        while job is not None and is_running(job) and not self._closed:
            time.sleep(POLL)
        return None

    def _load(self, folder: Path) -> Job | None:
        try:
            return Job.from_dict(read_json(folder / "job.json"))
        except (AttributeError, InputError, TypeError):
            return None

    def _save(self, folder: Path, job: Job) -> None:
        write_json(folder / "job.json", asdict(job))


def keep_recipe(recipe: Recipe, folder: Path) -> Path:
    """Write a recipe and copies of its files into a job's folder, and return the recipe's file.

    Raises:
        InputError: A file of the recipe is missing.
        RunError: The disk is full.
    """
    write_yaml(folder / "recipe.yaml", recipe.copied_into(folder).to_dict())
    return folder / "recipe.yaml"
