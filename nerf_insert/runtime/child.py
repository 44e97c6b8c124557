"""Modules run in processes of their own, with bounded memory and time: for files that come from strangers.

Such a module calls `set_limits` first, reads one request, a JSON object, from the standard input, and writes
its answer as the last line of the standard output. This module imports nothing large.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from importlib.resources import files
from pathlib import Path
from typing import Any

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


class ChildTimeout(Exception):
    """The process took too long, and was ended."""


class ChildDied(Exception):
    """The process ended without an answer, at its limits for example; `code` is its exit code."""

    def __init__(self, code: int):
        super().__init__(f"exit code {code}")
        self.code = code


def ask(module: str, request: dict[str, Any], folder: str | Path, seconds: float) -> dict[str, Any]:
    """Run a module for one request.

    Args:
        module: Its full name.
        request: What it is asked, as plain data.
        folder: Its current folder.
        seconds: Time until it is ended.

    Returns:
        Its answer.

    Raises:
        ChildTimeout: It took longer.
        ChildDied: It gave no answer.
    """
    try:
        done = subprocess.run(
            [sys.executable, "-m", module],
            input=json.dumps(request),
            capture_output=True,
            text=True,
            timeout=seconds,
            cwd=folder,
            env=environment() | dict.fromkeys(THREADS, "1"),
        )
    except subprocess.TimeoutExpired:
        raise ChildTimeout from None
    try:
        return json.loads(done.stdout.strip().splitlines()[-1])
    except (IndexError, ValueError):
        raise ChildDied(done.returncode) from None


def environment() -> dict[str, str]:
    """Return this process's environment, with which a child finds this package from any folder."""
    package = str(Path(str(files("nerf_insert"))).resolve().parent)
    search = [os.path.abspath(p) for p in os.environ.get("PYTHONPATH", "").split(os.pathsep) if p]
    return {**os.environ, "PYTHONPATH": os.pathsep.join([package, *search])}


def set_limits(memory: int, seconds: float) -> None:
    """Limit this process to `memory` bytes of address space and `seconds` of CPU time."""
    try:
        import resource
    except ImportError:  # Windows: the parent's time limit has to do
        return
    for kind, value in (("RLIMIT_AS", memory), ("RLIMIT_CPU", math.ceil(seconds)), ("RLIMIT_CORE", 0)):
        try:
            resource.setrlimit(getattr(resource, kind), (value, value))
        except (ValueError, OSError):  # not every system lets every limit be set
            pass
