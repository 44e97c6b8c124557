"""Jobs on a Ray cluster, or in a Ray of this machine's own.

Every job is a Ray task that takes the tasks that it waits for as arguments, with its cores and graphics
cards as Ray resources: what runs where and when is Ray's decision. All machines need this package, and the
folders of the list under the same paths, on shared storage.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from nerf_insert.batch.execute import FAILED, Outcome, run_job
from nerf_insert.batch.jobs import Job
from nerf_insert.batch.run import Places, share_of_cores, skipped, with_cores
from nerf_insert.errors import InputError, RunError
from nerf_insert.runtime.extras import require
from nerf_insert.runtime.progress import Progress

POLL = 0.5  # seconds between looks at whether the work is to end
WORKER_RETRIES = 10  # times that a job is started again after its worker or its machine died
STARTS = 2  # attempts to start a Ray of this machine's own
STOP_SECONDS = 60.0  # that running commands have to end in
SHARED = ".shared"  # a file that shows a worker that it sees the folder of the list


class RayBackend:
    """Runs jobs as Ray tasks.

    Args:
        address: A cluster's address, "auto" for the one that this machine belongs to, None: a Ray of this
            machine's own, which ends with the list.
        workers: Without an address, jobs at a time; it also is the number of shares of this machine's cores.
    """

    def __init__(self, address: str | None = None, workers: int = 1) -> None:
        require("ray", "ray")
        self.address, self.workers = address, workers

    def run(
        self, jobs: Sequence[Job], waits: Mapping[str, set[str]], places: Places, progress: Progress
    ) -> Iterator[Outcome]:
        """See `Backend`."""
        import ray

        cores = share_of_cores(self.workers)
        options: dict[str, Any] = {"log_to_driver": False, "logging_level": "error"}
        if self.address is None:
            options |= {"address": "local", "num_cpus": cores * self.workers, "include_dashboard": False}
        else:
            options["address"] = self.address
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent anywhere
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        _start(options, self.address)
        try:
            yield from _run(with_cores(jobs, cores), waits, places, progress)
        finally:
            ray.shutdown()


def _start(options: dict[str, Any], address: str | None) -> None:
    """Start Ray or connect to a cluster.

    Raises:
        InputError: It cannot be reached or started.
    """
    import ray

    for attempt in range(STARTS):
        try:
            ray.init(**options)
            return
        except Exception as cause:  # a bare Exception where a busy machine took too long to start it
            ray.shutdown()
            if address is not None or attempt == STARTS - 1:
                place = (
                    f"the Ray cluster at {address} cannot be reached" if address else "Ray cannot be started"
                )
                raise InputError(f"{place}: {str(cause).strip().splitlines()[0]}") from None


def _run(
    jobs: Sequence[Job], waits: Mapping[str, set[str]], places: Places, progress: Progress
) -> Iterator[Outcome]:
    import ray

    token = secrets.token_hex(8)
    (places.out / SHARED).write_text(token)
    _check_resources(jobs)
    task: Any = ray.remote(_task)
    refs: dict[str, Any] = {}
    for job in jobs:
        refs[job.name] = task.options(
            name=job.name, num_cpus=job.cpus, num_gpus=job.gpus, max_retries=WORKER_RETRIES
        ).remote(
            job, places, token, sorted(waits[job.name]), *(refs[name] for name in sorted(waits[job.name]))
        )
    names = {ref: name for name, ref in refs.items()}
    left = list(names)
    try:
        while left:
            done, left = ray.wait(left, num_returns=1, timeout=POLL)
            for ref in done:
                yield _outcome(ref, names[ref])
            progress.check()
    except BaseException:
        for ref in left:
            ray.cancel(ref)
        if left:
            ray.wait(left, num_returns=len(left), timeout=STOP_SECONDS)
        raise
    finally:
        (places.out / SHARED).unlink(missing_ok=True)


def _check_resources(jobs: Sequence[Job]) -> None:
    """Check that no job asks for more than any machine of the cluster has: Ray would let it wait forever."""
    import ray

    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    for job in jobs:
        if not any(n.get("CPU", 0) >= job.cpus and n.get("GPU", 0) >= job.gpus for n in nodes):
            most = max((int(n.get("CPU", 0)), int(n.get("GPU", 0))) for n in nodes)
            raise InputError(
                f"the job {job.name} asks for {job.cpus} cores and {job.gpus} GPUs, and no machine of the "
                f"cluster has that (the largest: {most[0]} cores, {most[1]} GPUs)"
            )


def _outcome(ref: Any, name: str) -> Outcome:
    import ray
    from ray.exceptions import RayError

    try:
        return ray.get(ref)
    except RayError as cause:
        return Outcome(name, FAILED, str(cause).strip().splitlines()[-1])


def _task(job: Job, places: Places, token: str, names: list[str], *outcomes: Outcome) -> Outcome:
    """Run one job where Ray has placed it."""
    import ray

    if outcome := skipped(job, dict(zip(names, outcomes, strict=True)), set(names)):
        return outcome
    if not _sees(places.out, token):
        where = ray.util.get_node_ip_address()
        raise RunError(
            f"the machine {where} does not see {places.out}: put the list and its scenes on storage that all "
            "machines share"
        )
    cards = tuple(str(card) for card in ray.get_gpu_ids())
    return run_job(job, places.out / job.name, places.cwd, job.cpus, cards)


def _sees(folder: Path, token: str) -> bool:
    try:
        return (folder / SHARED).read_text() == token
    except OSError:
        return False
