"""How fields are fitted: Adam, and randomness that depends on the seed and the step alone."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Optimiser:
    """Adam as Instant NGP uses it (appendix E), with a rate that grows for `warm_up` steps and then falls
    exponentially; that of the perceptrons is `damped` by a factor."""

    def __init__(
        self,
        module: nn.Module,
        rate: float,
        steps: int,
        floor: float = 1 / 30,
        warm_up: int = 32,
        damped: float = 1.0,
    ):
        named = list(module.named_parameters())
        tables = [parameter for name, parameter in named if name.endswith("table")]
        others = [parameter for name, parameter in named if not name.endswith("table")]
        groups = [{"params": tables, "share": 1.0}, {"params": others, "share": damped}]
        self.adam = torch.optim.Adam(
            [g for g in groups if g["params"]], lr=rate, betas=(0.9, 0.99), eps=1e-15, fused=True
        )
        self.rate, self.steps, self.floor, self.warm_up = rate, steps, floor, warm_up

    def step(self, loss: Tensor, at: int) -> None:
        """One step down the gradient of `loss`; `at` counts steps from 0."""
        warm = min(1.0, (at + 1) / self.warm_up)
        for group in self.adam.param_groups:
            group["lr"] = group["share"] * self.rate * warm * self.floor ** (at / self.steps)
        self.adam.zero_grad(set_to_none=True)
        loss.backward()
        self.adam.step()


def at_step(seed: int, step: int) -> torch.Generator:
    """The source of all that is random in one step: the processor's, so that it is the same everywhere."""
    return torch.Generator().manual_seed((seed * 1_000_003 + step) & 0x7FFF_FFFF_FFFF_FFFF)
