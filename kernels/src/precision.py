"""The precision in which GPUs read tables and weights: half (the default) or single.

Parameters are kept, and sums made, in float32 in either case. On a CPU everything is float32.
"""

from __future__ import annotations

import os

import torch
from torch import Tensor

from nerf_insert.errors import InputError

VARIABLE = "NERF_INSERT_PRECISION"
TYPES = {"half": torch.float16, "single": torch.float32}

_forced: str | None = None


class use_precision:
    """Force a precision, for good or inside a `with`.

    It holds for the whole process and takes precedence over the environment variable NERF_INSERT_PRECISION.

    Args:
        name: "half" or "single"; None forces neither.

    Raises:
        InputError: Another name.
    """

    def __init__(self, name: str | None) -> None:
        global _forced
        self._before, _forced = _forced, None if name is None else _known(name, "use_precision")

    def __enter__(self) -> use_precision:
        return self

    def __exit__(self, *exc: object) -> None:
        global _forced
        _forced = self._before


def precision() -> str:
    """Return the precision in force, "half" or "single".

    Raises:
        InputError: The environment variable names another.
    """
    return _forced or _known(os.environ.get(VARIABLE) or "half", f"the environment variable {VARIABLE}")


def number_type(like: Tensor) -> torch.dtype:
    """Return the dtype in which kernels on a GPU read parameters like these."""
    return TYPES[precision()] if like.dtype == torch.float32 else like.dtype


def _known(name: str, where: str) -> str:
    if name not in TYPES:
        raise InputError(f"{where} names the precision {name!r}; there are {', '.join(TYPES)}")
    return name
