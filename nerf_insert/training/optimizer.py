"""How fields are fitted: Adam, and randomness that depends on the seed and the step alone."""

from __future__ import annotations

from typing import NamedTuple, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

BETAS, EPSILON = (0.9, 0.99), 1e-15


class Moments(NamedTuple):
    """Adam's state of one parameter: its steps, the running means of its gradient and of the square."""

    step: Float[Tensor, ""]
    exp_avg: Float[Tensor, "*shape"]
    exp_avg_sq: Float[Tensor, "*shape"]

    @classmethod
    def zeros(cls, parameter: nn.Parameter) -> Moments:
        """Return the state before the first step."""
        step = torch.zeros((), dtype=torch.float32, device=parameter.device)
        return cls(step, torch.zeros_like(parameter), torch.zeros_like(parameter))


class Optimizer:
    """Adam as Instant NGP uses it (appendix E).

    The learning rate grows linearly for `warmup_steps`, and then falls exponentially. Steps call the kernel
    of `torch.optim.Adam(fused=True)` directly: creating that class imports torch's compiler, which takes 2
    to 6 seconds.
    """

    def __init__(
        self,
        module: nn.Module,
        lr: float,
        steps: int,
        final_lr_scale: float = 1 / 30,
        warmup_steps: int = 32,
        mlp_lr_scale: float = 1.0,
    ):
        """Start with zero moments.

        Args:
            module: Its parameters are optimized; those whose name ends in "table" are hash tables.
            lr: Learning rate of hash tables, after the warm-up and before the decay.
            steps: Steps over which the rate decays.
            final_lr_scale: Factor on the rate after all steps.
            warmup_steps: Steps in which the rate grows.
            mlp_lr_scale: Factor on the rate of all other parameters.
        """
        named = list(module.named_parameters())
        tables = [parameter for name, parameter in named if name.endswith("table")]
        others = [parameter for name, parameter in named if not name.endswith("table")]
        self.groups = [(1.0, tables), (mlp_lr_scale, others)]
        self.moments = {parameter: Moments.zeros(parameter) for parameter in tables + others}
        self.lr, self.steps, self.final_lr_scale = lr, steps, final_lr_scale
        self.warmup_steps = warmup_steps

    def step(self, loss: Float[Tensor, ""], at: int) -> None:
        """Take one step down the gradient of `loss`; `at` counts steps from 0."""
        for parameter in self.moments:
            parameter.grad = None
        loss.backward()
        warmup = min(1.0, (at + 1) / self.warmup_steps)
        lr = self.lr * warmup * self.final_lr_scale ** (at / self.steps)
        for scale, group in self.groups:
            reached = [parameter for parameter in group if parameter.grad is not None]
            if reached:
                self._adam(scale * lr, reached)

    @torch.no_grad()
    def _adam(self, lr: float, parameters: list[nn.Parameter]) -> None:
        """Update parameters by their gradients, which all of them have."""
        moments = [self.moments[parameter] for parameter in parameters]
        steps = [moment.step for moment in moments]
        torch._foreach_add_(steps, 1)
        torch._fused_adam_(
            cast(list[Tensor], parameters),  # a list of Tensor is declared, which is invariant
            [parameter.grad for parameter in parameters if parameter.grad is not None],
            [moment.exp_avg for moment in moments],
            [moment.exp_avg_sq for moment in moments],
            [],
            steps,
            lr=lr,
            beta1=BETAS[0],
            beta2=BETAS[1],
            eps=EPSILON,
            weight_decay=0.0,
            amsgrad=False,
            maximize=False,
        )


def at_step(seed: int, step: int) -> torch.Generator:
    """Return the source of randomness of one step, on the CPU, so that it is the same on every device."""
    return torch.Generator().manual_seed((seed * 1_000_003 + step) & 0x7FFF_FFFF_FFFF_FFFF)
