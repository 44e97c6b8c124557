"""The choice of a backend: the registry, and how to force one.

A backend is a module with functions of the names and signatures of `reference`. What it lacks, or cannot
do in a tensor's dtype, comes from the next one that can. A new backend is a module and a line in BACKENDS.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from types import ModuleType
from typing import Any, NamedTuple

import torch
from torch import Tensor

from nerf_insert.errors import InputError, RunError

VARIABLE = "NERF_INSERT_KERNELS"


class Backend(NamedTuple):
    """A backend's module, and what it can be used for."""

    module: str
    devices: tuple[str, ...]  # device types it serves; empty: all
    dtypes: tuple[torch.dtype, ...]  # floating dtypes it serves; empty: all
    package: str = ""  # an optional package that it needs

    def serves(self, kind: str, dtype: torch.dtype = torch.float32) -> bool:
        """Tell whether it computes on this type of device in this dtype."""
        return (not self.devices or kind in self.devices) and (not self.dtypes or dtype in self.dtypes)


INTERPRETED = os.environ.get("TRITON_INTERPRET", "").lower() in ("1", "true", "yes", "on")
GPU = "cuda"  # torch's name for NVIDIA's and AMD's alike
SINGLE = (torch.float32,)

BACKENDS = {  # in order of preference
    "cpu": Backend("nerf_insert.kernels.cpu.backend", ("cpu",), SINGLE),
    "tcnn": Backend("nerf_insert.kernels.tcnn", (GPU,), SINGLE, "tinycudann"),
    "triton": Backend("nerf_insert.kernels.gpu.backend", (GPU,), SINGLE, "triton"),
    "torch": Backend("nerf_insert.kernels.reference", (), ()),
}
if INTERPRETED:  # works anywhere then, but is far too slow to be picked unless asked for
    BACKENDS["triton"] = BACKENDS.pop("triton")._replace(devices=(GPU, "cpu"))

_forced: str | None = None


class use_backend:
    """Force a backend, for good or inside a `with`.

    It holds for the whole process and takes precedence over the environment variable NERF_INSERT_KERNELS.

    Args:
        name: "cpu", "tcnn", "triton" or "torch"; None forces none.

    Raises:
        InputError: An unknown name.
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
    """Return the name of the backend for float32 tensors on `device`.

    A backend that cannot be loaded and is not forced is skipped with a warning.

    Raises:
        InputError: The forced backend does not serve the device.
        RunError: The forced backend cannot be loaded.
    """
    kind = torch.device(device).type
    forced = forced_backend()
    if forced:
        if not BACKENDS[forced].serves(kind):
            raise InputError(
                f"the kernel backend {forced!r} was asked for but does not work on {kind} tensors"
            )
        if cause := failure(forced):
            raise RunError(f"the kernel backend {forced!r} was asked for but cannot be loaded: {cause}")
        return forced
    return next(_usable(kind, torch.float32, BACKENDS))


def implementation(name: str, like: Tensor) -> Callable[..., Any]:
    """Return the function `name` of the backend for tensors of the device and dtype of `like`."""
    return _function(name, like, dict.fromkeys([active_backend(like.device), *BACKENDS]))


def provides(name: str, like: Tensor) -> bool:
    """Tell whether the active backend has the operation `name` itself, for tensors like this one."""
    backend = active_backend(like.device)
    return BACKENDS[backend].serves(like.device.type, like.dtype) and hasattr(_module(backend), name)


def after(backend: str, name: str, like: Tensor) -> Callable[..., Any]:
    """Return the function `name` of the next backend, for what `backend` cannot do."""
    order = list(BACKENDS)
    return _function(name, like, [*order[order.index(backend) + 1 :], "torch"])


def _function(name: str, like: Tensor, order: Iterable[str]) -> Callable[..., Any]:
    modules = map(_module, _usable(like.device.type, like.dtype, order))
    return next(getattr(module, name) for module in modules if hasattr(module, name))


def _usable(kind: str, dtype: torch.dtype, order: Iterable[str]) -> Iterator[str]:
    return (name for name in order if BACKENDS[name].serves(kind, dtype) and not failure(name))


def forced_backend() -> str | None:
    """Return the backend that `use_backend` or else the environment forces, None if neither does.

    Raises:
        InputError: The environment names an unknown backend.
    """
    return _forced or _from_environment()


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
def failure(name: str) -> str:
    """Return why a backend cannot be loaded, "" if it can; warn if it is installed and does not work."""
    package = BACKENDS[name].package
    if package and package not in sys.modules and importlib.util.find_spec(package) is None:
        return f"the package {package} is not installed"
    try:
        _module(name)
    except Exception as error:
        cause = f"{type(error).__name__}: {error}"
        warnings.warn(f"the kernel backend {name!r} cannot be loaded ({cause})", stacklevel=3)
        return cause
    return ""
