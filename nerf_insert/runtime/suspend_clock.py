"""Time in which the whole process stood still, by Ctrl-Z or by the page's Pause, is no work.

Nothing tells a process that it was stopped. But while it is, its clock goes on and its processor time does
not, and a thread that wakes ten times a second sees that.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from nerf_insert.runtime.progress import Progress

TICK = 0.1  # seconds
LONG = 1.0  # seconds; shorter gaps are other programs' turns
BUSY = 0.1  # share of a gap in processor time: the thread only waited for Python's lock


@contextmanager
def ignore_suspended_time(progress: Progress) -> Iterator[None]:
    """Meanwhile, let the progress' clock stand still whenever the process does."""
    over = threading.Event()

    def watch() -> None:
        clock, work = time.monotonic(), time.process_time()
        while not over.wait(TICK):
            before, clock = clock, time.monotonic()
            worked, work = work, time.process_time()
            gap = clock - before - TICK
            if gap > LONG and work - worked < BUSY * gap:
                progress.idle += gap

    thread = threading.Thread(target=watch, name="standstill", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
