"""Which backend computes: the registry, and how to force one.

A backend is a module with functions of the names and signatures of `torch_backend`; what it lacks,
or cannot do in a tensor's dtype, comes from there. A new backend is one module and one line here.
"""

from __future__ import annotations

import importlib
import os
import warnings
from collections.abc import Callable
from functools import cache
from types import ModuleType
from typing import NamedTuple

import torch
from torch import Tensor

from nerf_insert.errors import InputError, RunError

VARIABLE = "NERF_INSERT_KERNELS"


class Backend(NamedTuple):
    module: str
    devices: tuple[str, ...]  # device types it serves; empty: all
    dtypes: tuple[torch.dtype, ...]  # floating dtypes it serves; empty: all


BACKENDS = {  # in order of preference
    "cpu": Backend("nerf_insert.kernels.cpu_backend", ("cpu",), (torch.float32,)),
    "torch": Backend("nerf_insert.kernels.torch_backend", (), ()),
}

_forced: str | None = None


class use_backend:
    """Force the backend `name` ("torch", "cpu"), or none with None: for good, or inside a `with`.

    It holds for the whole process and takes precedence over the environment variable
    NERF_INSERT_KERNELS. Raises InputError for an unknown name.
    """

    def __init__(self, name: str | None) -> None:
        global _forced
        self._before, _forced = _forced, None if name is None else _known(name, "use_backend")

    def __enter__(self) -> use_backend:
        return self

    def __exit__(self, *exc: object) -> None:
        global _forced
        _forced = self._before


def active_backend(device: torch.device | str) -> str:
    """The name of the backend for float32 tensors on `device`.

    Raises InputError if a backend is forced that does not serve the device, RunError if it is forced
    and cannot be loaded; one that cannot be loaded and was not asked for is passed over with a warning.
    """
    kind = torch.device(device).type
    forced = _forced or _from_environment()
    if forced:
        if BACKENDS[forced].devices and kind not in BACKENDS[forced].devices:
            raise InputError(
                f"the kernel backend {forced!r} was asked for but does not work on {kind} tensors"
            )
        if cause := _failure(forced):
            raise RunError(f"the kernel backend {forced!r} was asked for but cannot be loaded: {cause}")
        return forced
    return next(n for n, b in BACKENDS.items() if (not b.devices or kind in b.devices) and not _failure(n))


def implementation(name: str, like: Tensor) -> Callable:
    """The function `name` of the backend for tensors of the device and dtype of `like`."""
    backend = active_backend(like.device)
    dtypes = BACKENDS[backend].dtypes
    if dtypes and like.dtype not in dtypes:
        backend = "torch"
    function = getattr(_module(backend), name, None)
    return function or getattr(_module("torch"), name)


def _from_environment() -> str | None:
    name = os.environ.get(VARIABLE, "")
    return _known(name, f"the environment variable {VARIABLE}") if name else None


def _known(name: str, where: str) -> str:
    if name not in BACKENDS:
        raise InputError(f"{where} names the kernel backend {name!r}; there are {', '.join(BACKENDS)}")
    return name


@cache
def _module(name: str) -> ModuleType:
    return importlib.import_module(BACKENDS[name].module)


@cache
def _failure(name: str) -> str:
    """Why the backend cannot be loaded; empty if it can."""
    try:
        _module(name)
    except Exception as error:
        cause = f"{type(error).__name__}: {error}"
        warnings.warn(f"the kernel backend {name!r} cannot be loaded ({cause})", stacklevel=3)
        return cause
    return ""
