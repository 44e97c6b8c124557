"""Every backend against the twin in float64: values and all gradients, over shapes that hypothesis draws.

Triton's kernels run in its interpreter where there is no GPU.
"""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nerf_insert.kernels import (
    GridSpec,
    Samples,
    composite,
    distortion_loss,
    hash_encode,
    march,
    median_depth,
    merge,
    mlp,
    transmittance,
    use_backend,
    use_precision,
)

BACKENDS = ["cpu", "torch", "triton"]
EPSILON = 2.0**-23  # of float32
FEW = settings(max_examples=min(12, settings.default.max_examples), deadline=None)

every_backend = pytest.mark.parametrize("backend", BACKENDS)
seeds = st.integers(0, 1000)


@pytest.fixture(autouse=True, scope="module")
def single():
    """What half precision costs is another question, with a test of its own below."""
    with use_precision("single"):
        yield


def random(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def layouts(tensor: torch.Tensor, strided: bool) -> torch.Tensor:
    """The same numbers, perhaps with others between them."""
    return torch.stack([tensor, tensor], -1)[..., 0] if strided else tensor


def leaf(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.detach().requires_grad_()


# --- hash encoding


@st.composite
def grids(draw) -> GridSpec:
    base = draw(st.integers(2, 16))
    return GridSpec(
        n_levels=draw(st.integers(1, 3)),
        n_features=draw(st.sampled_from([1, 2, 2, 2, 3, 4])),
        log2_hashmap_size=draw(st.integers(3, 11)),
        base_resolution=base,
        max_resolution=base * draw(st.integers(1, 40)),
    )


@st.composite
def points(draw) -> torch.Tensor:
    """Anywhere, on the borders of cells, and outside 0..1."""
    count = draw(st.sampled_from([0, 1, 2, 15, 16, 17, 100, 300]))
    result = torch.rand(count, 3, generator=torch.Generator().manual_seed(draw(seeds)))
    special = draw(st.lists(st.sampled_from([0.0, 1.0, 0.5, 0.25, 1 / 3, -0.2, 1.7, 1e9]), max_size=9))
    flat = result.view(-1)
    flat[: len(special)] = torch.tensor(special)[: flat.numel()]
    return result


def encoded(backend, points, table, spec):
    points, table = leaf(points), leaf(table)
    with use_backend(backend):
        result = hash_encode(points, table, spec)
    result.backward(torch.arange(result.numel(), dtype=result.dtype).view(result.shape).cos())
    return result.detach(), table.grad, points.grad


def border(points: torch.Tensor, spec: GridSpec) -> torch.Tensor:
    """Points that lie, on some level, so near a cell's border that float32 cannot tell on which side."""
    near = torch.zeros(len(points), dtype=torch.bool)
    for scale in spec.scales.tolist():
        position = points.double().clamp(0, 1) * scale + 0.5
        near |= ((position - position.round()).abs() < 4 * spec.max_resolution * EPSILON).any(-1)
    return near


@every_backend
@FEW
@given(spec=grids(), points=points(), seed=seeds, strided=st.booleans(), double=st.booleans())
def test_hash_encoding(backend, spec, points, seed, strided, double):
    table = random(seed, spec.n_entries, spec.n_features)
    exact = encoded("torch", points.double(), table.double(), spec)
    given_points = points.double() if double else points  # points follow the table's dtype
    value, to_table, to_points = encoded(
        backend, layouts(given_points, strided), layouts(table, strided), spec
    )
    assert value.dtype == torch.float32 and to_points.dtype == given_points.dtype
    # A position is at most max_resolution, known to half a unit in its last place twice over; that is the
    # error of a weight, of which eight meet entries of up to `largest`.
    largest = max(1.0, float(table.abs().max()))
    error = 8 * spec.max_resolution * EPSILON * largest + 1e-5
    torch.testing.assert_close(value.double(), exact[0], rtol=0, atol=error)
    torch.testing.assert_close(to_table.double(), exact[1], rtol=1e-5, atol=max(1, len(points)) * error)
    clear = ~border(points, spec)
    slope = spec.max_resolution * spec.output_dim
    torch.testing.assert_close(
        to_points[clear].double(), exact[2][clear], rtol=1e-4, atol=slope * (error + 1e-5)
    )
    assert to_points.isfinite().all()
    beyond = (points < 0) | (points > 1)
    assert (to_points[beyond] == 0).all()


@pytest.mark.parametrize("backend", ["cpu", "triton"])
def test_gradients_have_the_twins_zeros(backend):
    """Entries that no point touches get nothing at all, those that one touches get something."""
    spec = GridSpec(n_levels=4, log2_hashmap_size=12, base_resolution=4, max_resolution=64)
    where, table = torch.rand(40, 3, generator=torch.Generator().manual_seed(0)), random(0, spec.n_entries, 2)
    ours, twin = (encoded(b, where, table, spec)[1] for b in (backend, "torch"))
    assert ((ours == 0) == (twin == 0)).all() and 0.01 < (ours != 0).float().mean() < 0.5


def test_more_samples_than_float32_can_count():
    """2^24 + 5 in one call are what they are in pieces."""
    spec = GridSpec(n_levels=1, log2_hashmap_size=10, base_resolution=8, max_resolution=8)
    count = (1 << 24) + 5
    where = torch.rand(count, 3, generator=torch.Generator().manual_seed(0))
    table = random(0, spec.n_entries, 2)
    pieces = [slice(0, 1000), slice((1 << 24) - 500, count)]
    parameter = leaf(table)
    with use_backend("cpu"):
        whole = hash_encode(where, parameter, spec)
        whole.sum().backward()
        total = torch.zeros_like(table).double()
        for part in where.split(1 << 22):
            piece = leaf(table)
            hash_encode(part, piece, spec).sum().backward()
            total += piece.grad
    # An entry's sum runs over 30,000 points or more in float32, in one order and in another.
    torch.testing.assert_close(parameter.grad.double(), total, rtol=1e-4, atol=0)
    with use_backend("cpu"), torch.no_grad():
        for piece in pieces:
            assert whole[piece].equal(hash_encode(where[piece], table, spec))
        ends = torch.tensor([0, 3, 1 << 24, count])
        optical_depth = torch.full((count,), 1e-8)
        whole = composite(optical_depth, torch.ones(count, 3), torch.ones(count), ends)
        # 2^24 samples of 1e-8: 1 - exp(-0.16777213), although each is below a float32's last digit of 1
        expected = -torch.expm1(-torch.full((3,), 1e-8, dtype=torch.float64) * ends.diff())
        torch.testing.assert_close(whole.accumulation.double(), expected, rtol=1e-6, atol=0)


# --- the small network


@every_backend
@FEW
@given(
    widths=st.lists(st.integers(1, 70), min_size=2, max_size=5),
    count=st.sampled_from([0, 1, 2, 31, 130, 300]),
    seed=seeds,
    strided=st.booleans(),
)
def test_mlp(backend, widths, count, seed, strided):
    weights = [
        random(seed + k, widths[k + 1], widths[k]) * (2 / widths[k]) ** 0.5 for k in range(len(widths) - 1)
    ]
    x = random(seed, count, widths[0])
    value, to_x, *to_weights = through(backend, layouts(x, strided), [layouts(w, strided) for w in weights])
    exact = through("torch", x.double(), [w.double() for w in weights])
    # Sums of at most 70 float32 products of order one, layer after layer
    torch.testing.assert_close(value.double(), exact[0], rtol=1e-5, atol=1e-4)
    hidden, settled = x.double(), torch.ones(count, dtype=torch.bool)
    for weight in weights[:-1]:  # where ReLU's input is zero but for rounding, its slope is a toss-up
        hidden = hidden @ weight.double().T
        settled &= (hidden.abs() > 1e-4).all(-1)
        hidden = hidden.relu()
    torch.testing.assert_close(to_x[settled].double(), exact[1][settled], rtol=1e-4, atol=1e-3)
    if settled.all():
        for ours, theirs in zip(to_weights, exact[2:], strict=True):
            torch.testing.assert_close(ours.double(), theirs, rtol=1e-4, atol=1e-3)


def through(backend, x, weights):
    x, weights = leaf(x), [leaf(weight) for weight in weights]
    with use_backend(backend):
        result = mlp(x, weights)
    result.backward(torch.arange(result.numel(), dtype=result.dtype).view(result.shape).cos())
    return result.detach(), x.grad, *(weight.grad for weight in weights)


# --- compositing


@every_backend
@FEW
@given(
    counts=st.lists(st.integers(0, 12), max_size=12),
    kinds=st.lists(st.sampled_from([0.0, 1e-9, 1e-4, 0.03, 0.3, 2.0, 30.0, 1e5]), min_size=8, max_size=8),
    seed=seeds,
    strided=st.booleans(),
)
def test_compositing(backend, counts, kinds, seed, strided):
    offsets = torch.tensor([0, *counts]).cumsum(0)
    count = int(offsets[-1])
    optical_depth = torch.tensor(kinds).repeat(count // 8 + 1)[:count] * (1 + random(seed, count).sigmoid())
    rgb, distances = random(seed, count, 3).sigmoid(), random(seed, count).abs()
    case = [layouts(t, strided) for t in (optical_depth, rgb, distances)]
    exact = [t.double() for t in (optical_depth, rgb, distances)]
    results = composited(backend, *case, offsets), composited("torch", *exact, offsets)
    for ours, theirs in zip(*results, strict=True):
        # Weights of order one, to a few units in float32's last place; gradients are differences of those.
        torch.testing.assert_close(ours.double(), theirs, rtol=1e-5, atol=1e-5)


def test_spread_is_the_double_sum():
    optical_depth, positions = random(0, 9).double().abs(), random(1, 9).double().sort().values
    offsets = torch.tensor([0, 4, 4, 9])
    expected = []
    for first, last in ((0, 4), (4, 4), (4, 9)):
        t = optical_depth[first:last]
        weights = torch.exp(-(t.cumsum(0) - t)) * (1 - torch.exp(-t))
        s = positions[first:last]
        expected.append((weights[:, None] * weights * (s[:, None] - s).abs()).sum())
    for backend, dtype, error in (("torch", torch.float64, 1e-12), ("cpu", torch.float32, 1e-6)):
        with use_backend(backend):
            ours = distortion_loss(optical_depth.to(dtype), positions.to(dtype), offsets)
        torch.testing.assert_close(ours.double(), torch.stack(expected), rtol=0, atol=error)


def composited(backend, optical_depth, rgb, distances, offsets):
    optical_depth, rgb = leaf(optical_depth), leaf(rgb)
    with use_backend(backend):
        out = composite(optical_depth, rgb, distances, offsets)
        front = transmittance(optical_depth, offsets)
        median = median_depth(optical_depth, distances, offsets)
        apart = distortion_loss(optical_depth, distances, offsets)
    (out.rgb.sin().sum() + (out.accumulation**2).sum() - out.depth.cos().sum() + apart.sum()).backward()
    return *(part.detach() for part in (*out, apart)), optical_depth.grad, rgb.grad, front, median


# --- marching


@pytest.mark.parametrize("contract", [False, True])
@FEW
@given(
    rays=st.sampled_from([0, 1, 40]),
    side=st.integers(1, 9),
    share=st.sampled_from([0.0, 0.1, 0.5, 1.0]),
    step=st.sampled_from([0.06, 0.25, 1.3]),
    seed=seeds,
    grid_points=st.booleans(),
)
def test_triton_keeps_the_very_samples_of_the_twin(contract, rays, side, share, step, seed, grid_points):
    generator = torch.Generator().manual_seed(seed)
    origins = torch.randn(rays, 3, generator=generator) * 1.5
    if grid_points:  # rays that run along the borders of cells
        origins = (origins * 2).round() / 2
    directions = torch.nn.functional.normalize(torch.randn(rays, 3, generator=generator), dim=-1)
    directions[: rays // 4] = torch.eye(3)[torch.arange(rays // 4) % 3]
    cells = torch.rand(side, side, side, generator=generator) < share
    arguments = {
        "bounds": torch.tensor([[-1.0, -0.5, -1.0], [1.0, 1.5, 1.0]]),
        "step": step,
        "offsets": torch.rand(rays, generator=generator),
        "near": 0.1,
        "far": 20.0 if contract else float("inf"),
        "contract": contract,
    }
    results = []
    for backend in ("triton", "torch"):
        with use_backend(backend):
            results.append(march(origins, directions, cells, **arguments))
    assert all(a.equal(b) for a, b in zip(*results, strict=True))


# --- merging


@every_backend
@FEW
@given(
    counts=st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=600),
    seed=seeds,
    double=st.booleans(),
)
def test_merging_is_a_stable_sort(backend, counts, seed, double):
    generator = torch.Generator().manual_seed(seed)
    both = []
    for per_ray in zip(*counts, strict=True) if counts else ((), ()):
        per_ray = torch.tensor(per_ray, dtype=torch.int64)
        ray = torch.arange(len(per_ray)).repeat_interleave(per_ray)
        middles = torch.randint(9, (len(ray),), generator=generator)  # few: many at the same place
        middles = middles[np.lexsort((middles, ray))].to(torch.float64 if double else torch.float32)
        both.append(Samples.packed(middles - 0.25, middles + 0.25, ray, len(per_ray)))
    with use_backend(backend):
        merged, order = merge(*both)
    rays, middles = (torch.cat([getattr(s, n) for s in both]) for n in ("ray_index", "distances"))
    first = torch.arange(len(rays)) >= both[0].count
    wanted = np.lexsort((first, middles, rays))  # the last key counts most
    assert order.tolist() == wanted.tolist()
    assert merged.distances.equal(middles[wanted]) and merged.ray_index.equal(rays[wanted])
    assert merged.offsets.equal(both[0].offsets + both[1].offsets)


# --- half precision


def test_half_precision_reads_what_it_says_and_sums_in_float32():
    """Against the twin on parameters that were rounded to half: that is all that may differ."""
    spec = GridSpec(n_levels=4, log2_hashmap_size=10, base_resolution=4, max_resolution=32)
    where, table = (
        torch.rand(200, 3, generator=torch.Generator().manual_seed(0)),
        random(1, spec.n_entries, 2),
    )
    with use_precision("half"):
        half = encoded("triton", where, table, spec)
    exact = encoded("torch", where.double(), table.half().double(), spec)
    torch.testing.assert_close(half[0].double(), exact[0], rtol=0, atol=5e-5)
    torch.testing.assert_close(half[1].double(), exact[1], rtol=0, atol=1e-3)
    assert not half[0].equal(encoded("triton", where, table, spec)[0])


@pytest.mark.parametrize("scale", [1.0, 1e-9, 1e4])
def test_half_precision_keeps_gradients_of_any_size(scale):
    """1e-9 is nothing and 1e9 infinity in float16; the backward brings them into its range and back."""
    weights = [random(k, *shape) * 0.2 for k, shape in enumerate([(64, 16), (64, 64), (4, 64)])]
    x, factors = random(7, 150, 16), random(8, 150, 4) * scale
    results = []
    for backend, precision, dtype in (("triton", "half", torch.float32), ("torch", "single", torch.float64)):
        leaves = [leaf(t.to(dtype)) for t in (x, *weights)]
        with use_backend(backend), use_precision(precision):
            mlp(leaves[0], leaves[1:]).backward(factors.to(dtype))
        results.append([t.grad for t in leaves])
    for ours, theirs in zip(*results, strict=True):
        # float16 has 11 bits; a few of 64 x 150 ReLUs flip by them
        cosine = torch.nn.functional.cosine_similarity(ours.double().flatten(), theirs.flatten(), 0)
        assert ours.isfinite().all() and cosine > 0.999
        assert float(ours.norm() / theirs.norm()) == pytest.approx(1, rel=0.01)
