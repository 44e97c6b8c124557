"""Read nerfstudio's checkpoints without executing code embedded in them."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nerf_insert.errors import InputError

# Types of learning rates and steps of optimizers, besides tensors and plain data.
NUMBERS = [np.dtype, *{type(np.dtype(kind)) for kind in ("f8", "f4", "i8", "i4", "b1")}]
CORE: Any = getattr(np, "_core", None) or np.core  # by version of numpy, whose types declare neither
SCALAR = CORE.multiarray.scalar
ALLOWED = [
    *NUMBERS,
    SCALAR,
    (SCALAR, "numpy.core.multiarray.scalar"),
    (SCALAR, "numpy._core.multiarray.scalar"),
]


@contextmanager
def numbers_allowed() -> Iterator[None]:
    """Let `torch.load(..., weights_only=True)` load numpy's numbers."""
    with torch.serialization.safe_globals(ALLOWED):
        yield


def read_state(path: Path, trust: bool = False) -> dict[str, Any]:
    """Load a whole checkpoint.

    Args:
        path: The file.
        trust: Load objects of any class, which can execute code.

    Raises:
        InputError: The file holds code, is damaged, or is no checkpoint.
    """
    try:
        with numbers_allowed():
            state = torch.load(path, map_location="cpu", weights_only=not trust)
    except FileNotFoundError:
        raise InputError(f"there is no checkpoint {path}") from None
    except pickle.UnpicklingError as error:
        if "Weights only load failed" not in str(error):
            raise InputError(f"the checkpoint {path} is damaged: {_first_line(error)}") from None
        raise InputError(
            f"the checkpoint {path} holds more than weights ({_culprit(str(error))}): it could execute "
            "code, so it is refused, and nothing was run. If you trust its author, --trust loads it"
        ) from None
    except Exception as error:
        raise InputError(f"the checkpoint {path} cannot be read: {_first_line(error)}") from None
    if not isinstance(state, dict) or not isinstance(state.get("pipeline"), dict):
        raise InputError(f"{path} is not a checkpoint of nerfstudio: it has no pipeline")
    return state


def read_weights(path: Path, trust: bool = False) -> dict[str, Tensor]:
    """Load the pipeline's tensors by name, without the prefixes of a training on several GPUs.

    Raises:
        InputError: As for `read_state`, or a value is no tensor or not finite.
    """
    found = read_state(path, trust)["pipeline"]
    weights = {str(name).removeprefix("module."): value for name, value in found.items()}
    for name, value in weights.items():
        if not isinstance(value, Tensor):
            raise InputError(f"{path} is not a checkpoint of nerfstudio: {name} is no tensor")
        if value.is_floating_point() and not bool(value.isfinite().all()):
            raise InputError(f"{path}: {name} holds values that are not finite: that training diverged")
    return {name.replace("_model.module.", "_model."): value for name, value in weights.items()}


def _culprit(message: str) -> str:
    import re

    found = re.search(r"(?:GLOBAL|global|Unsupported (?:global|class)|function)[: ]+([\w.]+)", message)
    return found[1] if found else "objects of other classes"


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
