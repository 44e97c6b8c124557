"""The end of the server. A thread that computes while the interpreter ends aborts it (signal 6): torch, back
from C++, finds no interpreter any more. So at the end no work begins, and what is at work is waited for."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from nerf_insert.errors import RunError


class InFlight:
    """Through which work goes in and out, until they are shut."""

    def __init__(self) -> None:
        self._change = threading.Condition()
        self._inside, self._shut = 0, False

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Raises RunError once the doors are shut."""
        with self._change:
            if self._shut:
                raise RunError("the server is about to end: start it again")
            self._inside += 1
        try:
            yield
        finally:
            with self._change:
                self._inside -= 1
                self._change.notify_all()

    def shut(self, patience: float) -> bool:
        """Let nothing in any more, and wait until all are out, for as many seconds; whether they are."""
        with self._change:
            self._shut = True
            return self._change.wait_for(lambda: self._inside == 0, patience)


IN_FLIGHT = InFlight()  # of this process
