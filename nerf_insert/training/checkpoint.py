"""What a crash must not lose: a module, its optimizer and the step, written now and then during a run."""

from __future__ import annotations

import json
import time
from pathlib import Path

import torch
from torch import nn

from nerf_insert.errors import InputError
from nerf_insert.io.files import read_tensors, write_tensors
from nerf_insert.training.optimizer import Optimizer

EVERY = 15.0  # seconds


class Checkpoint:
    """One file that holds a run's last saved state.

    `same` says what the run is; a checkpoint of a run with another `same` is not used.
    """

    def __init__(self, path: Path, module: nn.Module, same: dict[str, str]):
        self.path, self.module, self.same = path, module, same
        self._saved_at = time.monotonic()

    def load(self, optimizer: Optimizer) -> tuple[int, dict]:
        """Put the saved state into the module and the optimizer; the step to go on with (0: from the start)
        and what else was saved."""
        if not self.path.exists():
            return 0, {}
        try:
            tensors, metadata = read_tensors(self.path)
            notes = json.loads(metadata["notes"])
            if notes["same"] != self.same:
                return 0, {}
        except (InputError, KeyError, ValueError, TypeError):  # cut short by a crash of the machine
            return 0, {}
        state = {name[7:]: tensor for name, tensor in tensors.items() if name.startswith("module.")}
        self.module.load_state_dict(state)
        for index, moments in enumerate(optimizer.moments.values()):
            for name, tensor in moments._asdict().items():
                tensor.copy_(tensors[f"adam.{index}.{name}"])
        return notes["step"], notes["extra"]

    def maybe_save(self, optimizer: Optimizer, step: int, extra: dict | None = None) -> None:
        """Save if the last time is long enough ago; called after every step."""
        if time.monotonic() - self._saved_at >= EVERY:
            self.save(optimizer, step, extra)

    def save(self, optimizer: Optimizer, step: int, extra: dict | None = None) -> None:
        tensors = {f"module.{name}": tensor for name, tensor in self.module.state_dict().items()}
        tensors = {k: t.to(torch.uint8) if t.dtype == torch.bool else t for k, t in tensors.items()}
        for index, moments in enumerate(optimizer.moments.values()):
            for name, tensor in moments._asdict().items():
                tensors[f"adam.{index}.{name}"] = tensor
        notes = {"same": self.same, "step": step, "extra": extra or {}}
        write_tensors(self.path, tensors, metadata={"notes": json.dumps(notes)})
        self._saved_at = time.monotonic()

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)
