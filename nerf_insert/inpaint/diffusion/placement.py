"""How a model fits into this machine: which precision, all of it on the GPU or parts in turn, how many
pictures at once. What a model takes while it works is an estimate; should it turn out too low, fewer
pictures are painted at once (see painter.py)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from nerf_insert.errors import InputError

MOST = 8  # pictures at once
SPARE = 0.92  # share of the free memory that is counted on
SLICED = 0.5  # of the working memory is enough when attention and decoding go piece by piece
GIGABYTE = 1e9


@dataclass(frozen=True)
class Machine:
    device: str  # cuda, cuda:1, mps or cpu
    title: str
    gpu: float  # free bytes there; 0 without one
    ram: float  # free bytes

    @staticmethod
    def here(device: str | None = None) -> Machine:
        """Raises InputError if there is no such device."""
        import psutil
        import torch

        ram = float(psutil.virtual_memory().available)
        if device is None:
            device = "cuda" if torch.cuda.is_available() else "mps" if _mps() else "cpu"
        if device.startswith("cuda"):
            if not torch.cuda.is_available():
                raise InputError(f"there is no device {device}: torch sees no GPU here; use cpu")
            try:
                free, _ = torch.cuda.mem_get_info(device)
                return Machine(device, torch.cuda.get_device_name(device), float(free), ram)
            except (RuntimeError, AssertionError, ValueError):
                count = torch.cuda.device_count()
                raise InputError(f"there is no device {device}: torch sees {count} GPU here") from None
        if device == "mps" and _mps():
            return Machine(device, "the Apple GPU", ram, ram)
        if device != "cpu":
            raise InputError(f"there is no device {device}: use cpu, or cuda where torch sees a GPU")
        return Machine("cpu", "the CPU", 0.0, ram)


@dataclass(frozen=True)
class Plan:
    machine: Machine
    half: bool
    placement: str  # gpu, offload (parts in turn), sequential (layers in turn) or cpu
    sliced: bool
    batch: int
    why: str


def plan(
    parameters: Mapping[str, int],
    working: float,
    machine: Machine,
    *,
    precision: str = "auto",
    placement: str = "auto",
    batch: int | None = None,
) -> Plan:
    """`parameters`: numbers in each part of the model; `working`: bytes that one picture takes at half
    precision while it is painted. Raises InputError that says what is needed and what there is."""
    half = precision == "half" or (precision == "auto" and machine.device != "cpu")
    if machine.device == "cpu":
        return _on_cpu(parameters, working, machine, half, precision, batch)
    each = 2 if half else 4
    whole, largest = (each * f(parameters.values()) for f in (sum, max))
    work = working * each / 2
    free = machine.gpu * SPARE
    room = f"the {_gb(machine.gpu)} that are free on {machine.title}"
    shared = machine.device == "mps"
    ways = {
        "gpu": (whole + work, whole, "all of it fits into"),
        "offload": (largest + SLICED * work, largest, "its parts take turns in"),
        "sequential": (SLICED * work + GIGABYTE, GIGABYTE, "its layers take turns, slowly, in"),
    }
    for way, (needed, held, how) in ways.items():
        if placement not in ("auto", way) or (shared and way != "gpu"):
            continue
        if needed > free or (way != "gpu" and whole > machine.ram):
            continue
        sliced = held + work > free
        fitting = 1 if sliced else int((free - held) // work)
        why = f"{_gb(whole)} of weights, {how} {room}"
        return Plan(machine, half, way, sliced, batch or max(1, min(MOST, fitting)), why)
    need = ways[placement if placement in ways else "gpu"][0]
    also = f" and {_gb(whole)} of memory for parts that wait, of which {_gb(machine.ram)} are free"
    raise InputError(
        f"not enough memory: the model needs {_gb(need)} on the GPU"
        + (f", or {_gb(ways['offload'][0])} there{also}" if placement == "auto" and not shared else "")
        + f"; there are {room[4:]}: close other programs, paint at a lower --resolution, or choose a smaller "
        "model"
    )


def _on_cpu(
    parameters: Mapping[str, int],
    working: float,
    machine: Machine,
    half: bool,
    precision: str,
    batch: int | None,
) -> Plan:
    free = machine.ram * SPARE
    for narrow in (half, True) if precision == "auto" else (half,):
        each = 2 if narrow else 4
        needed = each * sum(parameters.values()) + working * each / 2
        if needed <= free:
            why = f"there is no GPU; {_gb(needed)} of the {_gb(machine.ram)} of free memory"
            return Plan(machine, narrow, "cpu", False, batch or 1, why)
    raise InputError(
        f"not enough memory: the model needs {_gb(needed)} and {_gb(machine.ram)} are free: close other "
        "programs, choose a smaller model, or use a machine with a GPU"
    )


def _gb(size: float) -> str:
    return f"{size / GIGABYTE:.1f} GB"


def _mps() -> bool:
    import torch

    return torch.backends.mps.is_available()
