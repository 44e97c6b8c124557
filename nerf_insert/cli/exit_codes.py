"""How a command ends: the exit code, and one sentence in place of a traceback."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from nerf_insert.cli.console import Console
from nerf_insert.errors import InputError, RunError, Stopped
from nerf_insert.io.files import ADVICE
from nerf_insert.runtime.suspend_clock import ignore_suspended_time

SUCCESS, FAILURE, BAD_INPUT, STOPPED = 0, 1, 2, 130
RETRY_SECONDS = 0.05  # after which a postponed interrupt is tried again


def run_guarded(work: Callable[[], None], console: Console) -> int:
    """Run `work` and turn whatever it raises into an exit code and a message.

    Ctrl-C and SIGTERM, which job schedulers and `kill` send, both stop the work cleanly.
    """
    try:
        with (
            on_signals(_interrupt, signal.SIGINT, signal.SIGTERM),
            ignore_suspended_time(console.progress),
            warnings.catch_warnings(),
        ):
            if not sys.warnoptions:  # libraries address these to programmers, not to users of a command
                warnings.simplefilter("ignore")
            work()
        return SUCCESS
    except InputError as error:
        console.failure(str(error))
        return BAD_INPUT
    except RunError as error:
        console.failure(str(error))
        return FAILURE
    except (KeyboardInterrupt, Stopped):
        return _report_stop(console)
    except SystemExit as stop:  # argparse, after --help and --version
        console.flush()
        return stop.code if isinstance(stop.code, int) else SUCCESS
    except Exception as error:
        if _caused_by_interrupt(error):
            return _report_stop(console)
        console.failure(explain_system_error(error) or report_bug(error))
        return FAILURE


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Raise KeyboardInterrupt, but try again later while numba or llvmlite compiles or loads a kernel.

    Interrupted there, the compiler would keep its lock, and every thread that needs a kernel would wait for
    it forever. Python has no way to ask for the lock, so the modules on the stack are looked at.
    """
    while frame is not None:
        if str(frame.f_globals.get("__name__")).startswith(("llvmlite.", "numba.")):
            retry = threading.Timer(RETRY_SECONDS, os.kill, (os.getpid(), number))
            retry.daemon = True
            retry.start()
            return
        frame = frame.f_back
    raise KeyboardInterrupt


def _report_stop(console: Console) -> int:
    """Say that the command was stopped and how to continue."""
    with on_signals(signal.SIG_IGN, signal.SIGINT, signal.SIGTERM):  # Ctrl-C pressed several times
        console.failure("stopped" + (f"; {console.if_stopped}" if console.if_stopped else ""))
    return STOPPED


def _caused_by_interrupt(error: BaseException | None) -> bool:
    """Tell whether a KeyboardInterrupt was turned into another error, as Python 3.11 does in Enum classes."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error is not None


@contextmanager
def on_signals(handler: Any, *numbers: int) -> Iterator[None]:
    """Handle signals with `handler` for a while. Does nothing outside the main thread, which cannot."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)


def explain_system_error(error: Exception) -> str | None:
    """Explain an error of the machine (memory, disk, permissions) in one sentence; None for other errors."""
    is_memory = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    if is_memory or (isinstance(error, RuntimeError) and "allocate memory" in str(error)):
        return (
            "there is not enough memory: close other programs, or work on smaller images "
            "(train --downscale, render --scale)"
        )
    if isinstance(error, OSError) and error.errno in ADVICE:
        file = f"{error.filename}: " if error.filename else ""
        return f"{file}{error.strerror or os.strerror(error.errno)}; {ADVICE[error.errno]}"
    return None


def report_bug(error: Exception) -> str:
    """Write the traceback to a file and return the message that asks to report it."""
    text = "".join(traceback.format_exception(error))
    summary = traceback.format_exception_only(error)[-1].strip()
    try:
        with tempfile.NamedTemporaryFile("w", prefix="nerf-insert-", suffix=".log", delete=False) as file:
            file.write(text)
        log = f"with the log in {file.name}"
    except OSError:
        log = f"with this log:\n{text}"
    return f"{summary}: this is a bug in NeRF-Insert, please report it {log}"
