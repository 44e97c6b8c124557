"""Say what NeRF-Insert computes with on this machine, and why: devices, kernels, versions, threads, caches,
and what to do about anything that is missing or broken. The kernels picked are tried, against a slow
computation of the same. The exit code is 1 if something does not work."""

from __future__ import annotations

import argparse
import os
import platform
import time
import warnings
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nerf_insert import __version__
from nerf_insert.cli.console import Console
from nerf_insert.cli.tables import table
from nerf_insert.errors import InputError, RunError

if TYPE_CHECKING:
    import torch

SUMMARY = "say what this machine computes with, and what is missing"
PACKAGES = ("torch", "numba", "triton", "tinycudann", "nerfstudio", "diffusers", "gradio")
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
    "cpu": "install numba again (`pip install --force-reinstall numba`); until then all is many times slower",
    "tcnn": "nothing needs to be done: `triton` does the same with nothing to compile",
    "triton": "install triton as PyTorch wants it (`pip install --upgrade torch triton`), or use a processor",
    "torch": "install torch again",
}
ERROR = 1e-3  # of what kernels compute for numbers of order one; half precision alone costs half of that


def arguments(parser: argparse.ArgumentParser) -> None:
    pass


def run(args: argparse.Namespace, console: Console) -> tuple[dict[str, Any], str]:
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
    found: dict[str, str | None] = {"nerf-insert": __version__, "python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = None
    return found


def chosen_device(problems: list[dict[str, str]]) -> str | None:
    from nerf_insert.runtime.devices import VARIABLE, device

    try:
        return str(device())
    except (InputError, RunError) as error:
        problems.append({"what": str(error), "do": f"unset {VARIABLE}, or give it a device that is there"})
        return None


def gpu() -> dict[str, Any]:
    """The GPUs that torch finds, or why it finds none."""
    import torch

    built = f"CUDA {torch.version.cuda}" if torch.version.cuda else None
    built = f"ROCm {torch.version.hip}" if torch.version.hip else built
    devices, why = [], ""
    for index in range(torch.cuda.device_count()):
        about = torch.cuda.get_device_properties(index)
        devices.append({"name": about.name, "memory_gb": round(about.total_memory / 1e9, 1)})
    if not devices and built is None:
        why = "this build of torch is for processors only"
    elif not devices:
        try:
            torch.cuda.init()
            why = "torch finds none"
        except (RuntimeError, AssertionError) as error:
            why = str(error).split("\n")[0]
    return {"torch_built_for": built or "processors", "found": devices, "why_none": why}


def kinds() -> list[str]:
    import torch

    return ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]


def backends(kind: str, problems: list[dict[str, str]]) -> dict[str, Any]:
    """Which backend serves a kind of device, why not the others, and whether what it computes is right."""
    from nerf_insert.kernels import active_backend
    from nerf_insert.kernels.dispatch import BACKENDS, VARIABLE, failure, forced_backend
    from nerf_insert.kernels.precision import precision

    forced = None
    try:
        forced = forced_backend()
        with warnings.catch_warnings():  # it is said below
            warnings.simplefilter("ignore")
            picked = active_backend(kind)
    except (InputError, RunError) as error:
        problems.append({"what": str(error), "do": f"unset {VARIABLE}, or give it the name of another"})
        return {"device": kind, "picked": None, "why": str(error), "others": {}}
    others = {}
    for name, backend in BACKENDS.items():
        cause = failure(name) if backend.serves(kind) else f"does not work on {kind}"
        if name != picked:
            others[name] = cause or ("was not asked for" if forced else "slower here")
        if cause and backend.serves(kind) and "not installed" not in cause:
            problems.append({"what": f"kernels {name}: {cause}", "do": ADVICE[name]})
    row: dict[str, Any] = {
        "device": kind,
        "picked": picked,
        "why": f"{VARIABLE} or use_backend asks for it" if forced else "the fastest that works here",
        "others": others,
        "precision": "single" if kind == "cpu" else precision(),
    }
    try:
        row |= trial(kind)
    except Exception as error:
        row["error"] = None
        problems.append({"what": f"kernels {picked}: {type(error).__name__}: {error}", "do": ADVICE[picked]})
    else:
        if row["error"] > ERROR:
            what = f"kernels {picked} compute wrong numbers (off by {row['error']:.1g})"
            problems.append(
                {"what": what, "do": "please report it; NERF_INSERT_KERNELS=torch works meanwhile"}
            )
    return row


def trial(kind: str) -> dict[str, float]:
    """Encode, through a network, composite, and back; the largest relative error, and seconds: of the first
    time, which compiles what is not kept, and of the second."""
    import torch

    from nerf_insert.kernels import use_backend

    seconds = []
    for _ in range(2):
        began = time.perf_counter()
        ours = _gradients(torch.device(kind), torch.float32)
        seconds.append(time.perf_counter() - began)
    with use_backend("torch"):
        exact = _gradients(torch.device("cpu"), torch.float64)
    error = max(float((a.cpu().double() - b).norm() / b.norm()) for a, b in zip(ours, exact, strict=True))
    return {"error": error, "first_seconds": seconds[0], "seconds": seconds[1]}


def _gradients(device: torch.device, dtype: torch.dtype) -> list[torch.Tensor]:
    import torch

    from nerf_insert.kernels import GridSpec, composite, hash_encode, mlp

    spec = GridSpec(n_levels=4, log2_hashmap_size=10, base_resolution=4, max_resolution=32)
    generator = torch.Generator().manual_seed(0)
    sizes = [(256, 3), (spec.n_entries, 2), (64, 8), (4, 64)]
    numbers = [torch.rand(size, generator=generator).to(device, dtype).requires_grad_() for size in sizes]
    points, entries, *weights = numbers
    shown = mlp(hash_encode(points, entries, spec), weights) / 100
    offsets = torch.arange(0, 257, 16, device=device)
    out = composite(shown[:, 0], shown[:, 1:], points[:, 0].detach(), offsets)
    (out.rgb.sum() + out.depth.sum()).backward()
    return [out.rgb.detach(), *(n.grad for n in (entries, *weights))]


def threads() -> dict[str, Any]:
    import torch

    return {
        "cores": os.cpu_count(),
        "usable": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "torch": torch.get_num_threads(),
    }


def cache(problems: list[dict[str, str]]) -> dict[str, Any]:
    """Where compiled kernels are kept."""
    try:
        from nerf_insert.kernels.cpu import hashgrid
    except Exception:
        return {"folder": None}  # said with the kernels
    folder = Path(hashgrid.forward._cache.cache_path)
    files = list(folder.glob("*.nb[ic]")) if folder.is_dir() else []
    writable = os.access(folder if folder.is_dir() else folder.parent, os.W_OK)
    if not writable and not files:
        problems.append(
            {
                "what": f"compiled kernels cannot be kept in {folder}: every start takes much longer",
                "do": "set NUMBA_CACHE_DIR to a folder that you can write to",
            }
        )
    size = sum(file.stat().st_size for file in files)
    return {"folder": str(folder), "files": len(files), "mb": round(size / 1e6, 1), "writable": writable}


def report(data: dict[str, Any]) -> str:
    lines = [", ".join(f"{name} {number}" for name, number in data["versions"].items() if number)]
    missing = [name for name, number in data["versions"].items() if number is None]
    if missing:
        lines.append("not installed: " + ", ".join(missing))
    lines.append(f"\nFields are computed on: {data['device'] or 'nothing that works, see below'}")
    found = data["gpu"]["found"]
    for one in found:
        lines.append(f"GPU: {one['name']}, {one['memory_gb']} GB")
    if not found:
        lines.append(
            f"GPU: none ({data['gpu']['why_none']}; torch built for {data['gpu']['torch_built_for']})"
        )
    for row in data["kernels"]:
        lines.append(f"\nKernels on {row['device']}: {row['picked'] or 'none'} ({row['why']})")
        if row.get("error") is not None:
            lines.append(
                f"tried: right to {row['error']:.0e} in {row['precision']} precision; first use "
                f"{row['first_seconds']:.1f} s, then {1e3 * row['seconds']:.0f} ms"
            )
        if row["others"]:
            lines.append(table(("  not", "why"), [(f"  {n}", why) for n, why in row["others"].items()]))
    told = data["threads"]
    lines.append(f"\nThreads: {told['torch']} on {told['usable']} of {told['cores']} cores")
    kept = data["cache"]
    if kept["folder"]:
        state = "" if kept["writable"] else ", not writable"
        lines.append(f"Compiled kernels: {kept['files']} files, {kept['mb']} MB in {kept['folder']}{state}")
    lines += [f"{name}={value}" for name, value in data["environment"].items()]
    if not data["problems"]:
        lines.append("\nNothing is wrong.")
    for problem in data["problems"]:
        lines.append(f"\nPROBLEM: {problem['what']}\n     DO: {problem['do']}")
    return "\n".join(lines)
