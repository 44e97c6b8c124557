"""Compiles the CPU kernels before they are needed, in a process of its own.

Numba compiles them at their first use, in about twenty seconds, and caches the result beside their source (or
in NUMBA_CACHE_DIR). A command that will need them starts this first of all, so that they are compiled while
the command still loads its libraries and photographs. Imports only the standard library until it runs.
"""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

KERNELS = ("compositing", "hashgrid", "marching", "mlp", "samples")

_started: subprocess.Popen | None = None


def is_cached() -> bool:
    """Tell whether Numba's cache has every kernel; they may be of an older source."""
    folder = os.environ.get("NUMBA_CACHE_DIR")
    if not folder:
        package = find_spec("nerf_insert.kernels")  # loads nerf_insert alone
        if package is None or not package.submodule_search_locations:
            return False
        folder = Path(package.submodule_search_locations[0]) / "cpu" / "__pycache__"
    return all(any(Path(folder).rglob(f"{name}.*.nbi")) for name in KERNELS)


def start() -> subprocess.Popen | None:
    """Start to compile, unless the kernels are cached, or another backend was chosen.

    Returns:
        The process that compiles, or None.
    """
    global _started
    wanted = os.environ.get("NERF_INSERT_KERNELS", "") in ("", "cpu")
    if _started is None and wanted and (os.cpu_count() or 1) > 1 and not is_cached():
        _started = subprocess.Popen(
            [sys.executable, "-m", "nerf_insert.runtime.kernel_warmup"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
    return _started


def compile_all() -> None:
    """Call every kernel once with the types that the engine uses."""
    import torch

    import nerf_insert.kernels as kernels

    spec = kernels.GridSpec(n_levels=2, log2_hashmap_size=6, base_resolution=2, max_resolution=16)
    points, table = torch.rand(20, 3, requires_grad=True), torch.rand(spec.n_entries, 2, requires_grad=True)
    weights = [torch.rand(8, 4, requires_grad=True), torch.rand(4, 8, requires_grad=True)]
    offsets, directions = torch.tensor([0, 20]), torch.nn.functional.normalize(torch.rand(2, 3), dim=-1)
    with kernels.use_backend("cpu"):
        for contract in (True, False):
            samples = kernels.march(
                torch.rand(2, 3),
                directions,
                torch.ones(2, 2, 2, dtype=torch.bool),
                bounds=torch.tensor([[0.0] * 3, [1.0] * 3]),
                step=0.5,
                far=2.0,
                contract=contract,
            )
        kernels.merge(samples, samples)
        shown = kernels.mlp(kernels.hash_encode(points, table, spec), weights)
        out = kernels.composite(shown[:, 0].exp(), shown[:, 1:], points[:, 0], offsets)
        apart = kernels.distortion_loss(shown[:, 0].exp(), points[:, 0], offsets)
        (out.rgb.sum() + out.depth.sum() + apart.sum()).backward()
        optical_depth = shown[:, 0].detach().exp()
        kernels.transmittance(optical_depth, offsets)
        kernels.median_depth(optical_depth, optical_depth, offsets)


if __name__ == "__main__":
    compile_all()
