"""Volume rendering: closed forms for the twin, the twin in float64 for every backend."""

import math

import pytest
import torch

from nerf_insert.kernels import composite, median_depth, transmittance, use_backend

BACKENDS = ["cpu", "torch"]


def rays(*counts: int) -> torch.Tensor:
    return torch.tensor([0, *counts]).cumsum(0)


def random_case(seed=0, n=300, longest=40, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    counts = torch.randint(0, longest, (n,), generator=generator)
    counts[::7] = 0
    offsets = rays(*counts.tolist())
    m = int(offsets[-1])
    optical_depth = torch.rand(m, generator=generator) ** 4 * 3
    optical_depth[::11] = 0
    rgb = torch.rand(m, 3, generator=generator)
    distances = torch.rand(m, generator=generator).sort()[0] + 0.1
    return optical_depth.to(dtype), rgb.to(dtype), distances.to(dtype), offsets


def with_gradients(backend, optical_depth, rgb, distances, offsets):
    optical_depth, rgb = optical_depth.clone().requires_grad_(), rgb.clone().requires_grad_()
    with use_backend(backend):
        result = composite(optical_depth, rgb, distances, offsets)
        loss = result.rgb.sin().sum() + (result.accumulation**2).sum() - result.depth.cos().sum()
        loss.backward()
    return *(part.detach() for part in result), optical_depth.grad, rgb.grad


@pytest.mark.parametrize("backend", BACKENDS)
def test_one_sample(backend):
    color = torch.tensor([[0.2, 0.5, 0.9]])
    with use_backend(backend):
        result = composite(torch.tensor([0.7]), color, torch.tensor([3.0]), rays(1))
    alpha = 1 - math.exp(-0.7)
    # float32 rounding of numbers of order one, here and below
    torch.testing.assert_close(result.rgb, alpha * color, rtol=1e-6, atol=0)
    assert result.accumulation.item() == pytest.approx(alpha, rel=1e-6)
    assert result.depth.item() == pytest.approx(3 * alpha, rel=1e-6)


@pytest.mark.parametrize("backend", BACKENDS)
def test_two_samples_and_their_gradients(backend):
    optical_depth, rgb = torch.tensor([0.3, 1.1]), torch.tensor([[1.0, 0, 0], [0, 1, 0]])
    optical_depth.requires_grad_(), rgb.requires_grad_()
    with use_backend(backend):
        result = composite(optical_depth, rgb, torch.tensor([1.0, 2.0]), rays(2))
    first, second = 1 - math.exp(-0.3), math.exp(-0.3) * (1 - math.exp(-1.1))
    assert result.rgb[0].tolist() == pytest.approx([first, second, 0], rel=1e-6)
    grad_optical_depth, grad_rgb = torch.autograd.grad(result.rgb[0, 1], (optical_depth, rgb))
    assert grad_optical_depth.tolist() == pytest.approx([-second, math.exp(-1.4)], rel=1e-6)
    assert grad_rgb.flatten().tolist() == pytest.approx([0, first, 0, 0, second, 0], rel=1e-6)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("count", [1, 10, 1000])
def test_constant_density_gives_beers_law(backend, count):
    density, length = 0.8, 2.5
    optical_depth = torch.full((count,), density * length / count)
    with use_backend(backend):
        result = composite(optical_depth, torch.ones(count, 3), torch.ones(count), rays(count))
    expected = 1 - math.exp(-density * length)
    # float32 thicknesses are off by 6e-8 relative, all to the same side
    assert result.accumulation.item() == pytest.approx(expected, rel=3e-7)
    assert result.rgb[0].tolist() == pytest.approx([expected] * 3, rel=3e-7)


@pytest.mark.parametrize("backend", BACKENDS)
def test_rays_are_independent(backend):
    optical_depth, rgb, distances, offsets = random_case()
    with use_backend(backend):
        whole = composite(optical_depth, rgb, distances, offsets)
        for ray in (1, 5, 100):
            part = slice(int(offsets[ray]), int(offsets[ray + 1]))
            one = composite(optical_depth[part], rgb[part], distances[part], rays(part.stop - part.start))
            for a, b in zip(whole, one, strict=True):
                torch.testing.assert_close(a[ray], b[0], rtol=1e-6, atol=1e-7)


def test_splitting_a_sample_changes_nothing():
    optical_depth, rgb, distances, offsets = random_case(dtype=torch.float64)
    twice = [x.repeat_interleave(2, 0) for x in (optical_depth / 2, rgb, distances)]
    with use_backend("torch"):
        for a, b in zip(
            composite(optical_depth, rgb, distances, offsets), composite(*twice, 2 * offsets), strict=True
        ):
            torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def test_the_twin_has_the_gradient_of_its_values():
    optical_depth, rgb, distances, offsets = random_case(n=6, longest=5, dtype=torch.float64)
    optical_depth = (optical_depth + 0.1).requires_grad_()
    rgb.requires_grad_()
    with use_backend("torch"):
        assert torch.autograd.gradcheck(
            lambda t, c: tuple(composite(t, c, distances, offsets)), (optical_depth, rgb)
        )


@pytest.mark.parametrize("seed", range(3))
def test_cpu_against_the_twin_in_float64(seed):
    case = random_case(seed)
    exact = [x.double() if x.is_floating_point() else x for x in case]
    for a, b in zip(with_gradients("cpu", *case), with_gradients("torch", *exact), strict=True):
        # float32 weights of order one, multiplied by gradients of up to 2 and subtracted from one another
        torch.testing.assert_close(a.double(), b, rtol=2e-6, atol=1e-6)
        # samples of next to no thickness are subtracted from one another, hence the 2
        assert (b[a == 0].abs() < 2e-20).all() and (a[b == 0] == 0).all()
    with use_backend("cpu"):
        ours = transmittance(case[0], case[3]), median_depth(case[0], case[2], case[3])
    with use_backend("torch"):
        theirs = transmittance(exact[0], case[3]), median_depth(exact[0], exact[2], case[3])
    torch.testing.assert_close(ours[0].double(), theirs[0], rtol=1e-6, atol=1e-30)
    assert ours[1].double().equal(theirs[1])


@pytest.mark.parametrize("backend", BACKENDS)
def test_transmittance_and_median(backend):
    optical_depth = torch.tensor([0.5, 0.1, 0.2, 5.0, 0.6, 0.05])
    distances = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    offsets = rays(4, 0, 2)
    with use_backend(backend):
        share = transmittance(optical_depth, offsets)
        median = median_depth(optical_depth, distances, offsets)
    expected = [0, 0.5, 0.6, 0.8, 0, 0.6]
    assert share.tolist() == pytest.approx([math.exp(-x) for x in expected], rel=1e-6)
    assert median.tolist() == [3.0, math.inf, math.inf]  # ln 2 = 0.69 lies between 0.6 and 0.8


@pytest.mark.parametrize("backend", BACKENDS)
def test_walls_and_nothing(backend):
    """Opaque samples hide what is behind them, exactly; gradients stay finite."""
    optical_depth = torch.tensor([0.0, 1e30, 1.0, math.inf])
    rgb = torch.rand(4, 3, generator=torch.Generator().manual_seed(0))
    parts = with_gradients(backend, optical_depth, rgb, torch.arange(4.0), rays(3, 0, 1))
    assert parts[0].equal(torch.stack([rgb[1], torch.zeros(3), rgb[3]]))
    assert parts[1].tolist() == [1, 0, 1] and parts[2].tolist() == [1, 0, 3]
    assert all(part.isfinite().all() for part in parts)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("counts", [(), (0,), (0, 0, 0)])
def test_no_samples(backend, counts):
    parts = with_gradients(backend, torch.zeros(0), torch.zeros(0, 3), torch.zeros(0), rays(*counts))
    assert parts[0].equal(torch.zeros(len(counts), 3)) and parts[3].shape == (0,) and parts[4].shape == (0, 3)
    with use_backend(backend):
        median = median_depth(torch.zeros(0), torch.zeros(0), rays(*counts))
    assert median.equal(torch.full((len(counts),), math.inf))


def test_inputs_need_not_be_contiguous_and_threads_change_no_bit():
    optical_depth, rgb, distances, offsets = random_case(n=3000)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = with_gradients("cpu", optical_depth, rgb, distances, offsets)
        torch.set_num_threads(16)
        strided = [torch.stack([x, x], -1)[..., 0] for x in (optical_depth, rgb, distances, offsets)]
        assert all(a.equal(b) for a, b in zip(one, with_gradients("cpu", *strided), strict=True))
    finally:
        torch.set_num_threads(before)


def test_what_is_deep_inside_has_no_gradients_too_small_to_multiply():
    # through a wall of 200 samples the light falls to exp(-200): products with gradients of that size are
    # subnormal numbers, on which a fit took 1.6 times as long
    optical_depth, rgb = torch.ones(200), torch.full((200, 3), 0.5)
    distances = torch.linspace(1, 2, 200)
    found = with_gradients("cpu", optical_depth, rgb, distances, rays(200))
    twin = with_gradients("torch", optical_depth.double(), rgb.double(), distances.double(), rays(200))
    for ours, true in zip(found, twin, strict=True):
        assert not bool(((ours != 0) & (ours.abs() < 1e-20)).any())
        torch.testing.assert_close(ours.double(), true, rtol=1e-5, atol=1e-6)
    assert bool((found[-1][-1] == 0).all())
    rgb[3] = float("nan")
    assert bool(with_gradients("cpu", optical_depth, rgb, distances, rays(200))[-2].isnan().any())
