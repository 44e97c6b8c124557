"""Exclude time during which the process was suspended (Ctrl-Z, the web page's Pause) from the progress clock.

Nothing tells a process that it is being suspended, but SIGCONT tells it that it no longer is. What has passed
since its last report without the working thread computing is then taken as the time that it was suspended.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from nerf_insert.runtime.progress import Progress


@contextmanager
def ignore_suspended_time(progress: Progress) -> Iterator[None]:
    """Make `progress.now()` stand still while the process is suspended; for the main thread's work.

    Does nothing in other threads, which cannot handle signals, and on Windows, which suspends no process.
    """
    if not hasattr(signal, "SIGCONT") or threading.current_thread() is not threading.main_thread():
        yield
        return

    def on_resumed(*_: object) -> None:
        wall, cpu = progress.clock(), progress.cpu_clock()
        last_wall, last_cpu = progress.last_sign
        progress.idle += max(0.0, (wall - last_wall) - (cpu - last_cpu))
        progress.last_sign = wall, cpu

    progress.last_sign = progress.clock(), progress.cpu_clock()
    before = signal.signal(signal.SIGCONT, on_resumed)
    try:
        yield
    finally:
        signal.signal(signal.SIGCONT, before)
