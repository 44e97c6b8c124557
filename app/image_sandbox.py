"""Pictures that people bring are decoded by a child process with bounded memory and time (picture_worker.py),
never by the server; meshes have a child of their own in the engine."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import nerf_insert
from nerf_insert.capture.capture import View
from nerf_insert.errors import InputError

SECONDS = 30.0  # for one picture


def check(file: Path) -> None:
    """Raises InputError unless all of the file can be read as a picture."""
    _child.ask({"check": str(file)}, file.name)


def convert(file: Path, target: Path, side: int) -> None:
    """The picture again, as a PNG of at most `side` pixels. Raises InputError."""
    _child.ask({"convert": str(file), "to": str(target), "side": side}, file.name)


def photograph(view: View, size: tuple[int, int]) -> str:
    """A view's photograph in that size, (width, height), as a JPEG in a data URL. Raises InputError."""
    request = {"photograph": str(view.path), "size": size, "background": view.background}
    return "data:image/jpeg;base64," + _child.ask(request, view.name)["jpeg"]


def mask(png: str, size: tuple[int, int]) -> bytes:
    """White on black in that size, as a PNG, where a PNG in base64 is opaque. Raises InputError."""
    return base64.b64decode(_child.ask({"mask": png, "size": size}, "what was painted")["png"])


class Child:
    """The process, started when it is first needed, and again when it had to be ended."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen | None = None

    def ask(self, request: dict, name: str) -> dict[str, Any]:
        """Its answer. Raises InputError with its sentence, or where it gives none in time."""
        with self._lock:
            process = self._process = self._process or start()
            late = threading.Timer(SECONDS, process.kill)
            late.start()
            try:
                process.stdin.write(json.dumps(request) + "\n")
                process.stdin.flush()
                answer = json.loads(process.stdout.readline())
            except (OSError, ValueError):  # it is no more
                self._process = None
                process.kill()
                process.communicate()
                answer = {"error": f"{name} cannot be read: it is damaged, or takes too much memory or time"}
            finally:
                late.cancel()
        if "error" in answer:
            raise InputError(answer["error"])
        return answer


def start() -> subprocess.Popen:
    root = str(Path(nerf_insert.__file__).resolve().parents[1])
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH", "")]))
    return subprocess.Popen(
        [sys.executable, "-m", "nerf_insert.app.image_worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment,
        start_new_session=True,  # Ctrl-C is the server's to handle; the child ends with its stdin
    )


_child = Child()
