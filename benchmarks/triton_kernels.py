"""Compile the Triton kernels ahead of time, without a GPU: registers and spills of each.

    python benchmarks/triton_kernels.py [--arch 80,90,120] [--only NAME,...] [--json FILE]

Needs Triton. `nerf-insert` itself compiles them for its GPU when they are first used.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
from pathlib import Path

os.environ.pop("TRITON_INTERPRET", None)  # or there is nothing to compile

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from nerf_insert.kernels.gpu import compositing, hashgrid, marching, mlp
from nerf_insert.kernels.gpu.backend import EXACT, MLP, MLP_BACKWARD, POINTS, RAYS

F32, F16, F64, I64, I8, NUMBER, COUNT = "*fp32", "*fp16", "*fp64", "*i64", "*i8", "fp32", "i32"
LEVELS = [F32, I64, I8, I64]
TABLE = {"FEATURES": 2, "BLOCK": POINTS}
NETWORK = {"IN": 32, "WIDTH": 64, "OUT": 16}
RAY = {"BLOCK": RAYS}
WALK = [F32, F32, F32, I8, F64, I64, I64, F32, F32, COUNT, COUNT, COUNT, COUNT]


def network(hidden: int) -> dict[str, int]:
    return {**NETWORK, "N_HIDDEN": hidden}


def backward_network(hidden: int) -> tuple:
    types = [F32, F16, F32, F32, F32, *[COUNT] * 5]
    sizes = {**network(hidden), "INPUTS": True, "BLOCK": MLP_BACKWARD[0]}
    return mlp.backward, types, sizes, {"num_warps": MLP_BACKWARD[1], "num_stages": 1}


def forward_network(hidden: int) -> tuple:
    block, warps = MLP[F16_DTYPE]
    sizes = {**network(hidden), "BLOCK": block}
    return mlp.forward, [F32, F16, F32, COUNT, COUNT, COUNT], sizes, {"num_warps": warps}


F16_DTYPE = next(dtype for dtype in MLP if "16" in str(dtype))
KERNELS = {  # name: kernel, types of its arguments, its constants, how it is launched
    "encode": (hashgrid.forward, [F32, F16, F32, COUNT, NUMBER, *LEVELS], TABLE, {}),
    "encode, to table": (hashgrid.backward, [F32, F32, F32, COUNT, NUMBER, *LEVELS], TABLE, {}),
    "encode, to points": (
        hashgrid.backward_points,
        [F32, F16, F32, F32, COUNT, COUNT, NUMBER, *LEVELS],
        TABLE,
        {},
    ),
    "MLP 32-64-16": forward_network(1),
    "MLP 32-64-16, backward": backward_network(1),
    "MLP 32-64-64-16": forward_network(2),
    "MLP 32-64-64-16, backward": backward_network(2),
    "composite": (compositing.forward, [F32, F32, F32, I64, F32, F32, COUNT], RAY, {}),
    "composite, backward": (
        compositing.backward,
        [F32, F32, F32, I64, F32, F32, F32, F32, COUNT],
        RAY,
        {},
    ),
    "transmittance": (compositing.transmittance, [F32, I64, F32, COUNT], RAY, {}),
    "median depth": (compositing.median_depth, [F32, F32, I64, F32, COUNT], RAY, {}),
    "march, box": (marching.box, WALK, {"WRITE": True, **RAY}, EXACT),
    "march, contracted": (marching.contracted, WALK, {"WRITE": True, **RAY}, EXACT),
}


def compile_for(name: str, arch: int) -> dict:
    kernel, types, constants, options = KERNELS[name]
    free = [argument for argument in kernel.arg_names if argument not in constants]
    signature = dict.fromkeys(kernel.arg_names, "constexpr") | dict(zip(free, types, strict=True))
    options = {"num_warps": 4, "enable_fp_fusion": True, **options}
    made = triton.compile(
        ASTSource(kernel, signature, constants), target=GPUTarget("cuda", arch, 32), options=options
    )
    if not made.asm["cubin"]:
        raise RuntimeError(f"{name} for sm_{arch}: no machine code")
    told = assemble(made.asm["ptx"], arch)
    return {
        "kernel": name,
        "arch": arch,
        "registers": int(re.search(r"Used (\d+) registers", told)[1]),
        "spilled_bytes": int(re.search(r"(\d+) bytes spill stores", told)[1]),
        "shared_bytes": made.metadata.shared,
    }


def assemble(ptx: str, arch: int) -> str:
    """Return what ptxas reports on a kernel. The newest one that comes with Triton knows all its PTX."""
    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "ptxas"
    newest = tool.with_name("ptxas-blackwell")
    target = re.search(r"\.target (\w+)", ptx)[1]
    words = [newest if newest.exists() else tool, "-v", "--gpu-name", target, "/dev/stdin", "-o", os.devnull]
    done = subprocess.run(words, input=ptx, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"ptxas for sm_{arch}: {done.stderr}")
    return done.stderr


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--arch", default="80,90,120", help="compute capabilities (default: 80,90,120)")
    parser.add_argument("--only", help=f"some of: {'; '.join(KERNELS)} (with ; between them)")
    parser.add_argument("--json", metavar="FILE", help="write the rows there, too")
    options = parser.parse_args()
    rows = []
    print(f"{'kernel':<32}{'arch':>8}{'registers':>11}{'spilled, B':>12}{'shared, B':>11}")
    for name in options.only.split(";") if options.only else KERNELS:
        for arch in map(int, options.arch.split(",")):
            rows.append(compile_for(name, arch))
            print(
                "{kernel:<32}{arch:>8}{registers:>11}{spilled_bytes:>12}{shared_bytes:>11}".format(**rows[-1])
            )
    if options.json:
        Path(options.json).write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
