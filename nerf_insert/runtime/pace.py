"""How many seconds a piece of work takes, told only once enough of it was seen."""

from __future__ import annotations

from collections import deque

SETTLED = 10.0  # seconds of measurement after the warm-up that are enough to tell
ENOUGH = 0.05  # fraction of the work that is enough to tell, however quick it was


class Pace:
    """Seconds per unit of one kind of work, measured piece by piece.

    The first piece is the warm-up: kernels are compiled and files are read in it, so it counts only as long
    as there is no other. Nothing is told before SETTLED seconds were measured after it, or ENOUGH of the work
    was seen: a first step of a thousand that takes as long as a hundred others says nothing about the rest.

    Args:
        window: The number of latest pieces that count (default: all).
    """

    def __init__(self, window: int | None = None) -> None:
        self.done = 0.0  # units seen, the warm-up included
        self._window = window
        self._warm_up: tuple[float, float] | None = None
        self._measured = 0.0  # seconds since the warm-up
        self._latest: deque[tuple[float, float]] = deque()
        self._amount = self._seconds = 0.0  # sums over `_latest`, or over all where there is no window

    def add(self, amount: float, seconds: float) -> None:
        """Record a piece of `amount` units that took `seconds`."""
        self.done += amount
        if self._warm_up is None:
            self._warm_up = (amount, seconds)
            return
        self._measured += seconds
        if self._window is None:
            self._amount, self._seconds = self._amount + amount, self._seconds + seconds
            return
        self._latest.append((amount, seconds))
        if len(self._latest) > self._window:
            self._latest.popleft()
        self._amount, self._seconds = (sum(column) for column in zip(*self._latest, strict=True))

    def seconds_for(self, amount: float) -> float | None:
        """Return the seconds that `amount` more units take, or None while too little is known to tell."""
        if amount <= 0:
            return 0.0
        if self._measured < SETTLED and self.done < ENOUGH * (self.done + amount):
            return None
        units, seconds = (self._amount, self._seconds) if self._amount > 0 else self._warm_up or (0.0, 0.0)
        return amount * seconds / units if units > 0 else None
