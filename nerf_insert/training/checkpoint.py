"""What a crash must not lose: a module, its optimizer and the step, saved every few seconds of a run."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nerf_insert.errors import InputError
from nerf_insert.io.files import read_tensors, write_tensors
from nerf_insert.training.optimizer import Optimizer

EVERY = 15.0  # seconds


class Checkpoint:
    """One file that holds the last saved state of a run."""

    def __init__(self, path: Path, module: nn.Module, same: Mapping[str, str]):
        """Prepare to save and load; nothing is read or written yet.

        Args:
            path: The file.
            module: Its state dict is saved, and restored in place.
            same: What identifies the run; a checkpoint of another run is not loaded.
        """
        self.path, self.module, self.same = path, module, dict(same)
        self._saved_at = time.monotonic()

    def load(self, optimizer: Optimizer) -> tuple[int, dict[str, Any]]:
        """Restore the saved state into the module and the optimizer.

        A file that is missing, damaged, of another run, or whose tensors do not fit this version's module
        counts as no checkpoint, and changes nothing.

        Returns:
            The step to resume at (0: from the start), and what else was saved.
        """
        if not self.path.exists():
            return 0, {}
        before = {name: tensor.clone() for name, tensor in self.module.state_dict().items()}
        try:
            tensors, metadata = read_tensors(self.path)
            notes = json.loads(metadata["notes"])
            if notes["same"] != self.same:
                return 0, {}
            step, extra = int(notes["step"]), dict(notes["extra"])
            moments = _moments(optimizer, tensors)
            prefix = "module."
            state = {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}
            self.module.load_state_dict(state)
        except (InputError, KeyError, ValueError, TypeError, RuntimeError):
            self.module.load_state_dict(before)
            return 0, {}
        with torch.no_grad():
            for target, saved in moments:
                target.copy_(saved)
        return step, extra

    def maybe_save(self, optimizer: Optimizer, step: int, extra: dict[str, Any] | None = None) -> None:
        """Save if the last time is `EVERY` seconds ago. Call this after every step."""
        if time.monotonic() - self._saved_at >= EVERY:
            self.save(optimizer, step, extra)

    def save(self, optimizer: Optimizer, step: int, extra: dict[str, Any] | None = None) -> None:
        """Write the state after `step` steps, and `extra`, which is plain JSON data.

        Raises:
            RunError: The file cannot be written.
        """
        tensors = {f"module.{name}": tensor for name, tensor in self.module.state_dict().items()}
        tensors = {k: t.to(torch.uint8) if t.dtype == torch.bool else t for k, t in tensors.items()}
        for index, moments in enumerate(optimizer.moments.values()):
            for name, tensor in moments._asdict().items():
                tensors[f"adam.{index}.{name}"] = tensor
        notes = {"same": self.same, "step": step, "extra": extra or {}}
        write_tensors(self.path, tensors, metadata={"notes": json.dumps(notes)})
        self._saved_at = time.monotonic()

    def remove(self) -> None:
        """Delete the file if there is one."""
        self.path.unlink(missing_ok=True)


def _moments(optimizer: Optimizer, tensors: Mapping[str, Tensor]) -> list[tuple[Tensor, Tensor]]:
    """Pair the optimizer's moments with the saved ones. Raises KeyError or ValueError if they do not fit."""
    pairs = []
    for index, moments in enumerate(optimizer.moments.values()):
        for name, target in moments._asdict().items():
            saved = tensors[f"adam.{index}.{name}"]
            if saved.shape != target.shape:
                raise ValueError(f"adam.{index}.{name} has shape {tuple(saved.shape)}")
            pairs.append((target, saved))
    return pairs
