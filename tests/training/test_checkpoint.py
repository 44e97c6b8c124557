"""Checkpoints: what does not fit is no checkpoint, and changes nothing."""

import pytest
import torch
from torch import nn

from nerf_insert.io.files import read_tensors, write_tensors
from nerf_insert.training.checkpoint import Checkpoint
from nerf_insert.training.optimizer import Optimizer

SAME = {"identity": "this run"}


class Small(nn.Module):
    """Two parameters and a buffer, all different from run to run."""

    def __init__(self, seed, size=3, more=()):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.table = nn.Parameter(torch.rand(4, generator=generator))
        self.weight = nn.Parameter(torch.rand(size, generator=generator))
        self.register_buffer("flags", torch.rand(5, generator=generator) > 0.5)
        for name in more:
            self.register_buffer(name, torch.ones(2))


def saved(path, module, steps=3):
    optimizer = Optimizer(module, 1e-2, 10)
    for step in range(steps):
        optimizer.step((module.table.sum() + module.weight.square().sum()), step)
    Checkpoint(path, module, SAME).save(optimizer, steps, {"rays": 7})
    return optimizer


def state(module, optimizer):
    moments = [tensor for part in optimizer.moments.values() for tensor in part]
    return [tensor.clone() for tensor in [*module.state_dict().values(), *moments]]


def test_everything_is_restored(tmp_path):
    path, first, second = tmp_path / "c.safetensors", Small(1), Small(2)
    optimizer, other = saved(path, first), Optimizer(second, 1e-2, 10)
    assert Checkpoint(path, second, SAME).load(other) == (3, {"rays": 7})
    pairs = zip(state(first, optimizer), state(second, other), strict=True)
    assert all(torch.equal(a, b) and a.dtype == b.dtype for a, b in pairs)


@pytest.mark.parametrize(
    "module",
    [lambda: Small(2, more=["trust"]), lambda: Small(2, size=4), lambda: nn.Linear(2, 2)],
    ids=["has one buffer more", "has another shape", "has other names"],
)
def test_a_checkpoint_of_another_version_of_the_module_changes_nothing(tmp_path, module):
    path, second = tmp_path / "c.safetensors", module()
    saved(path, Small(1))
    optimizer = Optimizer(second, 1e-2, 10)
    before = state(second, optimizer)
    assert Checkpoint(path, second, SAME).load(optimizer) == (0, {})
    assert all(torch.equal(a, b) for a, b in zip(before, state(second, optimizer), strict=True))


@pytest.mark.parametrize("lost", ["module.flags", "module.weight", "adam.1.exp_avg", "adam.0.step"])
def test_a_checkpoint_that_lacks_a_tensor_changes_nothing(tmp_path, lost):
    path, second = tmp_path / "c.safetensors", Small(2)
    saved(path, Small(1))
    tensors, metadata = read_tensors(path)
    write_tensors(path, {name: tensor for name, tensor in tensors.items() if name != lost}, metadata)
    optimizer = Optimizer(second, 1e-2, 10)
    before = state(second, optimizer)
    assert Checkpoint(path, second, SAME).load(optimizer) == (0, {})
    assert all(torch.equal(a, b) for a, b in zip(before, state(second, optimizer), strict=True))
