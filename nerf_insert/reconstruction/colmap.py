"""Structure from motion in a process of its own, whose crash or lack of memory is a message here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from nerf_insert.errors import InputError, RunError
from nerf_insert.reconstruction.lens_models import first_model
from nerf_insert.reconstruction.photographs import Photograph
from nerf_insert.reconstruction.solution import Solution, load_solution
from nerf_insert.runtime.child import environment
from nerf_insert.runtime.progress import Progress, Task

MEMORY_SHARE = 0.8  # of the free memory that the process may take
LEAST_MEMORY = 2 << 30
ENDED = 10.0  # seconds that the process has to end
MAX_MESSAGE = 300  # characters of its last line


@dataclass(frozen=True)
class Mapping:
    """What structure from motion found.

    Attributes:
        solution: Cameras and points of the largest model; None where there is no model.
        features: Features of each photograph, by its name.
        models: The photographs of each model, the largest first.
        mapper: "incremental" or "global".
        lens: COLMAP's name of the lens model.
        error: Mean reprojection error, pixels.
    """

    solution: Solution | None
    features: dict[str, int]
    models: tuple[tuple[str, ...], ...]
    mapper: str = ""
    lens: str = ""
    error: float = 0.0


def run_colmap(
    folder: Path, work: Path, photographs: Sequence[Photograph], *, lens: str, seed: int, progress: Progress
) -> Mapping:
    """Find the cameras of photographs.

    Features and matches that an earlier run of the same photographs left in `work` are used again.

    Args:
        folder: The capture's folder.
        work: For the database and the result.
        photographs: The photographs; their files exist.
        lens: A key of `lens.MODELS`, or "auto".
        seed: Of everything random.
        progress: Where progress goes; it can pause and stop the work.

    Raises:
        InputError: pycolmap is not installed.
        RunError: The process failed.
    """
    request = {
        "folder": str(folder.resolve()),
        "work": str(work.resolve()),
        "photographs": [photograph.to_dict() for photograph in photographs],
        "lens": lens,
        "camera_model": first_model(lens),
        "seed": seed,
        "threads": thread_count(),
        "memory": max(LEAST_MEMORY, int(MEMORY_SHARE * psutil.virtual_memory().available)),
    }
    work.mkdir(parents=True, exist_ok=True)
    result = _Worker(work / "colmap.log", progress).run(request)
    found = result["models"]
    solution = load_solution(work / "solution.npz") if found else None
    return Mapping(
        solution,
        {name: max(0, count) for name, count in result["features"].items()},
        tuple(tuple(names) for names in found),
        result["mapper"],
        result.get("lens", ""),
        result.get("error", 0.0),
    )


def thread_count() -> int:
    """Return OMP_NUM_THREADS, or the number of cores that this process may use."""
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    if wanted.isdigit() and int(wanted):
        return int(wanted)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class _Worker:
    """The process, and the progress that it reports."""

    def __init__(self, log: Path, progress: Progress) -> None:
        self.log, self.progress = log, progress
        self.task: Task | None = None

    def run(self, request: dict[str, Any]) -> dict[str, Any]:
        """Send the request; return the result."""
        with open(self.log, "w") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "nerf_insert.reconstruction.colmap_worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=environment(),
                start_new_session=True,  # Ctrl-C is for this process, which ends the other one
            )
        try:
            result = self._converse(process, request)
        finally:
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(ENDED)
                except subprocess.TimeoutExpired:
                    process.kill()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    try:
                        pipe.close()
                    except BrokenPipeError:
                        pass
        return result

    def _converse(self, process: subprocess.Popen[str], request: dict[str, Any]) -> dict[str, Any]:
        assert process.stdin is not None and process.stdout is not None
        answer: dict[str, Any] = {}
        try:
            process.stdin.write(json.dumps(request) + "\n")
            process.stdin.flush()
            for line in process.stdout:
                answer = json.loads(line)
                if "result" in answer:
                    self._close_task(finished=True)
                    return answer["result"]
                self._show(answer)
                process.stdin.write("go\n")
                process.stdin.flush()
        except BrokenPipeError:
            pass
        except BaseException:
            self._close_task(finished=False)
            raise
        self._close_task(finished=False)
        raise self._failure(process.wait(), answer.get("task", "Starting"))

    def _show(self, answer: dict[str, Any]) -> None:
        if self.task is None or self.task.description != answer["task"]:
            self._close_task(finished=True)
            self.task = self.progress.task(answer["task"], answer["total"], answer["done"])
            self.task.__enter__()
        self.task.update(answer["done"], answer["note"] or None)

    def _close_task(self, finished: bool) -> None:
        if self.task is not None:
            self.task.__exit__(None if finished else RunError, None, None)
            self.task = None

    def _failure(self, code: int, task: str) -> InputError | RunError:
        lines = [line for line in self.log.read_text(errors="replace").splitlines() if line.strip()]
        last = lines[-1][:MAX_MESSAGE] if lines else "it said nothing"
        if "No module named 'pycolmap'" in last:
            return InputError("finding camera positions needs pycolmap: pip install pycolmap")
        said = "\n".join(lines)
        if "bad_alloc" in said or "MemoryError" in said or code == -9:
            return RunError(
                f"the memory was not enough for '{task}': close other programs, or use fewer (--frames) or "
                "smaller "
                "(--megapixels 0.5) photographs; the same command again goes on from here"
            )
        return RunError(
            f"COLMAP failed at '{task}' (exit code {code}): {last}. The same command again goes on from "
            "here; its "
            f"log is {self.log}"
        )
