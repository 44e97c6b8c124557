"""How fields are fitted: Adam, and randomness that depends on the seed and the step alone."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

BETAS, EPSILON = (0.9, 0.99), 1e-15


class Moments(NamedTuple):
    """What Adam knows of one parameter: how many steps it took, running means of gradient and its square."""

    step: Float[Tensor, ""]
    exp_avg: Float[Tensor, "*shape"]
    exp_avg_sq: Float[Tensor, "*shape"]

    @classmethod
    def none(cls, parameter: nn.Parameter) -> Moments:
        step = torch.zeros((), dtype=torch.float32, device=parameter.device)
        return cls(step, torch.zeros_like(parameter), torch.zeros_like(parameter))


class Optimizer:
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
        self.groups = [(1.0, tables), (damped, others)]
        self.moments = {parameter: Moments.none(parameter) for parameter in tables + others}
        self.rate, self.steps, self.floor, self.warm_up = rate, steps, floor, warm_up

    def step(self, loss: Tensor, at: int) -> None:
        """One step down the gradient of `loss`; `at` counts steps from 0."""
        for parameter in self.moments:
            parameter.grad = None
        loss.backward()
        warm = min(1.0, (at + 1) / self.warm_up)
        rate = self.rate * warm * self.floor ** (at / self.steps)
        for share, group in self.groups:
            reached = [parameter for parameter in group if parameter.grad is not None]
            if reached:
                self._adam(share * rate, reached)

    @torch.no_grad()
    def _adam(self, rate: float, parameters: list[nn.Parameter]) -> None:
        # The kernel that torch.optim.Adam(fused=True) calls: that class imports torch's whole compiler
        # first, which takes seconds.
        steps, *moments = zip(*(self.moments[parameter] for parameter in parameters), strict=True)
        torch._foreach_add_(steps, 1)
        gradients = [parameter.grad for parameter in parameters]
        torch._fused_adam_(
            parameters,
            gradients,
            *moments,
            [],
            steps,
            lr=rate,
            beta1=BETAS[0],
            beta2=BETAS[1],
            eps=EPSILON,
            weight_decay=0.0,
            amsgrad=False,
            maximize=False,
        )


def at_step(seed: int, step: int) -> torch.Generator:
    """The source of all that is random in one step: the processor's, so that it is the same everywhere."""
    return torch.Generator().manual_seed((seed * 1_000_003 + step) & 0x7FFF_FFFF_FFFF_FFFF)
