"""The list of jobs, JOBS.yaml, and the commands that it stands for.

    jobs:
      - run: train captures/kitchen --out scenes/kitchen
      - name: "{recipe}-{seed}"
        matrix: {recipe: [lamp, fern], seed: [0, 1]}
        run: edit scenes/kitchen --recipe {recipe}.yaml --seed {seed} --copy-to results/{recipe}-{seed}
        gpus: 1
      - run: render scenes/kitchen --orbit --out kitchen.mp4
        parts: 4

A job runs one `nerf-insert` command, with paths relative to the folder of JOBS.yaml. `matrix` makes a job of
every combination of its values; `parts` renders a video or images in so many jobs.
"""

from __future__ import annotations

import itertools
import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta

from nerf_insert.errors import InputError
from nerf_insert.io import schema
from nerf_insert.io.files import read_yaml

NAME = re.compile(r"[\w.+-]{1,100}")
PLACEHOLDER = re.compile(r"\{(\w+)\}")
MAX_JOBS = 100_000
Count = Annotated[int, Meta(ge=0, le=1024)]


@dataclass(frozen=True)
class Job(schema.Checked):
    """One command.

    Attributes:
        name: Names its folder; no two jobs have the same.
        words: The command's arguments, as after `nerf-insert`.
        needs: Names of jobs that have to be done before.
        cpus: Cores that it takes, and threads that it uses; 0: a share of the machine's.
        gpus: Graphics cards that it takes.
        retries: How often it is started again after it failed or was killed.
    """

    name: str
    words: list[str]
    needs: list[str] = field(default_factory=list)
    cpus: Count = 0
    gpus: Count = 0
    retries: Count = 2


@dataclass(frozen=True)
class _Entry(schema.Checked):
    """An entry of the list, as it is written."""

    run: str | list[str]
    name: str | None = None
    matrix: dict[str, list[Any]] = field(default_factory=dict)
    parts: Annotated[int, Meta(ge=1, le=10_000)] = 1
    needs: list[str] = field(default_factory=list)
    cpus: Count = 0
    gpus: Count = 0
    retries: Count = 2


def read_jobs(file: Path) -> list[Job]:
    """Read a list of jobs.

    Raises:
        InputError: The file cannot be read, or an entry is wrong; the message names it.
    """
    data = read_yaml(file)
    if not isinstance(data, dict) or not isinstance(data.get("jobs"), list) or not data["jobs"]:
        raise InputError(f'{file} is not a list of jobs: it needs "jobs:" and an entry for each')
    schema.check_keys(data, ["jobs"], str(file))
    made: dict[str, Job] = {}
    for number, item in enumerate(data["jobs"], 1):
        where = f"job {number} of {file}"
        try:
            entry = schema.parse_fields(item, _Entry, "")
            for job in _jobs_of(entry, number):
                if job.name in made:
                    raise InputError(f"its name {job.name} is that of an earlier job: give it another name")
                made[job.name] = job
                if len(made) > MAX_JOBS:
                    raise InputError(f"these are more than {MAX_JOBS:,} jobs")
        except InputError as cause:
            raise InputError(f"{where}: {cause}") from None
    for job in made.values():
        for name in job.needs:
            if name not in made:
                raise InputError(f"the job {job.name} of {file} needs {name}, which is not in the list")
    return list(made.values())


def _jobs_of(entry: _Entry, number: int) -> Iterator[Job]:
    """Make the jobs of an entry."""
    words = entry.run if isinstance(entry.run, list) else _split(entry.run)
    if words and words[0] == "nerf-insert":
        words = words[1:]
    if not words:
        raise InputError("run is empty: give a command, such as `train CAPTURE --out SCENE`")
    for values in _combinations(entry.matrix):
        filled = [_fill(word, values) for word in words]
        if entry.name:
            name = _fill(entry.name, values)
            if values and not PLACEHOLDER.search(entry.name):
                name = "-".join([name, *map(_as_text, values.values())])
        else:
            name = "-".join([f"{number:03d}", words[0], *map(_as_text, values.values())])
        if not NAME.fullmatch(name := re.sub(r"[\\/\s]+", "_", name)) or name.startswith("."):
            raise InputError(f"its name {name!r} cannot be used: letters, digits and . _ + - are allowed")
        needs = [_fill(need, values) for need in entry.needs]
        job = Job(name, filled, needs, entry.cpus, entry.gpus, entry.retries)
        yield from _parts_of(job, entry.parts)


def _parts_of(job: Job, parts: int) -> Iterator[Job]:
    """Split a render into parts, and join them if it makes a video."""
    if parts == 1:
        yield job
        return
    if job.words[0] != "render":
        raise InputError(f"parts is for `render`, not for `{job.words[0]}`")
    names = [f"{job.name}-part-{part}" for part in range(1, parts + 1)]
    for part, name in enumerate(names, 1):
        yield replace(job, name=name, words=[*job.words, "--part", f"{part}/{parts}"])
    if _value_of(job.words, "--out").lower().endswith(".mp4"):
        yield replace(job, words=[*job.words, "--join"], needs=[*job.needs, *names], gpus=0)


def _value_of(words: Sequence[str], flag: str) -> str:
    """Return the value of a flag, "" if it is not given."""
    for word, following in itertools.zip_longest(words, words[1:], fillvalue=""):
        if word == flag:
            return following
        if word.startswith(f"{flag}="):
            return word.partition("=")[2]
    return ""


def _combinations(matrix: dict[str, list[Any]]) -> Iterator[dict[str, Any]]:
    for key, values in matrix.items():
        if not values or not all(isinstance(value, str | int | float | bool) for value in values):
            raise InputError(f"matrix.{key} must be a list of texts or numbers, at least one")
    for chosen in itertools.product(*matrix.values()):
        yield dict(zip(matrix, chosen, strict=True))


def _fill(text: str, values: dict[str, Any]) -> str:
    """Replace {key} by its value."""

    def value(match: re.Match[str]) -> str:
        if match[1] not in values:
            known = ", ".join(values) or "it has none"
            raise InputError(f"{match[0]} is not a key of its matrix ({known})")
        return _as_text(values[match[1]])

    return PLACEHOLDER.sub(value, text)


def _as_text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _split(line: str) -> list[str]:
    try:
        return shlex.split(line)
    except ValueError as cause:
        raise InputError(f"run cannot be split into words ({cause}): check its quotes") from None
