"""Check the installation: devices, kernel backends, versions, threads and caches.

The selected kernels are tested against a slow reference, which takes seconds, on first use half a minute.
Every problem is reported with what to do about it. The exit code is 1 if something does not work.
"""

from __future__ import annotations

import argparse
import os
import platform
import time
import warnings
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from nerf_insert import __version__
from nerf_insert.cli.console import Console, text_table
from nerf_insert.errors import InputError, RunError

if TYPE_CHECKING:
    import torch

SUMMARY = "check the installation: devices, kernel backends, versions, caches"
PACKAGES = ("torch", "numba", "triton", "tinycudann", "pycolmap", "nerfstudio", "diffusers", "gradio")
VARIABLES = (
    "NERF_INSERT_DEVICE",
    "NERF_INSERT_KERNELS",
    "NERF_INSERT_PRECISION",
    "OMP_NUM_THREADS",
    "OMP_WAIT_POLICY",
    "NUMBA_CACHE_DIR",
    "CUDA_VISIBLE_DEVICES",
)
ADVICE = {
    "cpu": "reinstall numba (`pip install --force-reinstall numba`); until then all is many times slower",
    "tcnn": "nothing: the backend triton does the same and needs no compiling",
    "triton": "install the triton that PyTorch needs (`pip install --upgrade torch triton`), or use the CPU",
    "torch": "reinstall torch",
}
MAX_ERROR = 1e-3  # relative, for numbers of order one; half precision alone costs half of that


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments: none."""


def run(args: argparse.Namespace, console: Console) -> tuple[dict[str, Any], str]:
    """Check everything; return the findings and the problems."""
    problems: list[dict[str, str]] = []
    data: dict[str, Any] = {
        "versions": versions(),
        "device": chosen_device(problems),
        "gpu": gpu(),
        "kernels": [backends(kind, problems) for kind in kinds()],
        "threads": threads(),
        "cache": cache(problems),
        "environment": {name: os.environ[name] for name in VARIABLES if name in os.environ},
        "problems": problems,
        "ok": not problems,
    }
    return data, report(data)


def versions() -> dict[str, str | None]:
    """Return the versions of the packages that matter, None for those that are not installed."""
    found: dict[str, str | None] = {"nerf-insert": __version__, "python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = None
    return found


def chosen_device(problems: list[dict[str, str]]) -> str | None:
    """Return the device for fields, None if the chosen one does not work."""
    from nerf_insert.runtime.devices import VARIABLE, device

    try:
        return str(device())
    except (InputError, RunError) as error:
        problems.append({"what": str(error), "do": f"unset {VARIABLE}, or name a device of this machine"})
        return None


def gpu() -> dict[str, Any]:
    """List the GPUs that torch finds, or say why it finds none."""
    import torch

    built = f"CUDA {torch.version.cuda}" if torch.version.cuda else None
    built = f"ROCm {torch.version.hip}" if torch.version.hip else built
    devices, why = [], ""
    for index in range(torch.cuda.device_count()):
        about = torch.cuda.get_device_properties(index)
        devices.append({"name": about.name, "memory_gb": round(about.total_memory / 1e9, 1)})
    if not devices and built is None:
        why = "this build of torch is for CPUs only"
    elif not devices:
        try:
            torch.cuda.init()
            why = "torch finds no GPU"
        except (RuntimeError, AssertionError) as error:
            why = str(error).split("\n")[0]
    return {"torch_built_for": built or "CPUs", "found": devices, "why_none": why}


def kinds() -> list[str]:
    """Return the kinds of devices of this machine."""
    import torch

    return ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]


def backends(kind: str, problems: list[dict[str, str]]) -> dict[str, Any]:
    """Find the kernel backend of a kind of device, why the others are not used, and test it."""
    from nerf_insert.kernels import active_backend
    from nerf_insert.kernels.dispatch import BACKENDS, VARIABLE, failure, forced_backend
    from nerf_insert.kernels.precision import precision

    forced = None
    try:
        forced = forced_backend()
        with warnings.catch_warnings():  # reported below
            warnings.simplefilter("ignore")
            picked = active_backend(kind)
    except (InputError, RunError) as error:
        problems.append({"what": str(error), "do": f"unset {VARIABLE}, or set it to another backend"})
        return {"device": kind, "picked": None, "why": str(error), "others": {}}
    others = {}
    for name, backend in BACKENDS.items():
        cause = failure(name) if backend.serves(kind) else f"does not work on {kind}"
        if name != picked:
            others[name] = cause or ("not requested" if forced else "slower here")
        if cause and backend.serves(kind) and "not installed" not in cause:
            problems.append({"what": f"kernels {name}: {cause}", "do": ADVICE[name]})
    row: dict[str, Any] = {
        "device": kind,
        "picked": picked,
        "why": f"requested by {VARIABLE} or use_backend" if forced else "the fastest that works here",
        "others": others,
        "precision": "single" if kind == "cpu" else precision(),
    }
    try:
        row |= test_kernels(kind)
    except Exception as error:
        row["error"] = None
        problems.append({"what": f"kernels {picked}: {type(error).__name__}: {error}", "do": ADVICE[picked]})
    else:
        if row["error"] > MAX_ERROR:
            what = f"kernels {picked} compute wrong numbers (relative error {row['error']:.1g})"
            problems.append({"what": what, "do": "please report it; use NERF_INSERT_KERNELS=torch meanwhile"})
    return row


def test_kernels(kind: str) -> dict[str, float]:
    """Run hash encoding, MLP and compositing, forward and backward, against the reference in float64.

    Returns:
        The largest relative error, and the seconds of the first run, which may compile, and of the second.
    """
    import torch

    from nerf_insert.kernels import use_backend

    seconds = []
    for _ in range(2):
        start = time.perf_counter()
        result = _gradients(torch.device(kind), torch.float32)
        seconds.append(time.perf_counter() - start)
    with use_backend("torch"):
        exact = _gradients(torch.device("cpu"), torch.float64)
    error = max(float((a.cpu().double() - b).norm() / b.norm()) for a, b in zip(result, exact, strict=True))
    return {"error": error, "first_seconds": seconds[0], "seconds": seconds[1]}


def _gradients(device: torch.device, dtype: torch.dtype) -> list[torch.Tensor]:
    """Composite a small random field with the active backend; return its colors and all gradients."""
    import torch

    from nerf_insert.kernels import GridSpec, composite, hash_encode, mlp

    spec = GridSpec(n_levels=4, log2_hashmap_size=10, base_resolution=4, max_resolution=32)
    generator = torch.Generator().manual_seed(0)
    sizes = [(256, 3), (spec.n_entries, 2), (64, 8), (4, 64)]
    inputs = [torch.rand(size, generator=generator).to(device, dtype).requires_grad_() for size in sizes]
    points, table, *weights = inputs
    outputs = mlp(hash_encode(points, table, spec), weights) / 100
    offsets = torch.arange(0, 257, 16, device=device)
    out = composite(outputs[:, 0], outputs[:, 1:], points[:, 0].detach(), offsets)
    (out.rgb.sum() + out.depth.sum()).backward()
    return [out.rgb.detach(), *(_gradient(leaf) for leaf in (table, *weights))]


def _gradient(leaf: torch.Tensor) -> torch.Tensor:
    assert leaf.grad is not None
    return leaf.grad


def threads() -> dict[str, Any]:
    """Count the CPU cores and torch's threads."""
    import torch

    return {
        "cores": os.cpu_count(),
        "usable": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "torch": torch.get_num_threads(),
    }


def cache(problems: list[dict[str, str]]) -> dict[str, Any]:
    """Describe the folder that compiled kernels are cached in."""
    try:
        from nerf_insert.kernels.cpu import hashgrid
    except Exception:
        return {"folder": None}  # reported with the kernels
    folder = Path(cast(Any, hashgrid.forward)._cache.cache_path)  # which Numba does not declare
    files = list(folder.glob("*.nb[ic]")) if folder.is_dir() else []
    writable = os.access(folder if folder.is_dir() else folder.parent, os.W_OK)
    if not writable and not files:
        problems.append(
            {
                "what": f"compiled kernels cannot be cached in {folder}: every start takes much longer",
                "do": "set NUMBA_CACHE_DIR to a writable folder",
            }
        )
    size = sum(file.stat().st_size for file in files)
    return {"folder": str(folder), "files": len(files), "mb": round(size / 1e6, 1), "writable": writable}


def report(data: dict[str, Any]) -> str:
    """Lay out the findings as text."""
    lines = [", ".join(f"{name} {number}" for name, number in data["versions"].items() if number)]
    missing = [name for name, number in data["versions"].items() if number is None]
    if missing:
        lines.append("not installed: " + ", ".join(missing))
    lines.append(f"\nDevice for fields: {data['device'] or 'none that works, see below'}")
    gpus = data["gpu"]["found"]
    lines += [f"GPU: {gpu['name']}, {gpu['memory_gb']} GB" for gpu in gpus]
    if not gpus:
        lines.append(
            f"GPU: none ({data['gpu']['why_none']}; torch built for {data['gpu']['torch_built_for']})"
        )
    for row in data["kernels"]:
        lines.append(f"\nKernels on {row['device']}: {row['picked'] or 'none'} ({row['why']})")
        if row.get("error") is not None:
            lines.append(
                f"tested: relative error {row['error']:.0e} in {row['precision']} precision; first run "
                f"{row['first_seconds']:.1f} s, then {1e3 * row['seconds']:.0f} ms"
            )
        if row["others"]:
            others = [(f"  {name}", why) for name, why in row["others"].items()]
            lines.append(text_table(("  not used", "because"), others))
    count = data["threads"]
    lines.append(f"\nThreads: {count['torch']} on {count['usable']} of {count['cores']} cores")
    folder = data["cache"]
    if folder["folder"]:
        state = "" if folder["writable"] else ", not writable"
        lines.append(
            f"Compiled kernels: {folder['files']} files, {folder['mb']} MB in {folder['folder']}{state}"
        )
    lines += [f"{name}={value}" for name, value in data["environment"].items()]
    if not data["problems"]:
        lines.append("\nNo problems found.")
    for problem in data["problems"]:
        lines.append(f"\nPROBLEM: {problem['what']}\n     DO: {problem['do']}")
    return "\n".join(lines)
