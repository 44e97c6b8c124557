"""How long something takes that is made of several kinds of work, said as soon as it can be known.

    outlook = Outlook(progress, "The edit", {"pictures": 120, "steps": 800})
    with outlook:
        with outlook.spending("pictures", 8):
            ...

Time left is, for each kind, what is left of it at the rate at which the latest of it went.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from nerf_insert.runtime.progress import Progress, Task

LATEST = 40  # pieces of a kind from which its rate follows


class EtaEstimator(Task):
    """A task whose `total` is 1 and whose `left` is an estimate over kinds of work."""

    def __init__(self, owner: Progress, description: str, amounts: Mapping[str, float]) -> None:
        super().__init__(owner, description, 1.0)
        self.amounts = dict(amounts)  # what is left of each kind
        self._pieces: dict[str, deque[tuple[float, float]]] = {}

    @contextmanager
    def spending(self, kind: str, amount: float) -> Iterator[None]:
        """Do so much of one kind of work, and take note of how long it took."""
        began = self.owner.now()
        yield
        self.spent(kind, amount, self.owner.now() - began)

    def spent(self, kind: str, amount: float, seconds: float) -> None:
        pieces = self._pieces.setdefault(kind, deque(maxlen=LATEST))
        pieces.append((amount, seconds))
        self.skip(kind, amount)
        left = self.left
        if left is not None:
            self.done = max(self.done, self.elapsed / max(self.elapsed + left, 1e-9))
            self.owner.changed(self)

    def skip(self, kind: str, amount: float) -> None:
        """So much of a kind need not be done, or was done by an earlier run."""
        self.amounts[kind] = max(0.0, self.amounts.get(kind, 0.0) - amount)

    def add(self, kind: str, amount: float) -> None:
        """There is more to do than was known."""
        self.amounts[kind] = self.amounts.get(kind, 0.0) + amount

    def rate(self, kind: str) -> float | None:
        """Seconds for one of a kind, None while that is not known."""
        pieces = self._pieces.get(kind)
        total = sum(amount for amount, _ in pieces or ())
        return sum(seconds for _, seconds in pieces or ()) / total if total else None

    @property
    def left(self) -> float | None:
        """Seconds left, None while there is a kind of work left of which nothing was done yet."""
        seconds = 0.0
        for kind, amount in self.amounts.items():
            if amount > 0:
                rate = self.rate(kind)
                if rate is None:
                    return None
                seconds += amount * rate
        return seconds
