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

KERNELS = ("compositing", "hashgrid", "marching", "mlp", "rendering", "samples")
SPLAT_KERNELS = ("splat_numbers", "splatting")  # only compiled ahead for those who have splats

_started: subprocess.Popen | None = None


def is_cached(splats: bool = False) -> bool:
    """Tell whether Numba's cache has every kernel, those of splats too if asked; they may be older."""
    folder = os.environ.get("NUMBA_CACHE_DIR")
    if not folder:
        package = find_spec("nerf_insert.kernels")  # loads nerf_insert alone
        if package is None or not package.submodule_search_locations:
            return False
        folder = Path(package.submodule_search_locations[0]) / "cpu" / "__pycache__"
    wanted = (*KERNELS, *(SPLAT_KERNELS if splats else ()))
    return all(any(Path(folder).rglob(f"{name}.*.nbi")) for name in wanted)


def start(splats: bool = False) -> subprocess.Popen | None:
    """Start to compile, unless the kernels are cached, or another backend was chosen.

    Args:
        splats: Also compile the kernels of splats, before the others.

    Returns:
        The process that compiles, or None.
    """
    global _started
    wanted = os.environ.get("NERF_INSERT_KERNELS", "") in ("", "cpu")
    if _started is None and wanted and (os.cpu_count() or 1) > 1 and not is_cached(splats):
        _started = subprocess.Popen(
            [sys.executable, "-m", "nerf_insert.runtime.kernel_warmup", *(["splats"] if splats else [])],
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
        field = kernels.FieldWeights(spec, table.detach(), [weight.detach() for weight in weights])
        cells, features = torch.ones(2, 2, 2, dtype=torch.bool), torch.zeros(2, 0)
        kernels.render_rays(torch.rand(2, 3), directions, features, field, cells, step=0.5, near=0.1, far=2.0)
        kernels.query_along(points.detach(), optical_depth, offsets, features[:1], field)


def compile_splats() -> None:
    """Call every kernel that a scene made of splats uses once."""
    import torch

    import nerf_insert.kernels as kernels

    plane = kernels.ImagePlane(torch.eye(3), torch.tensor([0.5, 0.5, -2.0]), 8.0, 8.0, 4.0, 4.0, 8, 8)
    means, quaternions, sh = torch.rand(9, 3), torch.rand(9, 4) + 0.1, torch.rand(9, 4, 3)
    scales, opacities, pixels = torch.full((9, 3), 0.2), torch.full((9,), 0.5), torch.rand(20, 2) * 8
    with kernels.use_backend("cpu"):
        projected = kernels.project(means, scales, quaternions, opacities, plane)
        plan = kernels.plan_raster(projected, 8, 8)
        rgb = kernels.spherical_harmonics(means - plane.center, sh)
        kernels.rasterize(projected, rgb, pixels, plan)
        kernels.splat_hits(projected, pixels, plan, torch.full((20,), 9.0))
        cells, whitening = kernels.splat_cells(means, scales), torch.eye(3).expand(9, 3, 3) / 0.2
        directions = torch.nn.functional.normalize(means + 0.1, dim=-1)
        kernels.splat_density(means, directions, means, whitening, opacities, sh, cells)


if __name__ == "__main__":
    if "splats" in sys.argv[1:]:
        compile_splats()
    compile_all()
