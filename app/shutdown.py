"""Clean shutdown: refuse new requests and wait for those in flight.

A thread that computes while the interpreter exits aborts the process (signal 6): torch, back from C++, finds
no interpreter.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from nerf_insert.errors import RunError


class InFlight:
    """Counts the requests in flight until the server shuts down."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._count, self._closed = 0, False

    @contextmanager
    def track(self) -> Iterator[None]:
        """Count the enclosed computation as in flight.

        Raises:
            RunError: The server is shutting down.
        """
        with self._changed:
            if self._closed:
                raise RunError("the server is shutting down: start it again")
            self._count += 1
        try:
            yield
        finally:
            with self._changed:
                self._count -= 1
                self._changed.notify_all()

    def close(self, timeout: float) -> bool:
        """Refuse new requests and wait for those in flight.

        Args:
            timeout: Seconds to wait at most.

        Returns:
            Whether none is in flight any more.
        """
        with self._changed:
            self._closed = True
            return self._changed.wait_for(lambda: self._count == 0, timeout)


IN_FLIGHT = InFlight()  # of this process
