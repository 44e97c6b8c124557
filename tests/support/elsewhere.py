"""A second device to try device handling on, on a machine that has none.

Its tensors hold ordinary ones and say that they are on torch's "meta" device, which has no memory of its own.
Like those of a GPU they do not mix with the processor's, do not become NumPy arrays, and take no generator
that is not theirs; unlike the meta device's they have values.
"""

from __future__ import annotations

from contextlib import contextmanager

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map_only

DEVICE = torch.device("meta")


class Elsewhere(torch.Tensor):
    """A tensor on that device."""

    @staticmethod
    def __new__(cls, inner: torch.Tensor):
        return torch.Tensor._make_wrapper_subclass(
            cls,
            inner.shape,
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            device=DEVICE,
        )

    def __init__(self, inner: torch.Tensor):
        self.inner = inner

    def __repr__(self):
        return f"Elsewhere({self.inner!r})"

    @classmethod
    def __torch_dispatch__(cls, function, types, args=(), kwargs=None):
        return run(function, args, kwargs or {})


class _Mode(TorchDispatchMode):
    """Makes new tensors there when that is asked for."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        return run(function, args, kwargs or {})


def run(function, args, kwargs):
    flat, _ = tree_flatten((args, kwargs))
    there = [x for x in flat if isinstance(x, Elsewhere)]
    here = [x for x in flat if isinstance(x, torch.Tensor) and not isinstance(x, Elsewhere)]
    name = function.overloadpacket.__name__
    asked = kwargs.get("device")
    lands = bool(there) if asked is None else torch.device(asked).type == DEVICE.type
    moves = name in ("_to_copy", "copy_", "lift_fresh", "detach")
    if there and not moves:
        # A number in a tensor, and an index, may come from the processor, as with a GPU.
        foreign = [x for x in here if x.dim() > 0 and not name.startswith("index")]
        if foreign:
            raise RuntimeError(f"{function}: tensors on two devices, {[tuple(x.shape) for x in foreign]}")
    if lands and kwargs.get("generator") is not None:
        raise RuntimeError(f"{function}: the generator is the processor's")
    if lands and any(isinstance(x, torch.Generator) for x in flat):
        raise RuntimeError(f"{function}: the generator is the processor's")
    args, kwargs = tree_map_only(Elsewhere, lambda x: x.inner, (args, kwargs))
    if asked is not None:
        kwargs = {**kwargs, "device": torch.device("cpu")}
    result = function(*args, **kwargs)
    if name == "_to_copy" and asked is not None:
        result = result.clone() if any(result is x for x in flat) else result
    if name.endswith("_") and isinstance(result, torch.Tensor) and there:
        return there[0]  # in place
    return tree_map_only(torch.Tensor, Elsewhere, result) if lands else result


class _FromData(TorchFunctionMode):
    """torch.tensor does not ask a dispatch mode: it is told to make the tensor here, and that is moved."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if function in (torch.tensor, torch.as_tensor, torch.Tensor.new_tensor):
            device = kwargs.pop("device", None)
            if device is None and function is torch.Tensor.new_tensor:
                device = args[0].device
            if device is not None and torch.device(device).type == DEVICE.type:
                data = args[1:] if function is torch.Tensor.new_tensor else args
                if function is torch.Tensor.new_tensor:
                    kwargs.setdefault("dtype", args[0].dtype)
                return torch.tensor(*data, **kwargs).to(DEVICE)
            kwargs |= {} if device is None else {"device": device}
        return function(*args, **kwargs)


@contextmanager
def a_second_device():
    with _Mode(), _FromData():
        yield DEVICE
