"""Where fields are computed. Cameras, pictures, masks and regions stay on the processor."""

from __future__ import annotations

import os

import torch

from nerf_insert.errors import InputError, RunError

VARIABLE = "NERF_INSERT_DEVICE"


def device() -> torch.device:
    """A GPU if torch can use one, else the processor; or what the environment variable
    NERF_INSERT_DEVICE says ("cpu", "cuda", "cuda:1").

    Raises InputError where that is no device, RunError where torch cannot use it.
    """
    name = os.environ.get(VARIABLE) or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(name)
    except RuntimeError as cause:
        raise InputError(f"the environment variable {VARIABLE} names no device: {name!r}") from cause
    if chosen.type not in ("cpu", "cuda"):
        raise InputError(f"{VARIABLE}={name}: fields are computed on cpu or cuda")
    if chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count():
        raise RunError(
            f"{VARIABLE}={name}, but torch finds {torch.cuda.device_count() or 'no'} GPUs here: "
            "`nerf-insert doctor` says why"
        )
    if chosen.index is not None:
        torch.cuda.set_device(chosen)  # Triton and tiny-cuda-nn work on the current one
    return chosen
