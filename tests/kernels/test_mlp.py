"""The small network: torch's own modules for the twin, the twin in float64 for every backend."""

import inspect
from itertools import pairwise

import pytest
import torch

from nerf_insert.kernels import mlp, use_backend

LAYERS = {
    "layer field": (16, 64, 64, 4),
    "density": (32, 64, 16),
    "color": (32, 64, 64, 3),
    "narrow": (16, 32, 4),
    "odd": (27, 30, 5, 1),
    "linear": (8, 8),
}


def case(widths, count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    weights = [torch.randn(b, a, generator=generator) * (2 / a) ** 0.5 for a, b in pairwise(widths)]
    return torch.randn(count, widths[0], generator=generator), weights


def with_gradients(backend, x, weights, to_x=True):
    x = x.clone().requires_grad_(to_x)
    weights = [weight.clone().requires_grad_() for weight in weights]
    with use_backend(backend):
        result = mlp(x, weights)
    factors = torch.arange(result.numel(), dtype=result.dtype).view(result.shape).cos()
    result.backward(factors)
    return result.detach(), x.grad, [weight.grad for weight in weights]


def test_the_twin_is_a_sequence_of_linear_layers():
    x, weights = case((16, 64, 64, 4), 50)
    modules = []
    for weight in weights:
        modules += [torch.nn.Linear(*reversed(weight.shape), bias=False), torch.nn.ReLU()]
        modules[-2].weight.data.copy_(weight)
    with use_backend("torch"), torch.no_grad():
        assert mlp(x, weights).equal(torch.nn.Sequential(*modules[:-1])(x))


@pytest.mark.parametrize("count", [0, 1, 127, 128, 129, 8192, 10_001])
@pytest.mark.parametrize("widths", LAYERS.values(), ids=LAYERS)
def test_cpu_against_the_twin_in_float64(widths, count):
    x, weights = case(widths, count)
    value, to_x, to_weights = with_gradients("cpu", x, weights)
    exact = with_gradients("torch", x.double(), [w.double() for w in weights])
    # Sums of at most 64 float32 products of order one; the weights' gradients sum over all points. Where a
    # hidden number is zero but for rounding, ReLU's slope is a toss-up: such points may differ at will.
    torch.testing.assert_close(value.double(), exact[0], rtol=0, atol=1e-5)
    wrong = ((to_x.double() - exact[1]).abs() > 1e-4).any(-1)
    assert wrong.sum() <= 2 and (to_x == 0).sum() == (exact[1] == 0).sum()
    for ours, theirs in zip(to_weights, exact[2], strict=True):
        scale = max(count, 1) ** 0.5
        torch.testing.assert_close(ours.double(), theirs, rtol=1e-4, atol=2e-5 * scale)
        if count:
            assert (
                torch.nn.functional.cosine_similarity(ours.double().flatten(), theirs.flatten(), 0) > 0.999999
            )


def test_inputs_need_no_gradient_and_may_have_any_strides():
    x, weights = case((32, 64, 16), 300)
    expected = with_gradients("cpu", x, weights)
    assert with_gradients("cpu", x, weights, to_x=False)[1] is None
    strided = with_gradients("cpu", x.T.contiguous().T, [w.T.contiguous().T for w in weights])
    for a, b in zip([*expected[:2], *expected[2]], [*strided[:2], *strided[2]], strict=True):
        assert a.equal(b)
    with use_backend("cpu"):
        leaf = x.clone().requires_grad_()
        (expanded,) = torch.autograd.grad(mlp(leaf, weights).sum(), leaf)
        (full,) = torch.autograd.grad(mlp(leaf, weights), leaf, torch.ones(300, 16))
    assert expanded.equal(full)


def test_threads_change_no_bit():
    x, weights = case((32, 64, 64, 3), 40_000)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = with_gradients("cpu", x, weights)
        for threads in (2, 16):
            torch.set_num_threads(threads)
            more = with_gradients("cpu", x, weights)
            for a, b in zip([*one[:2], *one[2]], [*more[:2], *more[2]], strict=True):
                assert a.equal(b)
    finally:
        torch.set_num_threads(before)


def test_a_point_does_not_depend_on_the_others():
    x, weights = case((16, 64, 64, 4), 1000)
    with use_backend("cpu"):
        assert mlp(x, weights)[537:540].equal(mlp(x[537:540], weights))


@pytest.mark.parametrize(
    ("x", "weights"),
    [
        (torch.rand(5, 7), [torch.rand(3, 8)]),
        (torch.rand(5, 8), [torch.rand(3, 8), torch.rand(2, 4)]),
        (torch.rand(5, 8), []),
        (torch.rand(8), [torch.rand(3, 8)]),
    ],
)
def test_shapes_that_do_not_fit_are_refused(x, weights):
    with pytest.raises(ValueError, match="does not fit"):
        inspect.unwrap(mlp)(x, weights)  # tests check the annotated shapes first
