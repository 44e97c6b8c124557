"""The time left of work of several kinds, told as soon as it can be known.

    estimator = EtaEstimator(progress, "The edit", {"images": 120, "steps": 800})
    with estimator:
        with estimator.spending("images", 8):
            ...

The time left is, for each kind, what is left of it at the pace of its latest pieces.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from nerf_insert.runtime.pace import Pace
from nerf_insert.runtime.progress import Progress, Task

LATEST = 40  # pieces of a kind that its pace is taken from


class EtaEstimator(Task):
    """A task whose `total` is 1 and whose `left` is an estimate over kinds of work.

    Args:
        owner: The progress that the task reports to.
        description: The task's name.
        amounts: How much there is to do of each kind, in any unit.
    """

    def __init__(self, owner: Progress, description: str, amounts: Mapping[str, float]) -> None:
        super().__init__(owner, description, 1.0)
        self.amounts = dict(amounts)  # what is left of each kind
        self._paces: dict[str, Pace] = {}

    @contextmanager
    def spending(self, kind: str, amount: float) -> Iterator[None]:
        """Measure a block that does `amount` of one kind of work."""
        began = self.owner.now()
        yield
        self.spent(kind, amount, self.owner.now() - began)

    def spent(self, kind: str, amount: float, seconds: float) -> None:
        """Record that `amount` of one kind of work took `seconds`."""
        self._paces.setdefault(kind, Pace(LATEST)).add(amount, seconds)
        self.skip(kind, amount)
        left = self.left
        if left is not None:
            self.done = max(self.done, self.elapsed / max(self.elapsed + left, 1e-9))
            self.owner.changed(self)

    def skip(self, kind: str, amount: float) -> None:
        """Take `amount` off what is left of a kind: it need not be done, or an earlier run did it."""
        self.amounts[kind] = max(0.0, self.amounts.get(kind, 0.0) - amount)

    def add(self, kind: str, amount: float) -> None:
        """Add `amount` to what is left of a kind."""
        self.amounts[kind] = self.amounts.get(kind, 0.0) + amount

    @property
    def left(self) -> float | None:
        """Seconds left, or None while too little is known of a kind of which something is left."""
        total = 0.0
        for kind, amount in self.amounts.items():
            seconds = self._paces[kind].seconds_for(amount) if kind in self._paces else None
            if amount > 0 and seconds is None:
                return None
            total += seconds or 0.0
        return total
