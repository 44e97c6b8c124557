"""Decoding of uploaded images in a child process with bounded memory and time (image_worker.py).

The server never decodes such files itself; meshes have a child process of their own in the engine.
"""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from nerf_insert.capture.capture import View
from nerf_insert.errors import InputError, warn
from nerf_insert.runtime.child import THREADS, environment

SECONDS = 30.0  # for one image


def check(file: Path) -> None:
    """Decode a whole image.

    Raises:
        InputError: The file is not an image, or is too large.
    """
    _worker.ask({"check": str(file)}, file.name)


def convert(file: Path, target: Path, side: int) -> None:
    """Write an image as a PNG of at most `side` pixels along each side: upright, in sRGB.

    Raises:
        InputError: The file is not an image, or is too large.
    """
    found = _worker.ask({"convert": str(file), "to": str(target), "side": side}, file.name)
    if found["frames"] > 1:
        warn(f"{file.name} holds {found['frames']} images, an animation or pages: the first is used")


def photograph(view: View, size: tuple[int, int]) -> str:
    """Return a view's photograph, resized to (width, height), as a JPEG data URL.

    Raises:
        InputError: The file is not an image, or is too large.
    """
    request = {"photograph": str(view.path), "size": size, "background": view.background}
    request["turned"] = view.orientation != 1
    return "data:image/jpeg;base64," + _worker.ask(request, view.name)["jpeg"]


def mask(png: str, size: tuple[int, int]) -> bytes:
    """Return a mask as a PNG that is white where `png`, a PNG in base64, is opaque.

    Args:
        png: The mask as a browser painted it.
        size: (width, height) of the result.

    Raises:
        InputError: The mask is not a PNG, is too large or empty.
    """
    return base64.b64decode(_worker.ask({"mask": png, "size": size}, "the mask")["png"])


class Worker:
    """The child process, started on first use and after it had to be killed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None

    def ask(self, request: dict[str, Any], name: str) -> dict[str, Any]:
        """Send a request to the child process and return its answer.

        Args:
            request: One of the requests that image_worker.py lists.
            name: What the image is called in messages.

        Raises:
            InputError: The child process refused the image, or did not answer in time.
        """
        with self._lock:
            process = self._process = self._process or start_worker()
            assert process.stdin is not None and process.stdout is not None
            timer = threading.Timer(SECONDS, process.kill)
            timer.start()
            try:
                process.stdin.write(json.dumps(request) + "\n")
                process.stdin.flush()
                answer = json.loads(process.stdout.readline())
            except (OSError, ValueError):  # the process died
                self._process = None
                process.kill()
                process.communicate()
                answer = {"error": f"{name} cannot be read: it is damaged, or takes too much memory or time"}
            finally:
                timer.cancel()
        if "error" in answer:
            raise InputError(answer["error"])
        return answer


def start_worker() -> subprocess.Popen[str]:
    """Start the child process, which ends with its stdin."""
    return subprocess.Popen(
        [sys.executable, "-m", "nerf_insert.app.image_worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment() | dict.fromkeys(THREADS, "1"),
        start_new_session=True,  # Ctrl-C is the server's to handle
    )


_worker = Worker()
