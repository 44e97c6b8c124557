"""Jobs on this machine, some at a time."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

from nerf_insert.batch.execute import Outcome, run_job
from nerf_insert.batch.jobs import Job
from nerf_insert.batch.run import Places, share_of_cores, skipped, with_cores
from nerf_insert.errors import InputError
from nerf_insert.runtime.progress import Progress

POLL = 0.5  # seconds between looks at whether the work is to end


class LocalBackend:
    """Runs up to `workers` jobs at a time, in the order of the list, on the graphics cards `gpus`."""

    def __init__(self, workers: int = 1, gpus: Sequence[str] = ()) -> None:
        self.workers, self.gpus = workers, list(gpus)

    def run(
        self, jobs: Sequence[Job], waits: Mapping[str, set[str]], places: Places, progress: Progress
    ) -> Iterator[Outcome]:
        """See `Backend`."""
        for job in jobs:
            if job.gpus > len(self.gpus):
                raise InputError(
                    f"the job {job.name} asks for {job.gpus} GPUs, and this machine has {len(self.gpus)}"
                )
        waiting = with_cores(jobs, share_of_cores(self.workers))
        ended: dict[str, Outcome] = {}
        running: dict[Future[Outcome], tuple[str, ...]] = {}
        free, stop = list(self.gpus), threading.Event()
        with ThreadPoolExecutor(self.workers, thread_name_prefix="job") as pool:
            try:
                while waiting or running:
                    for job in list(waiting):
                        if not waits[job.name] <= ended.keys():
                            continue
                        if outcome := skipped(job, ended, waits[job.name]):
                            waiting.remove(job)
                            ended[job.name] = outcome
                            yield outcome
                        elif len(running) < self.workers and job.gpus <= len(free):
                            waiting.remove(job)
                            cards, free = tuple(free[: job.gpus]), free[job.gpus :]
                            folder = places.out / job.name
                            running[
                                pool.submit(run_job, job, folder, places.cwd, job.cpus, cards, stop.is_set)
                            ] = cards
                    progress.check()
                    for future in wait(running, POLL, FIRST_COMPLETED).done:
                        free += running.pop(future)
                        outcome = future.result()
                        ended[outcome.name] = outcome
                        yield outcome
            finally:
                stop.set()
