"""The hash encoding: the torch twin against independent computations, each backend against the twin."""

import inspect

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nerf_insert.kernels import GridSpec, HashedGridSpec, hash_encode, new_table, use_backend
from nerf_insert.kernels.hashgrid import PRIMES

MIXED = GridSpec(n_levels=6, log2_hashmap_size=12, base_resolution=4, max_resolution=128)  # 2 dense levels


def table_of(spec: GridSpec, dtype=torch.float32) -> torch.Tensor:
    values = torch.randn(spec.n_entries, spec.n_features, generator=torch.Generator().manual_seed(1))
    return values.to(dtype)


def points_of(count: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(count, 3, generator=torch.Generator().manual_seed(seed))


def encode(backend, points, table, spec, to_points=False):
    """Value and gradients of a loss that treats every output differently."""
    points = points.clone().requires_grad_(to_points)
    table = table.clone().requires_grad_()
    with use_backend(backend):
        result = hash_encode(points, table, spec)
        weights = torch.arange(result.numel(), dtype=result.dtype).view(result.shape).cos()
        result.backward(weights)
    return result.detach(), table.grad, points.grad


def test_levels_are_those_of_tiny_cuda_nn():
    # Resolutions 16, 32, ... by b = 2: scale_l = 16 * 2^l - 1 and ceil(scale_l) + 1 grid points a side.
    spec = GridSpec(n_levels=4, log2_hashmap_size=16, base_resolution=16, max_resolution=128)
    assert spec.per_level_scale == pytest.approx(2, abs=1e-12)
    assert spec.scales.tolist() == [15, 31, 63, 127]
    assert spec.resolutions.tolist() == [16, 32, 64, 128]
    assert spec.sizes.tolist() == [16**3, 32**3, 2**16, 2**16]
    assert spec.dense.tolist() == [True, True, False, False]
    assert spec.n_entries == sum(spec.sizes) and spec.output_dim == 8


def test_sizes_are_padded_to_eight():
    spec = GridSpec(n_levels=1, log2_hashmap_size=12, base_resolution=5, max_resolution=5)
    assert spec.resolutions.tolist() == [5] and spec.n_entries == 128  # 5^3 = 125


@pytest.mark.parametrize("resolution", [4, 7, 16])
def test_a_dense_level_is_trilinear_interpolation_on_a_lattice(resolution):
    """Against grid_sample. Point k of the lattice lies at (k - 0.5) / scale: x is at scale * x + 0.5."""
    spec = GridSpec(n_levels=1, log2_hashmap_size=14, base_resolution=resolution, max_resolution=resolution)
    table = table_of(spec, torch.float64)
    scale = resolution - 1
    points = points_of(500).double() * (scale - 0.5) / scale  # beyond it corners wrap round
    volume = table[: resolution**3].view(resolution, resolution, resolution, 2).permute(3, 0, 1, 2)
    where = (scale * points + 0.5) / scale * 2 - 1
    expected = torch.nn.functional.grid_sample(volume[None], where[None, None, None], align_corners=True)
    with use_backend("torch"):
        result = hash_encode(points, table, spec)
    # float64 on both sides; a few operations on values of order one
    torch.testing.assert_close(result, expected[0, :, 0, 0].T, rtol=0, atol=1e-12)


def slow_encode(point, table, spec) -> list[float]:
    """One point by the book, in Python's own numbers."""
    features = []
    for level in range(spec.n_levels):
        scale = np.float32(2 ** (level * np.log2(spec.per_level_scale)) * spec.base_resolution - 1)
        side = int(np.ceil(scale)) + 1
        size = min((side**3 + 7) // 8 * 8, 2**spec.log2_hashmap_size)
        start = sum(
            min((int(np.ceil(s)) + 1) ** 3 + 7 & ~7, 2**spec.log2_hashmap_size) for s in spec.scales[:level]
        )
        position = [float(scale) * x + 0.5 for x in point]
        total = np.zeros(spec.n_features)
        for corner in np.ndindex(2, 2, 2):
            at = [int(p) + c for p, c in zip(position, corner, strict=True)]
            share = np.prod([p % 1 if c else 1 - p % 1 for p, c in zip(position, corner, strict=True)])
            if side**3 <= size:
                index = at[0] + side * at[1] + side * side * at[2]
            else:
                index = 0
                for coordinate, prime in zip(at, PRIMES, strict=True):
                    index ^= coordinate * prime % 2**32
            total += share * table[start + index % size].numpy()
        features += total.tolist()
    return features


def test_all_levels_against_a_slow_loop():
    table, points = table_of(MIXED, torch.float64), points_of(40).double()
    assert 0 < MIXED.dense.sum() < MIXED.n_levels
    expected = torch.tensor([slow_encode(point, table, MIXED) for point in points.tolist()])
    with use_backend("torch"):
        result = hash_encode(points, table, MIXED)
    # The loop computes the levels' scales in float64, the twin in float32 as tiny-cuda-nn: 1e-7 relative
    # of at most 128 cells.
    torch.testing.assert_close(result, expected.double(), rtol=0, atol=1e-4)


def test_the_twin_has_the_gradient_of_its_values():
    spec = GridSpec(n_levels=3, log2_hashmap_size=6, base_resolution=3, max_resolution=11)
    points = (points_of(4) * 0.9 + 0.05).double().requires_grad_()
    table = table_of(spec, torch.float64).requires_grad_()
    with use_backend("torch"):
        assert torch.autograd.gradcheck(lambda p, t: hash_encode(p, t, spec), (points, table))


@pytest.mark.parametrize("count", [0, 1, 3, 16, 17, 1000, 9001])
@pytest.mark.parametrize(
    "spec",
    [
        MIXED,
        GridSpec(n_levels=1, log2_hashmap_size=8, base_resolution=4, max_resolution=4),
        GridSpec(n_levels=16, log2_hashmap_size=14, base_resolution=16, max_resolution=2048),
        GridSpec(n_levels=3, n_features=4, log2_hashmap_size=10, base_resolution=4, max_resolution=32),
    ],
    ids=["mixed", "one level", "fine", "four features"],
)
def test_cpu_against_the_twin(spec, count):
    points, table = points_of(count), table_of(spec)
    value, to_table, to_points = encode("cpu", points, table, spec, to_points=True)
    twin = encode("torch", points, table, spec, to_points=True)
    # Same float32 positions on both sides, so only the order of sums differs: 8 terms of order one, up to
    # `count` of them in an entry's gradient, scaled by up to 2048 in the points'.
    torch.testing.assert_close(value, twin[0], rtol=0, atol=5e-6)
    torch.testing.assert_close(to_table, twin[1], rtol=0, atol=1e-4)
    torch.testing.assert_close(to_points, twin[2], rtol=1e-5, atol=1e-6 * spec.max_resolution * spec.n_levels)
    assert ((to_table == 0) == (twin[1] == 0)).float().mean() > 0.999  # the same entries are touched


def test_cpu_against_the_twin_in_float64():
    """Not only the same as float32 torch: right. Points away from cell borders, where the gradient jumps."""
    points, table = points_of(3000), table_of(MIXED)
    position = points[:, :, None].double() * torch.from_numpy(MIXED.scales) + 0.5
    points = points[((position - position.round()).abs() > 1e-4).all(-1).all(-1)]
    assert points.shape[0] > 1000
    value, to_table, to_points = encode("cpu", points, table, MIXED, to_points=True)
    exact = encode("torch", points.double(), table.double(), MIXED, to_points=True)
    # A float32 position of up to 128 is off by at most 8e-6, times differences of table entries of up to 8.
    torch.testing.assert_close(value.double(), exact[0], rtol=0, atol=1e-4)
    torch.testing.assert_close(to_table.double(), exact[1], rtol=0, atol=3e-4)
    torch.testing.assert_close(to_points.double(), exact[2], rtol=1e-4, atol=1e-2)
    cosine = torch.nn.functional.cosine_similarity(to_points.double(), exact[2], dim=-1)
    assert cosine.min() > 0.9999


@pytest.mark.parametrize("backend", ["cpu", "torch"])
def test_nerfstudios_encoding_is_the_other_convention(backend):
    """Against nerfstudio's own HashEncoding in PyTorch, values and gradients."""
    from nerfstudio.field_components.encodings import HashEncoding

    theirs = HashEncoding(6, 4, 128, 12, implementation="torch")
    spec = HashedGridSpec(6, 2, 12, 4, 128, level_scales=tuple(theirs.scalings.tolist()))
    table, points = table_of(spec), points_of(3000)
    theirs.hash_table.data.copy_(table)
    value, to_table, to_points = encode(backend, points, table, spec, to_points=True)
    leaf = points.clone().requires_grad_()
    expected = theirs(leaf)
    expected.backward(torch.arange(value.numel(), dtype=value.dtype).view(value.shape).cos())
    # float32 on both sides: positions of up to 128 are rounded alike, sums of 8 terms are not
    torch.testing.assert_close(value, expected.detach(), rtol=0, atol=1e-5)
    torch.testing.assert_close(to_table, theirs.hash_table.grad, rtol=0, atol=1e-4)
    torch.testing.assert_close(to_points, leaf.grad, rtol=1e-4, atol=2e-3)
    assert ((to_table == 0) == (theirs.hash_table.grad == 0)).float().mean() > 0.999


@pytest.mark.parametrize("backend", ["cpu", "torch"])
def test_points_on_borders_and_outside(backend):
    spec = MIXED
    table = table_of(spec)
    outside = torch.tensor([[-0.5, 0.3, 2.0], [1.0, 1.0, 1.0], [0.0, 0.0, 0.0], [1e9, -1e9, 0.5]])
    with use_backend(backend):
        clamped = hash_encode(outside.clamp(0, 1), table, spec)
        assert hash_encode(outside, table, spec).equal(clamped)
        assert clamped.isfinite().all()
        # On a lattice point of level 0 (scale 3): exactly that entry.
        on_point = torch.full((1, 3), 0.5, dtype=torch.float32)  # 3 * 0.5 + 0.5 = 2
        assert hash_encode(on_point, table, spec)[0, :2].equal(table[2 + 4 * (2 + 4 * 2)])


def test_the_gradient_of_a_clamped_coordinate_is_zero():
    points = torch.tensor([[-0.5, 0.31, 0.77], [0.12, 1.7, 0.4]])
    for backend in ("cpu", "torch"):
        gradient = encode(backend, points, table_of(MIXED), MIXED, to_points=True)[2]
        assert (gradient == 0).tolist() == [[True, False, False], [False, True, False]]


def test_points_get_no_gradient_unless_they_ask():
    assert encode("cpu", points_of(10), table_of(MIXED), MIXED)[2] is None


def test_inputs_need_not_be_contiguous():
    points, table = points_of(300), table_of(MIXED)
    strided_points = torch.stack([points, points], -1)[..., 0]
    strided_table = table.T.contiguous().T
    assert not strided_points.is_contiguous() and not strided_table.is_contiguous()
    for a, b in zip(
        encode("cpu", points, table, MIXED, True),
        encode("cpu", strided_points, strided_table, MIXED, True),
        strict=True,
    ):
        assert a.equal(b)
    with use_backend("cpu"):  # a gradient that arrives row by row, column by column, or expanded
        leaf = table.clone().requires_grad_()
        (row,) = torch.autograd.grad(hash_encode(points, leaf, MIXED), leaf, torch.ones(300, 12))
        (column,) = torch.autograd.grad(hash_encode(points, leaf, MIXED), leaf, torch.ones(12, 300).T)
        (expanded,) = torch.autograd.grad(hash_encode(points, leaf, MIXED).sum(), leaf)
    assert row.equal(column) and row.equal(expanded)


def test_threads_change_no_bit():
    points, table = points_of(50_000), table_of(MIXED)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = encode("cpu", points, table, MIXED, to_points=True)
        for threads in (2, 16, 2):
            torch.set_num_threads(threads)
            more = encode("cpu", points, table, MIXED, to_points=True)
            assert all(a.equal(b) for a, b in zip(one, more, strict=True))
    finally:
        torch.set_num_threads(before)


@settings(max_examples=min(25, settings.default.max_examples), deadline=None)
@given(
    st.lists(st.tuples(*[st.floats(0, 1, width=32)] * 3), min_size=1, max_size=40),
    st.integers(2, 200),
)
def test_interpolation_never_leaves_the_range_of_the_table(points, resolution):
    spec = GridSpec(n_levels=2, log2_hashmap_size=10, base_resolution=2, max_resolution=resolution)
    table = table_of(spec).abs().clamp_max(1)
    with use_backend("cpu"):
        result = hash_encode(torch.tensor(points), table, spec)
        ones = hash_encode(torch.tensor(points), torch.ones_like(table), spec)
    assert result.min() >= 0 and result.max() <= 1 + 1e-6
    torch.testing.assert_close(ones, torch.ones_like(ones), rtol=0, atol=1e-6)  # weights sum to one


@pytest.mark.parametrize("points", [torch.rand(5), torch.rand(5, 2), torch.rand(2, 5, 3)])
def test_wrong_points_are_refused(points):
    with pytest.raises(ValueError, match="points"):
        inspect.unwrap(hash_encode)(points, table_of(MIXED), MIXED)  # tests check annotated shapes first


def test_a_table_of_another_spec_is_refused():
    with pytest.raises(ValueError, match="table"):
        hash_encode(points_of(3), torch.zeros(8, 2), MIXED)


@pytest.mark.parametrize("wrong", [{"n_levels": 0}, {"log2_hashmap_size": 40}, {"max_resolution": 3}])
def test_a_spec_without_sense_is_refused(wrong):
    with pytest.raises(ValueError, match="hash grid"):
        GridSpec(**wrong)


def test_levels_without_scales_are_refused():
    with pytest.raises(ValueError, match="scales"):
        HashedGridSpec(n_levels=3, level_scales=(1.0,))


def test_a_new_table_is_small_and_repeatable():
    one, two = (new_table(MIXED, torch.Generator().manual_seed(3)) for _ in range(2))
    assert one.equal(two) and one.abs().max() <= 1e-4 and one.std() > 5e-5
