"""Benchmark the kernels on a CPU and print one table.

    python -m benchmarks.kernels [--part encoding|compiled|step|operations|all] [--threads 1|all] [--busy]
                                 [--rounds N] [--json FILE]

    encoding    hash encoding, forward and with backward, against nerfstudio's torch encoding
    compiled    the same, with torch.compile of nerfstudio's encoding beside it (needs a C++ compiler)
    step        one step of a layer's fit, against the `torch` backend, and where its time goes
    operations  MLP, compositing and marching against the `torch` backend

What is compared takes turns in one process; the medians of the rounds are compared. With one thread they are
CPU times of the process, which do not count other programs, otherwise wall times. --busy keeps one core
occupied by a separate process. `moved` is the memory that the encoding reads and writes at random, 8 bytes a
corner (twice in the backward: read and write); `share` is that rate as a fraction of the random-access
bandwidth that plain loops reach on the same tables in the same run.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np
import torch
from nerfstudio.field_components.encodings import HashEncoding
from numba import njit
from rich.console import Console
from rich.table import Table

from nerf_insert.fields.layer import Layer
from nerf_insert.geometry.cameras import Rays
from nerf_insert.kernels import (
    GridSpec,
    Samples,
    active_backend,
    composite,
    hash_encode,
    march,
    mlp,
    new_table,
    use_backend,
)
from nerf_insert.regions import BoxRegion
from nerf_insert.rendering.stack import LayerStack
from nerf_insert.training.layer_trainer import STAGES, FitConfig, fit_loss
from nerf_insert.training.optimizer import Optimizer, at_step
from nerf_insert.training.ray_cache import CachedRays, RayEntries, entries_along

GRIDS = {"16 levels, 2^19": GridSpec(16, 2, 19, 16, 2048), "8 levels, 2^15": GridSpec(8, 2, 15, 16, 512)}
COUNTS = (1 << 16, 1 << 18)
RAYS = 4096  # of a layer's step


def points_of(count: int, order: str, per_ray: int = 64) -> torch.Tensor:
    """Return points in ray order, as a renderer queries them, or at random."""
    generator = torch.Generator().manual_seed(0)
    if order == "random":
        return torch.rand(count, 3, generator=generator)
    ends = torch.rand(2, count // per_ray, 1, 3, generator=generator)
    along = torch.linspace(0, 1, per_ray)[:, None]
    return (ends[0] * (1 - along) + ends[1] * along).reshape(-1, 3)


class Clock:
    """Measures CPU time for one thread, wall time for several."""

    def __init__(self, threads: int, rounds: int) -> None:
        self.now = time.process_time if threads == 1 else time.perf_counter
        self.rounds = rounds

    def compare(self, works: dict[str, Callable[[], object]]) -> dict[str, list[float]]:
        """Time each in turns, in seconds; the first turn warms up and is not counted."""
        times: dict[str, list[float]] = {name: [] for name in works}
        for turn in range(self.rounds + 1):
            for name, work in works.items():
                began = self.now()
                work()
                if turn:
                    times[name].append(self.now() - began)
        return times


def encoders(spec: GridSpec, compiled: bool) -> dict[str, tuple[Callable, torch.Tensor]]:
    theirs = HashEncoding(
        num_levels=spec.n_levels,
        min_res=spec.base_resolution,
        max_res=spec.max_resolution,
        log2_hashmap_size=spec.log2_hashmap_size,
        features_per_level=spec.n_features,
        implementation="torch",
    )
    table = new_table(spec).requires_grad_()
    sides = {"ours": (lambda points: hash_encode(points, table, spec), table)}
    sides["nerfstudio"] = (theirs, theirs.hash_table)
    if compiled:
        sides["torch.compile"] = (torch.compile(theirs.pytorch_fwd), theirs.hash_table)
    return sides


def one_pass(
    encode: Callable, parameter: torch.Tensor, points: torch.Tensor, backward: bool
) -> Callable[[], object]:
    def forward() -> None:
        with torch.no_grad():
            encode(points)

    def both() -> None:
        parameter.grad = None
        result = encode(points)
        result.backward(torch.ones_like(result))

    return both if backward else forward


@njit(nogil=True)
def _gather(table, index):
    total = np.float64(0.0)
    for i in index:
        total += table[i]
    return total


@njit(nogil=True)
def _add(table, index):
    for i in index:
        table[i] += 1.0


def random_bandwidth(spec: GridSpec, clock: Clock) -> tuple[float, float]:
    """Measure bytes per second of reading, and of adding to, random pairs of a level's table."""
    table = np.zeros(int(spec.sizes[-1]), np.float64)  # eight bytes: a pair of float32
    index = np.random.default_rng(0).integers(0, len(table), 1 << 22)
    times = clock.compare({"read": lambda: _gather(table, index), "add": lambda: _add(table, index)})
    read, add = (statistics.median(t) for t in times.values())
    return 8 * len(index) / read, 16 * len(index) / add


def encoding(clock: Clock, threads: int, compiled: bool) -> list[dict]:
    rows = []
    for name, spec in GRIDS.items():
        bandwidth = random_bandwidth(spec, clock)
        for order in ("rays", "random"):
            for count in COUNTS:
                points = points_of(count, order)
                sides = encoders(spec, compiled)
                spent = {}
                for backward in (False, True):
                    works = {side: one_pass(*parts, points, backward) for side, parts in sides.items()}
                    spent[backward] = clock.compare(works)
                for backward in (False, True):
                    medians = {side: statistics.median(t) for side, t in spent[backward].items()}
                    corners = 8 * count * spec.n_levels
                    ours = medians["ours"]
                    floor = 8 * corners / bandwidth[0]
                    if backward:
                        floor += 16 * corners / bandwidth[1]
                    rows.append(
                        {
                            "what": f"encoding, {name}, {order}, 2^{count.bit_length() - 1}",
                            "pass": "forward, backward" if backward else "forward",
                            "threads": threads,
                            **{f"{side}_ms": 1e3 * seconds for side, seconds in medians.items()},
                            "ratio": medians["nerfstudio"] / ours,
                            "slowest_ms": 1e3 * max(spent[backward]["ours"]),
                            "moved_mb": corners * (24 if backward else 8) / 1e6,
                            "share": floor / ours / (threads if threads > 1 else 1),
                        }
                    )
    return rows


class Nothing:
    """An empty scene."""

    background = torch.zeros(3)

    def is_empty(self, points: torch.Tensor) -> torch.Tensor:
        return torch.ones(len(points), dtype=torch.bool)

    def query(self, points: torch.Tensor, directions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.zeros(len(points)), torch.zeros(len(points), 3)


class Step:
    """A step of `training.layer_trainer` in its first stage: all of a box is sampled."""

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(0)
        self.layer = Layer(BoxRegion([0.0] * 3, [1.0] * 3))
        origins = torch.nn.functional.normalize(torch.randn(4 * RAYS, 3, generator=generator), dim=-1) * 2
        towards = torch.rand(4 * RAYS, 3, generator=generator) * 0.8 - 0.4 - origins
        rays = Rays(origins, torch.nn.functional.normalize(towards, dim=-1))
        none = torch.zeros(0)
        nothing = Samples.packed(none, none, none.long(), rays.count)
        outside = RayEntries(nothing, none, none, torch.zeros(0, 3))
        self.cached = CachedRays(torch.arange(rays.count), rays, outside, torch.zeros(rays.count, 3))
        length = STAGES[0][1] * self.layer.region.step
        self.entries = entries_along(LayerStack(Nothing()), self.layer, self.cached, length)
        self.targets = torch.rand(rays.count, 3, generator=generator)
        self.config = FitConfig(rays=RAYS)
        self.optimizer = Optimizer(self.layer, self.config.lr, self.config.steps)
        self.samples = self.entries.samples.count // 4
        self.at = 0

    def __call__(self) -> None:
        generator = at_step(0, self.at)
        loss = fit_loss(self.layer, self.cached, self.entries, self.targets, self.config, generator)
        self.optimizer.step(loss, self.at)
        self.at += 1


def with_backend(name: str, work: Callable[[], object]) -> Callable[[], object]:
    def run() -> None:
        with use_backend(name):
            work()

    return run


def step(clock: Clock, threads: int) -> list[dict]:
    ours, theirs = Step(), Step()
    times = clock.compare({"ours": with_backend("cpu", ours), "torch": with_backend("torch", theirs)})
    return [against_torch(f"a layer's step, {RAYS} rays, {ours.samples} samples", threads, times)]


def against_torch(what: str, threads: int, times: dict[str, list[float]]) -> dict:
    ours, theirs = (statistics.median(times[side]) for side in ("ours", "torch"))
    return {
        "what": what,
        "pass": "forward, backward",
        "threads": threads,
        "ours_ms": 1e3 * ours,
        "torch_ms": 1e3 * theirs,
        "ratio": theirs / ours,
        "slowest_ms": 1e3 * max(times["ours"]),
    }


def operations(clock: Clock, threads: int) -> list[dict]:
    generator, count = torch.Generator().manual_seed(0), RAYS * 32
    x = torch.randn(count, 16, generator=generator)
    weights = [
        torch.randn(shape, generator=generator).mul_(0.2).requires_grad_() for shape in [(64, 16), (4, 64)]
    ]
    optical_depth = torch.rand(count, generator=generator).requires_grad_()
    rgb, distances = torch.rand(count, 3, generator=generator), torch.rand(count, generator=generator)
    offsets = torch.arange(0, count + 1, 32)
    origins = torch.randn(RAYS, 3, generator=generator) * 2
    directions = torch.nn.functional.normalize(
        0.3 * torch.randn(RAYS, 3, generator=generator) - origins, dim=-1
    )
    cells = torch.rand(64, 64, 64, generator=generator) < 0.1
    box = torch.tensor([[-1.0] * 3, [1.0] * 3])
    works = {
        f"network 16-64-4, {count}": lambda: mlp(x, weights).sum().backward(),
        f"compositing, {count}": lambda: (
            composite(optical_depth, rgb, distances, offsets).rgb.sum().backward()
        ),
        f"marching a box, {RAYS} rays": lambda: march(origins, directions, cells, bounds=box, step=0.01),
    }
    return [
        against_torch(
            name,
            threads,
            clock.compare({"ours": with_backend("cpu", work), "torch": with_backend("torch", work)}),
        )
        for name, work in works.items()
    ]


def profile(steps: int = 20) -> None:
    """Print where the time of a step goes."""
    work = Step()
    for _ in range(3):
        work()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as found:
        for _ in range(steps):
            work()
    print(found.key_averages().table(sort_by="self_cpu_time_total", row_limit=14, max_name_column_width=40))


def show(rows: list[dict]) -> None:
    table = Table(
        "what", "pass", "threads", "ours", "slowest", "nerfstudio", "compile", "torch", "ratio", "share"
    )
    number = lambda row, key, form: format(row[key], form) if key in row else ""  # noqa: E731
    for row in rows:
        columns = ("ours_ms", "slowest_ms", "nerfstudio_ms", "torch.compile_ms", "torch_ms")
        cells = [number(row, key, ".1f") for key in columns]
        ratio, share = number(row, "ratio", ".1f") + "x", number(row, "share", ".0%")
        table.add_row(row["what"], row["pass"], str(row["threads"]), *cells, ratio, share)
    Console(width=150).print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parts = ("encoding", "compiled", "step", "operations", "all")
    parser.add_argument("--part", choices=parts, default="all")
    parser.add_argument("--threads", default="1", help="1, or all (default: 1)")
    parser.add_argument("--busy", action="store_true", help="keep one core busy meanwhile")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--profile", action="store_true", help="a profile of the layer's step, too")
    parser.add_argument("--json", metavar="FILE", help="write the rows there, too")
    options = parser.parse_args()
    threads = 1 if options.threads == "1" else os.cpu_count() or 1
    torch.set_num_threads(threads)
    if active_backend("cpu") != "cpu":
        raise SystemExit("the compiled kernels do not work here: `nerf-insert doctor` says why")
    clock, rows = Clock(threads, options.rounds), []
    idler = subprocess.Popen([sys.executable, "-c", "while True: pass"]) if options.busy else None
    try:
        if options.part in ("encoding", "compiled", "all"):
            rows += encoding(clock, threads, options.part != "encoding")
        if options.part in ("step", "all"):
            rows += step(clock, threads)
        if options.part in ("operations", "all"):
            rows += operations(clock, threads)
        if options.profile:
            profile()
    finally:
        if idler:
            idler.kill()
    show(rows)
    if options.json:
        with open(options.json, "w") as file:
            json.dump(rows, file, indent=1)


if __name__ == "__main__":
    main()
