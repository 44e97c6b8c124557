"""How a model fits into this machine: the precision, what to keep on the GPU, how many images at once.

The memory that a model needs while it works is an estimate. Where it is too low, the sampler reduces the
batch (see sampler.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from nerf_insert.errors import InputError

MAX_BATCH = 8  # images at once
USABLE = 0.92  # fraction of the free memory to count on
SLICED = 0.5  # fraction of the working memory that suffices with sliced attention and decoding
GIGABYTE = 1e9


@dataclass(frozen=True)
class ComputeDevice:
    """A device and the memory that is free.

    Attributes:
        name: cuda, cuda:1, mps or cpu.
        title: Its name in messages.
        gpu_free: Free bytes on the GPU; 0 without one.
        ram_free: Free bytes of main memory.
    """

    name: str
    title: str
    gpu_free: float
    ram_free: float

    @staticmethod
    def detect(name: str | None = None) -> ComputeDevice:
        """Look up a device, by default the GPU if there is one.

        Raises:
            InputError: There is no such device.
        """
        import psutil
        import torch

        ram = float(psutil.virtual_memory().available)
        if name is None:
            name = "cuda" if torch.cuda.is_available() else "mps" if _has_mps() else "cpu"
        if name.startswith("cuda"):
            if not torch.cuda.is_available():
                raise InputError(f"there is no device {name}: torch sees no GPU here; use cpu")
            try:
                free, _ = torch.cuda.mem_get_info(name)
                return ComputeDevice(name, torch.cuda.get_device_name(name), float(free), ram)
            except (RuntimeError, AssertionError, ValueError):
                count = torch.cuda.device_count()
                raise InputError(f"there is no device {name}: torch sees {count} GPU here") from None
        if name == "mps" and _has_mps():
            return ComputeDevice(name, "the Apple GPU", ram, ram)
        if name != "cpu":
            raise InputError(f"there is no device {name}: use cpu, or cuda where torch sees a GPU")
        return ComputeDevice("cpu", "the CPU", 0.0, ram)


@dataclass(frozen=True)
class DevicePlan:
    """How to run a model.

    Attributes:
        device: Where it runs.
        half: Whether in half precision.
        placement: gpu, offload (one component at a time on the GPU), sequential (one layer at a time) or cpu.
        sliced: Whether to slice attention and decoding.
        batch: Images at once.
        reason: Why, for the user.
    """

    device: ComputeDevice
    half: bool
    placement: str
    sliced: bool
    batch: int
    reason: str


def plan_placement(
    parameters: Mapping[str, int],
    working: float,
    device: ComputeDevice,
    *,
    precision: str = "auto",
    placement: str = "auto",
    batch: int | None = None,
) -> DevicePlan:
    """Decide how to run a model on a device.

    Args:
        parameters: The number of parameters of each component.
        working: Bytes that one image needs during inference, at half precision.
        device: Where to run.
        precision: auto, half or full.
        placement: auto, gpu, offload or sequential.
        batch: Images at once; None: as many as fit.

    Raises:
        InputError: It does not fit; the message says what is needed and what is free.
    """
    half = precision == "half" or (precision == "auto" and device.name != "cpu")
    if device.name == "cpu":
        return _plan_cpu(parameters, working, device, half, precision, batch)
    bytes_each = 2 if half else 4
    whole, largest = (bytes_each * f(parameters.values()) for f in (sum, max))
    work = working * bytes_each / 2
    free = device.gpu_free * USABLE
    room = f"the {_gb(device.gpu_free)} that are free on {device.title}"
    is_shared = device.name == "mps"
    ways = {  # placement -> (bytes needed, bytes of weights on the GPU, description)
        "gpu": (whole + work, whole, "all of it fits into"),
        "offload": (largest + SLICED * work, largest, "one component at a time in"),
        "sequential": (SLICED * work + GIGABYTE, GIGABYTE, "one layer at a time, slowly, in"),
    }
    for way, (needed, resident, description) in ways.items():
        if placement not in ("auto", way) or (is_shared and way != "gpu"):
            continue
        if needed > free or (way != "gpu" and whole > device.ram_free):
            continue
        sliced = resident + work > free
        fitting = 1 if sliced else int((free - resident) // work)
        reason = f"{_gb(whole)} of weights, {description} {room}"
        return DevicePlan(device, half, way, sliced, batch or max(1, min(MAX_BATCH, fitting)), reason)
    needed = ways[placement if placement in ways else "gpu"][0]
    with_offload = f" and {_gb(whole)} of main memory, of which {_gb(device.ram_free)} are free"
    raise InputError(
        f"not enough memory: the model needs {_gb(needed)} on the GPU"
        + (
            f", or {_gb(ways['offload'][0])} there{with_offload}"
            if placement == "auto" and not is_shared
            else ""
        )
        + f"; there are {room[4:]}: close other programs, paint at a lower --resolution, or choose a smaller "
        "model"
    )


def _plan_cpu(
    parameters: Mapping[str, int],
    working: float,
    device: ComputeDevice,
    half: bool,
    precision: str,
    batch: int | None,
) -> DevicePlan:
    """Decide how to run a model on the CPU: at full precision if that fits."""
    free, needed = device.ram_free * USABLE, 0.0
    for use_half in (half, True) if precision == "auto" else (half,):
        bytes_each = 2 if use_half else 4
        needed = bytes_each * sum(parameters.values()) + working * bytes_each / 2
        if needed <= free:
            reason = f"there is no GPU; {_gb(needed)} of the {_gb(device.ram_free)} of free memory"
            return DevicePlan(device, use_half, "cpu", False, batch or 1, reason)
    raise InputError(
        f"not enough memory: the model needs {_gb(needed)} and {_gb(device.ram_free)} are free: close other "
        "programs, choose a smaller model, or use a machine with a GPU"
    )


def _gb(size: float) -> str:
    return f"{size / GIGABYTE:.1f} GB"


def _has_mps() -> bool:
    import torch

    return torch.backends.mps.is_available()
