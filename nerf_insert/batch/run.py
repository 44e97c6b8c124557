"""Run a list of jobs on this machine or on a Ray cluster; what is done already is not done again."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, runtime_checkable

from nerf_insert.batch.execute import DONE, FAILED, SKIPPED, Outcome, finished
from nerf_insert.batch.jobs import Job
from nerf_insert.io.locks import only_writer
from nerf_insert.runtime.progress import SILENT, Progress


@dataclass(frozen=True)
class Places:
    """Where a list of jobs works.

    Attributes:
        out: Holds a folder for each job.
        cwd: The folder that paths in commands are relative to.
    """

    out: Path
    cwd: Path


@runtime_checkable
class Backend(Protocol):
    """Runs jobs, each after those that it waits for."""

    def run(
        self, jobs: Sequence[Job], waits: Mapping[str, set[str]], places: Places, progress: Progress
    ) -> Iterator[Outcome]:
        """Run jobs and yield how each ended, as they end.

        Args:
            jobs: The jobs, in an order in which they can run.
            waits: For each job, those of `jobs` that it has to wait for.
            places: Where they work.
            progress: Tells when to stop, by `check`.

        Raises:
            InputError: A job asks for more than there is.
            Stopped: `progress` was stopped. Running commands were asked to end first.
        """
        ...


def run_jobs(
    jobs: Sequence[Job],
    waits: Mapping[str, set[str]],
    places: Places,
    backend: Backend,
    progress: Progress = SILENT,
) -> list[Outcome]:
    """Run jobs in an order that respects what they wait for.

    A failed job lets those that wait for it be skipped; the others run all the same.

    Args:
        jobs: The jobs, as listed.
        waits: As `order_jobs` returns it.
        places: Where they work.
        backend: What runs them.
        progress: Where progress and messages go.

    Returns:
        How each ended, as listed.

    Raises:
        InputError: A job asks for more than there is, or another process is working on this list.
        RunError: The disk cannot be written.
        Stopped: `progress` was stopped. What is done is kept.
    """
    by_name = {job.name: job for job in jobs}
    with only_writer(places.out):
        outcomes = {job.name: done for job in jobs if (done := finished(job, places.out / job.name))}
        left = [by_name[name] for name in waits if name not in outcomes]
        needs = {job.name: waits[job.name] - outcomes.keys() for job in left}
        with progress.task("Running the jobs", total=len(jobs), done=len(outcomes)) as task:
            for outcome in backend.run(left, needs, places, progress) if left else ():
                outcomes[outcome.name] = outcome
                if outcome.state in (FAILED, SKIPPED):
                    progress.warn(f"the job {outcome.name} {_ended(outcome)}")
                counts = Counter(one.state for one in outcomes.values())
                task.update(len(outcomes), note=", ".join(f"{n} {state}" for state, n in counts.items()))
    return [outcomes[job.name] for job in jobs]


def skipped(job: Job, ended: Mapping[str, Outcome], waits: set[str]) -> Outcome | None:
    """Return the outcome of a job that cannot run because one that it waits for was not done."""
    missing = sorted(name for name in waits if ended[name].state != DONE)
    return Outcome(job.name, SKIPPED, f"it needs {', '.join(missing)}") if missing else None


def share_of_cores(workers: int) -> int:
    """Return the cores of each of so many jobs at the same time."""
    return max(1, (os.cpu_count() or 1) // workers)


def with_cores(jobs: Sequence[Job], cores: int) -> list[Job]:
    """Give jobs that ask for no number of cores this one."""
    return [job if job.cpus else replace(job, cpus=cores) for job in jobs]


def _ended(outcome: Outcome) -> str:
    return f"{'failed' if outcome.state == FAILED else 'was skipped'}: {outcome.message}"
