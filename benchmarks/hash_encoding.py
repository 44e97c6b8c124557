"""Hash encoding on a processor: nerf_insert's compiled kernel against nerfstudio's torch encoding.

    python benchmarks/hash_encoding.py [--json FILE] [--rounds N]

Both encode the same points, samples along rays in order; the two take turns, and the medians of the rounds
are compared. `1 thread` is one for each, `all` what the machine has.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time

import torch
from nerfstudio.field_components.encodings import HashEncoding

from nerf_insert.kernels import GridSpec, hash_encode, new_table, use_backend

GRIDS = {
    "16 levels, 2^19": GridSpec(16, 2, 19, 16, 2048),
    "8 levels, 2^15": GridSpec(8, 2, 15, 16, 512),
}
COUNTS = (1 << 16, 1 << 18)


def ray_points(count: int, per_ray: int = 64) -> torch.Tensor:
    """Samples in ray order, as a renderer asks for them."""
    generator = torch.Generator().manual_seed(0)
    ends = torch.rand(2, count // per_ray, 1, 3, generator=generator)
    along = torch.linspace(0, 1, per_ray)[:, None]
    return (ends[0] * (1 - along) + ends[1] * along).reshape(-1, 3)


def contestants(spec: GridSpec) -> dict:
    torch_encoding = HashEncoding(
        num_levels=spec.n_levels,
        min_res=spec.base_resolution,
        max_res=spec.max_resolution,
        log2_hashmap_size=spec.log2_hashmap_size,
        features_per_level=spec.n_features,
        implementation="torch",
    )
    table = new_table(spec).requires_grad_()
    return {
        "ours": (lambda points: hash_encode(points, table, spec), table),
        "nerfstudio": (torch_encoding, torch_encoding.hash_table),
    }


def seconds(encode, parameter: torch.Tensor, points: torch.Tensor, backward: bool) -> float:
    parameter.grad = None
    begin = time.perf_counter()
    if backward:
        result = encode(points)
        result.backward(torch.ones_like(result))
    else:
        with torch.no_grad():
            encode(points)
    return time.perf_counter() - begin


def measure(rounds: int) -> list[dict]:
    rows = []
    everything = os.cpu_count() or 1
    for threads in sorted({1, everything}):
        torch.set_num_threads(threads)
        for name, spec in GRIDS.items():
            sides = contestants(spec)
            for count in COUNTS:
                points = ray_points(count)
                for backward in (False, True):
                    times: dict[str, list[float]] = {side: [] for side in sides}
                    for _ in range(rounds + 1):
                        for side, (encode, parameter) in sides.items():
                            times[side].append(seconds(encode, parameter, points, backward))
                    ours, theirs = (statistics.median(t[1:]) for t in times.values())  # the first warms up
                    rows.append(
                        {
                            "threads": threads,
                            "grid": name,
                            "points": count,
                            "pass": "forward and backward" if backward else "forward",
                            "ours_ms": ours * 1e3,
                            "nerfstudio_ms": theirs * 1e3,
                            "ratio": theirs / ours,
                        }
                    )
                    print(
                        "{threads:>7} {grid:<16} {points:>7} {pass:<21} {ours_ms:>9.1f} "
                        "{nerfstudio_ms:>12.1f} {ratio:>6.1f}x".format(**rows[-1]),
                        flush=True,
                    )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", metavar="FILE", help="write the rows there, too")
    options = parser.parse_args()
    titles = ("threads", "grid", "points", "pass", "ours, ms", "nerfstudio", "ratio")
    print("{:>7} {:<16} {:>7} {:<21} {:>9} {:>12} {:>7}".format(*titles))
    with use_backend("cpu"):
        rows = measure(options.rounds)
    if options.json:
        with open(options.json, "w") as file:
            json.dump(rows, file, indent=1)


if __name__ == "__main__":
    main()
