"""Which job waits for which: for those that it names, and for those whose files it needs or would disturb."""

from __future__ import annotations

import graphlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from nerf_insert.batch.jobs import Job
from nerf_insert.errors import InputError


@dataclass(frozen=True)
class Uses:
    """The files and folders of one command, as absolute paths.

    Attributes:
        reads: What it only reads.
        writes: What it makes or changes.
    """

    reads: frozenset[Path] = frozenset()
    writes: frozenset[Path] = frozenset()


def order_jobs(jobs: Sequence[Job], uses: Callable[[Job], Uses]) -> dict[str, set[str]]:
    """Return, for each job, the jobs that it has to wait for, those without need first.

    A job waits for every earlier one in the list that writes what it reads or writes, or reads what it
    writes; paths inside one another count as the same.

    Args:
        jobs: The jobs, as listed.
        uses: The files of a job; it raises InputError if the command is wrong.

    Raises:
        InputError: A command is wrong, or jobs wait for each other in a circle.
    """
    waits: dict[str, set[str]] = {job.name: set(job.needs) for job in jobs}
    readers, writers = _Touched(), _Touched()
    for job in jobs:
        try:
            files = uses(job)
        except InputError as cause:
            raise InputError(f"the job {job.name}: {cause}") from None
        found = writers.meeting(files.reads | files.writes) | readers.meeting(files.writes)
        waits[job.name] |= found - {job.name}
        readers.add(files.reads, job.name)
        writers.add(files.writes, job.name)
    try:
        return {name: waits[name] for name in graphlib.TopologicalSorter(waits).static_order()}
    except graphlib.CycleError as cause:
        circle = " -> ".join(reversed(cause.args[1]))
        raise InputError(f"these jobs wait for each other, so none can start: {circle}") from None


class _Touched:
    """Which jobs touched which paths."""

    def __init__(self) -> None:
        self._at: dict[Path, set[str]] = {}
        self._inside: dict[Path, set[str]] = {}

    def add(self, paths: frozenset[Path], name: str) -> None:
        for path in paths:
            self._at.setdefault(path, set()).add(name)
            for parent in path.parents:
                self._inside.setdefault(parent, set()).add(name)

    def meeting(self, paths: frozenset[Path]) -> set[str]:
        """Return the jobs that touched one of the paths, a folder that holds it, or something inside it."""
        found: set[str] = set()
        for path in paths:
            found |= self._inside.get(path, set())
            for place in (path, *path.parents):
                found |= self._at.get(place, set())
        return found
