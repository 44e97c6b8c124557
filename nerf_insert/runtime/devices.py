"""The device that fields are computed on. Cameras, images, masks and regions stay on the CPU."""

from __future__ import annotations

import os

import torch

from nerf_insert.errors import InputError, RunError

VARIABLE = "NERF_INSERT_DEVICE"


def device() -> torch.device:
    """Choose the device: a GPU if torch can use one, else the CPU.

    The environment variable NERF_INSERT_DEVICE ("cpu", "cuda", "cuda:1") overrides the choice.

    Raises:
        InputError: The variable names no device.
        RunError: torch cannot use that device.
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
