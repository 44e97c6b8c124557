"""Benchmark the rasterization of splats on a CPU and print one table.

    python -m benchmarks.splats [--counts 100000,500000,2000000] [--sizes 640x360,1280x720] [--rounds N]
                                [--file SPLATS] [--json FILE]

forward     project, colors, tiles and compositing of one image, without gradients
+ backward  the same with gradients to all numbers of the splats; project and colors are the twin's there
twin        the plain torch backend, which looks at every splat in every pixel: measured on a few pixels and
            multiplied
pairs       splats and tiles that they reach, a measure of the work
memory      the process' peak above what it held before, of the forward and of both

Times are CPU times of one thread, medians of the rounds. The splats are random ones on a wavy surface whose
size shrinks as their number grows, as in trained scenes, or those of a file.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from nerf_insert.kernels import ImagePlane, plan_raster, project, rasterize, spherical_harmonics, use_backend
from nerf_insert.runtime.peak_memory import peak_memory
from nerf_insert.splats.files import read_splats
from nerf_insert.splats.splats import Splats

TWIN_PIXELS = 64
DEGREE = 3


def wavy(count: int) -> Splats:
    """Flat splats on a wavy surface of 4 by 4 units, a few of which cover any place."""
    rng = torch.Generator().manual_seed(0)
    x, y = (torch.rand(2, count, generator=rng) * 4 - 2).unbind(0)
    z = 4 + 0.5 * torch.sin(3 * x) * torch.cos(2 * y) + 0.05 * torch.randn(count, generator=rng)
    size = 1.2 * 4 / math.sqrt(count)
    log_scales = math.log(size) + 0.5 * torch.randn(count, 3, generator=rng)
    log_scales[:, 2] -= 1.5
    quaternions = torch.cat([torch.ones(count, 1), 0.2 * torch.randn(count, 3, generator=rng)], 1)
    sh = torch.randn(count, (DEGREE + 1) ** 2, 3, generator=rng) * 0.2
    logits = torch.randn(count, generator=rng) * 2
    return Splats(torch.stack([x, y, z], 1), log_scales, quaternions, logits, sh)


def looking_at(splats: Splats, width: int, height: int) -> ImagePlane:
    """Return a camera that sees the middle nine tenths of the splats."""
    center = splats.means.median(0).values
    reach = float((splats.means - center).norm(dim=1).quantile(0.9))
    focal = 1.1 * width / 2
    at = center - torch.tensor([0.0, 0.0, 1.4 * reach]) * (focal / (width / 2))
    return ImagePlane(torch.eye(3), at, focal, focal, width / 2, height / 2, width, height)


def draw(splats: Splats, plane: ImagePlane, pixels: torch.Tensor) -> torch.Tensor:
    """Render pixels, all steps of it."""
    projected = project(splats.means, splats.scales, splats.quaternions, splats.opacities, plane)
    rgb = spherical_harmonics(splats.means - plane.center, splats.sh)
    return rasterize(projected, rgb, pixels, plan_raster(projected, plane.width, plane.height)).rgb


def seconds(work: Callable[[], Any], rounds: int) -> float:
    """Return the median CPU time of a piece of work."""
    times = []
    for _ in range(rounds):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return statistics.median(times)


def measure(count: int, width: int, height: int, rounds: int, file: Path | None) -> dict[str, float]:
    """Measure one row of the table in this process."""
    torch.set_num_threads(1)
    splats = wavy(count) if file is None else read_splats(file)[0]
    plane = looking_at(splats, width, height)
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    pixels = torch.stack([x, y], -1).reshape(-1, 2) + 0.5

    def both() -> None:
        leaves = Splats(*(tensor.clone().requires_grad_() for tensor in splats.tensors()))
        draw(leaves, plane, pixels).square().sum().backward()

    with use_backend("cpu"):
        small = wavy(1000)
        leaves = Splats(*(tensor.requires_grad_() for tensor in small.tensors()))
        draw(leaves, plane, pixels[:100]).sum().backward()  # compiles
        draw(wavy(1000), plane, pixels[:100])
        held = peak_memory()["ram"]
        forward = seconds(lambda: draw(splats, plane, pixels), rounds)
        forward_memory = peak_memory()["ram"] - held
        backward = seconds(both, rounds)
        memory = peak_memory()["ram"] - held
        projected = project(splats.means, splats.scales, splats.quaternions, splats.opacities, plane)
        pairs = len(plan_raster(projected, width, height).splats)
    few = pixels[torch.linspace(0, len(pixels) - 1, TWIN_PIXELS).long()]
    with use_backend("torch"):
        start = time.process_time()
        draw(splats, plane, few[:1])
        fixed = time.process_time() - start
        start = time.process_time()
        draw(splats, plane, few)
        twin = fixed + (time.process_time() - start - fixed) * len(pixels) / (TWIN_PIXELS - 1)
    return {
        **{"splats": splats.count, "width": width, "height": height, "pairs": pairs},
        **{"forward": forward, "backward": backward, "twin": twin},
        **{"forward_gb": forward_memory, "gb": memory},
    }


def main() -> None:
    """Measure each row in a process of its own, whose peak memory is that row's."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--counts", default="100000,500000,2000000")
    parser.add_argument("--sizes", default="640x360,1280x720")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--file", type=Path)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--row", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.row:
        count, size = args.row.split(",")
        width, height = map(int, size.split("x"))
        print(json.dumps(measure(int(count), width, height, args.rounds, args.file)))
        return
    table = Table("splats", "image", "pairs", "forward, s", "+ backward, s", "twin, s", "ratio", "memory, GB")
    rows = []
    for count in ["0"] if args.file else args.counts.split(","):
        for size in args.sizes.split(","):
            command = [sys.executable, "-m", "benchmarks.splats", "--row", f"{count},{size}"]
            command += ["--rounds", str(args.rounds), *(["--file", str(args.file)] if args.file else [])]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            row = json.loads(done.stdout.splitlines()[-1])
            rows.append(row)
            table.add_row(
                *(f"{row['splats']:,}", size, f"{row['pairs']:,}"),
                *(f"{row['forward']:.2f}", f"{row['backward']:.2f}", f"{row['twin']:,.0f}"),
                *(f"{row['twin'] / row['forward']:,.0f}x", f"{row['forward_gb']:.2f}, {row['gb']:.2f}"),
            )
    Console().print(table)
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
