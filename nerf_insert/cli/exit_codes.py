"""How a command ends: the exit code, and a sentence in the place of a traceback."""

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

AGAIN = 0.05  # seconds after which an interrupt that had to wait is tried again
SUCCESS, FAILURE, BAD_INPUT, STOPPED = 0, 1, 2, 130


def run_guarded(work: Callable[[], None], console: Console) -> int:
    """Run `work`; whatever it ends with becomes an exit code and, unless it succeeded, a message."""
    try:
        # SIGTERM, which job schedulers and `kill` send, stops a command as cleanly as Ctrl-C
        with (
            on_signals(_interrupt, signal.SIGINT, signal.SIGTERM),
            ignore_suspended_time(console.progress),
            warnings.catch_warnings(),
        ):
            if not sys.warnoptions:  # what libraries tell programmers is not for the person at the terminal
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
        return _stopped(console)
    except SystemExit as stop:  # argparse, after --help and --version
        console.flush()
        return stop.code if isinstance(stop.code, int) else SUCCESS
    except Exception as error:
        if _is_an_interrupt(error):
            return _stopped(console)
        console.failure(in_plain_words(error) or bug(error))
        return FAILURE


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Raise KeyboardInterrupt, but not while a kernel is being compiled or loaded: the compiler would leave
    its lock closed, and whoever waits for it, the end of the program included, would wait for ever."""
    while frame is not None:
        if str(frame.f_globals.get("__name__")).startswith(("llvmlite.", "numba.")):
            again = threading.Timer(AGAIN, os.kill, (os.getpid(), number))
            again.daemon = True
            again.start()
            return
        frame = frame.f_back
    raise KeyboardInterrupt


def _stopped(console: Console) -> int:
    with on_signals(signal.SIG_IGN, signal.SIGINT, signal.SIGTERM):  # pressed again and again
        console.failure("stopped" + (f"; {console.if_stopped}" if console.if_stopped else ""))
    return STOPPED


def _is_an_interrupt(error: BaseException | None) -> bool:
    """Whether something made another error of Ctrl-C, as Python 3.11 does while an Enum is being defined."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error is not None


@contextmanager
def on_signals(do: Any, *numbers: int) -> Iterator[None]:
    """Handle signals that way meanwhile, where that is possible: in the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, do) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def in_plain_words(error: Exception) -> str | None:
    """What to say of a failure that is the machine's, None if it is ours."""
    is_memory = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    if is_memory or (isinstance(error, RuntimeError) and "allocate memory" in str(error)):
        return (
            "there is not enough memory: close other programs, or work on smaller pictures "
            "(train --downscale, render --scale)"
        )
    if isinstance(error, OSError) and error.errno in ADVICE:
        what = f"{error.filename}: " if error.filename else ""
        return f"{what}{error.strerror or os.strerror(error.errno)}; {ADVICE[error.errno]}"
    return None


def bug(error: Exception) -> str:
    """Keep the traceback in a file; what to tell the person."""
    text = "".join(traceback.format_exception(error))
    what = traceback.format_exception_only(error)[-1].strip()
    try:
        with tempfile.NamedTemporaryFile("w", prefix="nerf-insert-", suffix=".log", delete=False) as file:
            file.write(text)
        where = f"with the log in {file.name}"
    except OSError:
        where = f"with this log:\n{text}"
    return f"{what}: this is a bug in NeRF-Insert, please report it {where}"
