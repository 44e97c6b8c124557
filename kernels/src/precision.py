"""In which precision GPUs read tables and weights: half (the default) or single.

Parameters are kept and summed in float32 all the same. On a CPU everything is float32.
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
    """Force "half" or "single", or neither with None: for good, or inside a `with`.

    It holds for the whole process and takes precedence over the environment variable
    NERF_INSERT_PRECISION. Raises InputError for another name.
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
    """ "half" or "single". Raises InputError if the environment variable names another."""
    return _forced or _known(os.environ.get(VARIABLE) or "half", f"the environment variable {VARIABLE}")


def number_type(like: Tensor) -> torch.dtype:
    """What kernels on a GPU read float32 parameters as."""
    return TYPES[precision()] if like.dtype == torch.float32 else like.dtype


def _known(name: str, where: str) -> str:
    if name not in TYPES:
        raise InputError(f"{where} names the precision {name!r}; there are {', '.join(TYPES)}")
    return name
