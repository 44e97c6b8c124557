"""The optimizer against torch's own Adam, in float64."""

import subprocess
import sys

import pytest
import torch

from nerf_insert.training.checkpoint import Checkpoint
from nerf_insert.training.optimizer import Optimizer, at_step


class Parts(torch.nn.Module):
    """A table, two perceptrons' weights, and one parameter that no loss depends on."""

    def __init__(self):
        super().__init__()
        generator = at_step(3, 0)
        self.table = torch.nn.Parameter(torch.randn(40, 2, generator=generator))
        self.first = torch.nn.Parameter(torch.randn(2, 8, generator=generator))
        self.last = torch.nn.Parameter(torch.randn(8, generator=generator))
        self.unused = torch.nn.Parameter(torch.ones(3))

    def loss(self, step):
        rows = torch.randint(40, (16,), generator=at_step(0, step))
        return ((self.table[rows] @ self.first).tanh() @ self.last - 1).square().mean()


def test_steps_are_those_of_adam():
    """With the rates by hand: a warm-up of 5 steps, a fall to a thirtieth, perceptrons at a fifth."""
    ours, theirs = Parts(), Parts().double()
    optimizer = Optimizer(ours, 0.05, 40, warmup_steps=5, mlp_lr_scale=0.2)
    adam = torch.optim.Adam(
        [{"params": [theirs.table]}, {"params": [theirs.first, theirs.last]}], betas=(0.9, 0.99), eps=1e-15
    )
    for step in range(40):
        optimizer.step(ours.loss(step), step)
        rate = 0.05 * min(1, (step + 1) / 5) * 30 ** (-step / 40)
        for group, share in zip(adam.param_groups, (1, 0.2), strict=True):
            group["lr"] = share * rate
        adam.zero_grad()
        theirs.loss(step).backward()
        adam.step()
    # 40 steps of float32, each exact to some 1e-7 of values around 1; eps leaves no small denominators to
    # blow that up but where a gradient is nearly 0
    for name, parameter in ours.named_parameters():
        torch.testing.assert_close(parameter.double(), theirs.get_parameter(name), atol=1e-4, rtol=1e-4)
    assert not torch.equal(ours.table, Parts().table) and torch.equal(ours.unused, torch.ones(3))


@pytest.mark.parametrize("stop", [1, 7])
def test_a_checkpoint_brings_back_the_same_steps(tmp_path, stop):
    whole, first, second = Parts(), Parts(), Parts()
    optimizer = Optimizer(whole, 0.05, 12)
    for step in range(12):
        optimizer.step(whole.loss(step), step)
    optimizer = Optimizer(first, 0.05, 12)
    for step in range(stop):
        optimizer.step(first.loss(step), step)
    Checkpoint(tmp_path / "saved.safetensors", first, {}).save(optimizer, stop)
    optimizer = Optimizer(second, 0.05, 12)
    assert Checkpoint(tmp_path / "saved.safetensors", second, {}).load(optimizer) == (stop, {})
    for step in range(stop, 12):
        optimizer.step(second.loss(step), step)
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), second.parameters(), strict=True))


def test_a_step_does_not_wait_for_torchs_compiler():
    """Importing that takes seconds, at the start of every command that fits something."""
    code = (
        "import sys, torch; from nerf_insert.training.optimizer import Optimizer; m = torch.nn.Linear(2, 2)\n"
        "Optimizer(m, 1e-2, 5).step(m(torch.ones(2)).sum(), 0); print('torch._dynamo' in sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.split() == ["False"]
