"""Run a list of jobs: trainings, edits, renders and other commands, on this machine or on a Ray cluster.

Jobs wait for those whose files they need. What is done is not done again, so the same command goes on after
a stop, a failure or a crash. Each job's command, log and result are in a folder of its own.
"""

from __future__ import annotations

import argparse
from collections import Counter
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nerf_insert.cli.argument_types import integer, nonempty, path
from nerf_insert.cli.console import Console, text_table
from nerf_insert.errors import InputError

if TYPE_CHECKING:
    from nerf_insert.batch.jobs import Job
    from nerf_insert.batch.order import Uses
    from nerf_insert.batch.run import Backend

SUMMARY = "run a list of jobs, here or on a Ray cluster"
# Options that name what a command makes or changes; what else it names it only reads.
WRITTEN = {"out", "save_recipe", "copy_to"}
CHANGES_SCENE = ("edit", "layers")
NOT_FOR_LISTS = ("app", "batch", "serve-inpainter")  # they run until somebody stops them, or run lists


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("jobs", type=path, metavar="JOBS.yaml", help="the list of jobs; see docs/batch.md")
    parser.add_argument(
        "--out",
        type=path,
        metavar="FOLDER",
        help="folder of the jobs' logs and results (default: JOBS-jobs beside the list)",
    )
    parser.add_argument(
        "--workers",
        type=integer(1, 1024),
        default=1,
        metavar="N",
        help="jobs at a time on this machine, which share its cores (default: %(default)s)",
    )
    parser.add_argument(
        "--ray", action="store_true", help="run the jobs with Ray, on this machine unless --address is given"
    )
    parser.add_argument(
        "--address",
        type=nonempty,
        metavar="ADDRESS",
        help="run the jobs on the Ray cluster at HOST:PORT; auto: the cluster that this machine belongs to",
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="check the list and show the order, without running anything"
    )


def run(args: argparse.Namespace, console: Console) -> tuple[dict[str, Any], str]:
    """Run the jobs; return how each ended."""
    from nerf_insert.batch.execute import DONE
    from nerf_insert.batch.jobs import read_jobs
    from nerf_insert.batch.order import order_jobs
    from nerf_insert.batch.run import Places, run_jobs

    file = args.jobs.absolute()
    jobs = read_jobs(file)
    waits = order_jobs(jobs, lambda job: uses_of(job, file.parent))
    if args.dry_run:
        return _plan(jobs, waits)
    places = Places((args.out or file.with_name(f"{file.stem}-jobs")).absolute(), file.parent)
    console.if_stopped = "run the same command again to go on"
    outcomes = run_jobs(jobs, waits, places, _backend(args, jobs), console.progress)
    counts = Counter(outcome.state for outcome in outcomes)
    data = {
        "ok": counts[DONE] == len(jobs),
        "out": str(places.out),
        "counts": dict(counts),
        "jobs": [
            {
                "name": outcome.name,
                "state": outcome.state,
                "message": outcome.message,
                "attempts": outcome.attempts,
                "seconds": outcome.seconds,
                "result": outcome.result,
            }
            for outcome in outcomes
        ],
    }
    rows = [[o.name, o.state, f"{o.seconds:.1f} s", o.message] for o in outcomes]
    return data, text_table(("job", "state", "time", ""), rows, right=(2,)) + f"\nLogs are in {places.out}"


def _backend(args: argparse.Namespace, jobs: list[Job]) -> Backend:
    """Return what runs the jobs.

    Raises:
        InputError: Ray is not installed.
    """
    if args.ray or args.address:
        from nerf_insert.batch.ray_cluster import RayBackend

        return RayBackend(args.address, args.workers)
    from nerf_insert.batch.local import LocalBackend

    return LocalBackend(args.workers, _graphics_cards() if any(job.gpus for job in jobs) else ())


def _graphics_cards() -> list[str]:
    """Return the graphics cards that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    import os

    import torch

    count = torch.cuda.device_count()
    named = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    return named[:count] or [str(number) for number in range(count)]


def _plan(jobs: list[Job], waits: dict[str, set[str]]) -> tuple[dict[str, Any], str]:
    """Describe the order of the jobs."""
    by_name = {job.name: job for job in jobs}
    rows = [[name, " ".join(by_name[name].words), ", ".join(sorted(after))] for name, after in waits.items()]
    data = [{"name": name, "command": by_name[name].words, "after": sorted(waits[name])} for name in waits]
    return {"plan": data}, text_table(("job", "command", "after"), rows)


def uses_of(job: Job, folder: Path) -> Uses:
    """Return the files of a job's command, which is parsed as it will be when it runs.

    Raises:
        InputError: The command is wrong, or is none for a list.
    """
    from nerf_insert.batch.order import Uses
    from nerf_insert.cli.argv import repeat_masks, replace_deprecated

    words, _ = replace_deprecated(job.words)
    try:
        args = _parser().parse_args(repeat_masks(words))
    except SystemExit:
        raise InputError(f"`{' '.join(job.words)}` does not run a command") from None
    if args.command in NOT_FOR_LISTS:
        raise InputError(f"`{args.command}` cannot be run in a list")
    if args.command == "layers" and args.action == "list":
        return Uses(frozenset({_absolute(args.scene, folder)}))
    reads, writes = set(), set()
    for name, value in vars(args).items():
        for file in value if isinstance(value, list) else [value]:
            if isinstance(file, Path):
                written = name in WRITTEN or (
                    name == "scene" and args.command in CHANGES_SCENE and not getattr(args, "copy_to", None)
                )
                (writes if written else reads).add(_absolute(file, folder))
    if getattr(args, "part", None):  # parts of one video do not disturb each other
        writes = {file / f"part-{args.part[0]}" for file in writes}
    return Uses(frozenset(reads), frozenset(writes))


@cache
def _parser() -> argparse.ArgumentParser:
    from nerf_insert.cli.main import build_parser

    return build_parser()


def _absolute(file: Path, folder: Path) -> Path:
    """Return a path without links or dots, so that two names of one file are the same."""
    return (folder / file).resolve()
