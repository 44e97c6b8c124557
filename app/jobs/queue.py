"""Long work: a queue of command lines, one running at a time, all of it on disk.

    SCENE/page/jobs/ID/   job.json    what it is and how it stands
                          recipe.yaml, inputs/   for an edit or a preview: exactly what was asked for
                          log.jsonl   the command's progress (stderr)
                          out.json    its result (stdout)
                          out/        what it makes, other than layers and scenes
    WORKSPACE/queue/PID.json          what waits, in its order

A job is `nerf-insert ... --json` in a process of its own: it goes on when the browser is closed, and if the
server dies it goes on too and is found again by the next one. Stopping sends the signal on which the
engine stops cleanly; running the same command again goes on from there. What waits when the server ends
waits again in the next one. That is told by the workspace alone: a scene folder that comes from somebody
else may hold jobs, and none of those starts by itself.
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

from nerf_insert.app.jobs.job import OPEN, Job, alive, born, ended, event_of, lines, lives, result, send
from nerf_insert.errors import InputError, RunError
from nerf_insert.inpaint.registry import ONLY_REGISTERED
from nerf_insert.io.files import read_json, write_json

ID = re.compile(r"\d{8}-\d{6}-[0-9a-f]{6}")
KEPT = 8  # jobs of each kind that have ended, for each scene; older ones go
log = logging.getLogger("nerf_insert.app")


class Jobs:
    """All jobs of all scenes of one server. `home`: the folder that its queue is kept in, if any."""

    def __init__(self, home: Path | None = None) -> None:
        self._home, self._me = home, (os.getpid(), born(os.getpid()))
        self._lock = threading.RLock()
        self._work = threading.Condition(self._lock)
        self._queue: list[Path] = []
        self._running: Path | None = None
        self._process: subprocess.Popen | None = None
        self._closed = False
        self._take_over()
        self._thread = threading.Thread(target=self._run, name="jobs", daemon=True)
        self._thread.start()

    # --- what the page asks for

    def add(self, page: Path, kind: str, title: str, make: Callable[[Path], list[str]]) -> Job:
        """Queue a job; `make` gets the job's folder, puts there what it needs and returns the words."""
        key = time.strftime("%Y%m%d-%H%M%S-") + secrets.token_hex(3)
        folder = page / "jobs" / key
        words = make(folder)
        job = Job(key, kind, title, words, created=time.time())
        self._save(folder, job)
        with self._work:
            self._queue.append(folder)
            self._queue_changed()
            over = [j for j in self.list(page) if j.kind == kind and j.state not in OPEN]
            for old in over[KEPT:]:
                self.forget(page, old.key)
        return job

    def list(self, page: Path) -> list[Job]:
        """Newest first."""
        found = (self._load(file.parent) for file in (page / "jobs").glob("*/job.json"))
        return sorted((job for job in found if job is not None), key=lambda job: job.created, reverse=True)

    def get(self, page: Path, key: str) -> Job:
        """Raises InputError where there is no such job."""
        job = self._load(self.folder(page, key))
        if job is None:
            raise InputError("this job is not there any more")
        return job

    def folder(self, page: Path, key: str) -> Path:
        if not ID.fullmatch(key or ""):
            raise InputError("this is no job of this page")
        return page / "jobs" / key

    def waiting_before(self, page: Path, key: str) -> int:
        """How many jobs, of any scene, come before this one."""
        folder = self.folder(page, key)
        with self._lock:
            ahead = self._queue.index(folder) if folder in self._queue else 0
            return ahead + (self._running is not None)

    def held_up_by(self) -> Job | None:
        """The paused job that all others wait for: it keeps its memory, so that none runs beside it."""
        with self._lock:
            running = self._running and self._load(self._running)
            return running if running and running.state == "paused" else None

    def stop(self, page: Path, key: str) -> None:
        """Cleanly, so that it can go on later."""
        folder = self.folder(page, key)
        with self._work:
            job = self.get(page, key)
            if folder in self._queue:
                self._queue.remove(folder)
                self._queue_changed()
                self._save(folder, replace(job, state="stopped", ended=time.time()))
            else:
                self._ask_to_stop(folder, job)

    def pause(self, page: Path, key: str) -> None:
        with self._lock:
            job = self.get(page, key)
            if job.state == "running":
                send(job, signal.SIGSTOP)
                self._save(self.folder(page, key), replace(job, state="paused"))

    def resume(self, page: Path, key: str) -> None:
        """A paused job at once, a stopped or failed one when its turn comes."""
        folder = self.folder(page, key)
        with self._work:
            job = self.get(page, key)
            if job.state == "paused":
                send(job, signal.SIGCONT)
                self._save(folder, replace(job, state="running"))
            elif job.state in ("stopped", "failed") and folder not in self._queue:
                waits = replace(job, state="waiting", started=None, ended=None, message="", pid=None)
                self._save(folder, waits)
                self._queue.append(folder)
                self._queue_changed()

    def forget(self, page: Path, key: str) -> None:
        """Take a job that has ended out of the list, with its folder; layers and scenes stay."""
        with self._lock:
            if self.get(page, key).state not in OPEN:
                shutil.rmtree(self.folder(page, key), ignore_errors=True)

    def progress(self, page: Path, key: str) -> list[dict[str, Any]]:
        """Return the events that the command has written so far (see runtime/progress_display.py)."""
        file = self.folder(page, key) / "log.jsonl"
        return [event for line in lines(file) if (event := event_of(line)) is not None]

    def result(self, page: Path, key: str) -> dict[str, Any]:
        """What the command answered at its end, {} before that."""
        return result(self.folder(page, key))

    def adopt(self, page: Path) -> None:
        """Find out how the jobs of a scene stand that an earlier server left behind."""
        with self._work:
            known = {self._running, *self._queue, *self._of_other_servers()}
            for job in self.list(page):
                folder = self.folder(page, job.key)
                if job.state not in OPEN or folder in known:
                    continue
                if alive(job):
                    self._queue.insert(0, folder)  # the thread waits for it as for its own
                    self._queue_changed()
                else:
                    self._save(folder, ended(job, folder, None))

    def close(self) -> None:
        """Stop what runs, cleanly, and wait for it; what waits is left to the next server."""
        with self._work:
            self._closed = True
            self._me = (self._me[0], None)  # whose queue may be taken over
            self._queue_changed()
            running = self._running and self._load(self._running)
            if running:
                self._ask_to_stop(self._running, running)
        self._thread.join(timeout=30)

    # --- the queue on disk

    def _queue_changed(self) -> None:
        self._work.notify_all()
        if self._home is not None:
            waiting = [str(folder) for folder in self._queue]
            with contextlib.suppress(RunError):  # what cannot be kept, on a full disk, is worked off now
                write_json(self._home / f"{self._me[0]}.json", {"born": self._me[1], "waiting": waiting})

    def _take_over(self) -> None:
        """What waits that servers left behind which are no more."""
        for file, served, folders in self._queues():
            if not served:
                jobs = ((folder, self._load(folder)) for folder in folders)
                self._queue += [folder for folder, job in jobs if job is not None and job.state == "waiting"]
                file.unlink(missing_ok=True)
        if self._queue:
            with self._work:
                self._queue_changed()

    def _of_other_servers(self) -> list[Path]:
        return [folder for _, served, folders in self._queues() if served for folder in folders]

    def _queues(self) -> Iterator[tuple[Path, bool, list[Path]]]:
        """(file, whether its server is alive, what waits) of all servers on this workspace."""
        for file in sorted(self._home.glob("*.json")) if self._home is not None else ():
            with contextlib.suppress(InputError, KeyError, TypeError, ValueError):  # damaged: nobody's
                data = read_json(file)
                yield file, lives(int(file.stem), data["born"]), [Path(str(f)) for f in data["waiting"]]

    def _ask_to_stop(self, folder: Path, job: Job) -> None:
        if job.state in ("running", "paused"):
            self._save(folder, replace(job, state="stopping"))
            send(job, signal.SIGTERM, signal.SIGCONT)

    # --- the one thread that runs them

    def _run(self) -> None:
        while not self._closed:
            try:
                self._run_next()
            except RunError as error:  # a full disk, say: the others have their turn all the same
                log.error("how a job stands could not be kept: %s", error)
                self._running = self._process = None

    def _run_next(self) -> None:
        with self._work:
            while not self._queue and not self._closed:
                self._work.wait()
            if self._closed:
                return
            folder = self._running = self._queue.pop(0)
            self._queue_changed()
            job = self._load(folder)
            if job is not None and not alive(job):
                job = self._start(folder, job)
        code = self._wait(job)
        with self._work:
            now = self._load(folder)
            if now is not None and now.state in OPEN:
                self._save(folder, ended(now, folder, code))
            self._running = self._process = None

    def _start(self, folder: Path, job: Job) -> Job | None:
        # Whatever a recipe names, and whoever put it there: a module that anybody names is not run.
        environment = {**os.environ, "PYTHONUNBUFFERED": "1", ONLY_REGISTERED: "1"}
        try:
            with open(folder / "log.jsonl", "w") as log, open(folder / "out.json", "w") as out:
                self._process = subprocess.Popen(
                    [sys.executable, "-m", "nerf_insert", *job.words, "--json"],
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=log,
                    env=environment,
                    start_new_session=True,  # Ctrl-C in the server's terminal is the server's to handle
                )
        except OSError as error:
            self._save(folder, replace(job, state="failed", message=f"cannot be started: {error}"))
            return None
        pid = self._process.pid
        job = replace(job, state="running", pid=pid, born=born(pid), started=time.time(), message="")
        self._save(folder, job)
        return job

    def _wait(self, job: Job | None) -> int | None:
        """Until the process has ended; its exit code, None for one that another server started."""
        if self._process is not None:
            return self._process.wait()
        while job is not None and alive(job) and not self._closed:
            time.sleep(0.5)
        return None

    def _load(self, folder: Path) -> Job | None:
        try:
            return Job(**read_json(folder / "job.json"))
        except (InputError, TypeError):
            return None

    def _save(self, folder: Path, job: Job) -> None:
        write_json(folder / "job.json", asdict(job))


def keep_recipe(recipe, folder: Path) -> Path:
    """Write a recipe and copies of its files into a job's folder; the recipe's file."""
    from nerf_insert.io.files import write_yaml

    write_yaml(folder / "recipe.yaml", recipe.copied_into(folder).to_dict())
    return folder / "recipe.yaml"
