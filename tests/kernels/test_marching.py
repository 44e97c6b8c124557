"""Marching: a slow loop in Python for the twin, the twin for every backend, sample by sample."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nerf_insert.kernels import march, use_backend

BACKENDS = ["cpu", "torch"]
BOX = torch.tensor([[-1.0, -0.5, 0.0], [1.0, 1.5, 3.0]])
FULL = torch.ones(4, 4, 4, dtype=torch.bool)


def random_rays(n: int, seed: int = 0, reach: float = 3.0):
    generator = torch.Generator().manual_seed(seed)
    origins = torch.randn(n, 3, generator=generator) * reach
    towards = torch.rand(n, 3, generator=generator) * torch.tensor([2.0, 2.0, 3.0]) + BOX[0] - origins
    towards[: n // 8, 0] = 0  # along sides of the box
    towards[: n // 16, 1] = 0
    return origins, torch.nn.functional.normalize(towards, dim=-1)


def random_cells(side: int = 16, share: float = 0.1, seed: int = 0) -> torch.Tensor:
    return torch.rand(side, side, side, generator=torch.Generator().manual_seed(seed)) < share


def on(backend, *args, **kwargs):
    with use_backend(backend):
        return march(*args, **kwargs)


def slow_box(o, d, occupancy, bounds, step, u, near, far):
    """One ray by the book."""
    entry, leave = near, far
    for k in range(3):
        low, high = bounds[0][k], bounds[1][k]
        if d[k] == 0:
            if not low <= o[k] <= high:
                return []
            continue
        a, b = sorted([(low - o[k]) / d[k], (high - o[k]) / d[k]])
        entry, leave = max(entry, a), min(leave, b)
    samples, k = [], 0
    while entry + (k - u) * step < leave and leave > entry:
        start, end = max(entry + (k - u) * step, entry), min(entry + (k + 1 - u) * step, leave)
        middle = [o[i] + (start + end) / 2 * d[i] for i in range(3)]
        if end > start and occupied(middle, occupancy, *bounds):
            samples.append((start, end))
        k += 1
    return samples


def slow_contracted(o, d, occupancy, step, u, near, far):
    samples, start, share = [], near, 1 - u
    while start < far:
        size = max(1, *(abs(o[i] + start * d[i]) for i in range(3)))
        end = min(start + share * step * size**2, far)
        x = [o[i] + (start + end) / 2 * d[i] for i in range(3)]
        size = max(abs(c) for c in x)
        if size > 1:
            x = [(2 - 1 / size) * c / size for c in x]
        if end > start and occupied(x, occupancy, (-2, -2, -2), (2, 2, 2)):
            samples.append((start, end))
        start, share = start + share * step * max(1, *(abs(o[i] + start * d[i]) for i in range(3))) ** 2, 1
    return samples


def occupied(x, occupancy, low, high) -> bool:
    cell = [int((x[k] - low[k]) / (high[k] - low[k]) * occupancy.shape[k]) for k in range(3)]
    return bool(occupancy[tuple(min(max(c, 0), occupancy.shape[k] - 1) for k, c in enumerate(cell))])


@pytest.mark.parametrize("contract", [False, True])
def test_the_twin_against_a_slow_loop(contract):
    origins, directions = (x.double() for x in random_rays(60, reach=2))
    cells, u = random_cells(8, 0.5), torch.rand(60, generator=torch.Generator().manual_seed(5)).double()
    limits = {"near": 0.3, "far": 6.0}
    with use_backend("torch"):
        samples = march(
            origins, directions, cells, bounds=BOX, step=0.07, offsets=u, contract=contract, **limits
        )
    for ray in range(60):
        o, d, shift = origins[ray].tolist(), directions[ray].tolist(), u[ray].item()
        if contract:
            expected = slow_contracted(o, d, cells, 0.07, shift, **limits)
        else:
            expected = slow_box(o, d, cells, BOX.tolist(), 0.07, shift, **limits)
        mine = slice(int(samples.offsets[ray]), int(samples.offsets[ray + 1]))
        got = list(zip(samples.starts[mine].tolist(), samples.ends[mine].tolist(), strict=True))
        assert len(got) == len(expected)
        assert [x for pair in got for x in pair] == pytest.approx(
            [x for pair in expected for x in pair], abs=1e-9
        )
    assert samples.count > 200


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_full_box_is_cut_from_entry_to_exit(backend):
    origins, directions = torch.tensor([[-3.0, 0.0, 1.0]]), torch.tensor([[1.0, 0.0, 0.0]])
    samples = on(backend, origins, directions, FULL, bounds=BOX, step=0.3)
    assert samples.count == 7  # 2 / 0.3 = 6.67
    assert samples.starts.tolist() == pytest.approx([2 + 0.3 * k for k in range(7)])
    assert samples.ends.tolist() == pytest.approx([2.3 + 0.3 * k for k in range(6)] + [4.0])
    shifted = on(backend, origins, directions, FULL, bounds=BOX, step=0.3, offsets=torch.tensor([0.25]))
    assert shifted.starts.tolist() == pytest.approx([2.0] + [2.225 + 0.3 * k for k in range(6)])
    near_far = on(backend, origins, directions, FULL, bounds=BOX, step=0.3, near=2.5, far=3.0)
    assert near_far.starts.tolist() == pytest.approx([2.5, 2.8]) and near_far.ends[-1].item() == 3.0


@pytest.mark.parametrize("backend", BACKENDS)
def test_rays_that_miss_start_inside_or_run_along_a_side(backend):
    origins = torch.tensor([[5.0, 5, 5], [0, 0, 1], [-1, 0, 1], [1.1, 0, 1], [0, 0, 9]])
    directions = torch.tensor([[1.0, 0, 0], [0, 0, 1], [0, 0, 1], [0, 0, 1], [0, 0, 1]])
    samples = on(backend, origins, directions, FULL, bounds=BOX, step=0.5)
    assert samples.offsets.diff().tolist() == [0, 4, 4, 0, 0]
    assert samples.starts[0].item() == 0


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("contract", [False, True])
def test_nothing_comes_of_nothing(backend, contract):
    none = torch.zeros(0, 3)
    samples = on(backend, none, none, FULL, bounds=BOX, step=0.1, far=9.0, contract=contract)
    assert samples.count == 0 and samples.offsets.tolist() == [0]
    origins, directions = random_rays(20)
    samples = on(backend, origins, directions, ~FULL, bounds=BOX, step=0.1, far=9.0, contract=contract)
    assert samples.count == 0 and samples.offsets.tolist() == [0] * 21


@pytest.mark.parametrize("side", [1, 5, 32])
@pytest.mark.parametrize("share", [0.001, 0.1, 1.0])
@pytest.mark.parametrize("step", [0.004, 0.05, 1.3])
def test_cpu_keeps_the_very_samples_of_the_twin_in_a_box(side, share, step):
    origins, directions = random_rays(400)
    cells, u = random_cells(side, share), torch.rand(400, generator=torch.Generator().manual_seed(2))
    ours, theirs = (
        on(b, origins, directions, cells, bounds=BOX, step=step, offsets=u, near=0.2) for b in BACKENDS
    )
    assert all(a.equal(b) for a, b in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("side", [1, 5, 32])
@pytest.mark.parametrize("share", [0.001, 0.1, 1.0])
@pytest.mark.parametrize("step", [0.01, 0.3])
@pytest.mark.parametrize("reach", [0.3, 3.0])
def test_cpu_keeps_the_very_samples_of_the_twin_in_contracted_space(side, share, step, reach):
    origins, directions = random_rays(400, reach=reach)
    cells, u = random_cells(side, share), torch.rand(400, generator=torch.Generator().manual_seed(2))
    ours, theirs = (
        on(
            b,
            origins,
            directions,
            cells,
            bounds=BOX,
            step=step,
            offsets=u,
            near=0.05,
            far=200.0,
            contract=True,
        )
        for b in BACKENDS
    )
    assert all(a.equal(b) for a, b in zip(ours, theirs, strict=True))


@settings(max_examples=min(50, settings.default.max_examples), deadline=None)
@given(
    st.lists(
        st.tuples(*[st.sampled_from([-2.0, -1.0, -0.5, 0.0, 0.25, 1.0, 1.5, 3.0])] * 3),
        min_size=1,
        max_size=8,
    ),
    st.lists(st.tuples(*[st.sampled_from([-1.0, 0.0, 0.5, 1.0])] * 3).filter(any), min_size=8, max_size=8),
    st.sampled_from([0.125, 0.25, 0.3]),
    st.booleans(),
)
def test_rays_along_cell_borders(origins, directions, step, contract):
    """Coordinates that fall on the borders of cells, sides and samples, where rounding would show."""
    origins = torch.tensor(origins)
    directions = torch.nn.functional.normalize(torch.tensor(directions[: len(origins)]), dim=-1)
    cells = random_cells(8, 0.3)
    ours, theirs = (
        on(b, origins, directions, cells, bounds=BOX, step=step, far=20.0, contract=contract)
        for b in BACKENDS
    )
    assert all(a.equal(b) for a, b in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("contract", [False, True])
def test_empty_cells_do_not_move_samples(contract):
    origins, directions = random_rays(300)
    arguments = {"bounds": BOX, "step": 0.05, "far": 30.0, "contract": contract}
    some = on("cpu", origins, directions, random_cells(16, 0.05), **arguments)
    every = on("cpu", origins, directions, FULL, **arguments)
    samples = {
        (r, s, e)
        for r, s, e in zip(every.ray_index.tolist(), every.starts.tolist(), every.ends.tolist(), strict=True)
    }
    kept = {
        (r, s, e)
        for r, s, e in zip(some.ray_index.tolist(), some.starts.tolist(), some.ends.tolist(), strict=True)
    }
    assert kept < samples and len(kept) > 100


@pytest.mark.parametrize("backend", BACKENDS)
def test_contracted_steps_are_about_equal(backend):
    """In contracted space; outside the unit cube too, to first order, a piece along a radius is one step."""
    origins, directions = torch.zeros(1, 3), torch.tensor([[0.0, 0.0, 1.0]])
    samples = on(backend, origins, directions, FULL, bounds=BOX, step=0.01, far=1e3, contract=True)

    def contracted(t):
        return torch.where(t > 1, 2 - 1 / t, t)

    lengths = contracted(samples.ends) - contracted(samples.starts)
    # |x| grows by 1 + step * |x| within a piece, so the last pieces of 2 - 1/|x| become shorter
    inside = samples.ends < 10
    assert inside.sum() > 150
    torch.testing.assert_close(lengths[inside], torch.full_like(lengths[inside], 0.01), rtol=0.11, atol=0)
    assert samples.starts[1:].equal(samples.ends[:-1])


@pytest.mark.parametrize("contract", [False, True])
def test_many_rays_of_as_many_samples(contract):
    """32 each: whatever power of two a compiled walk makes room for, it is full just where a ray begins."""
    origins, directions = torch.zeros(600, 3), torch.tensor([0.0, 0.0, 1.0]).expand(600, 3)
    arguments = {"bounds": BOX, "step": 1 / 64, "offsets": torch.full((600,), 0.25), "contract": contract}
    ours, theirs = (on(b, origins, directions, FULL, far=31.75 / 64, **arguments) for b in BACKENDS)
    assert theirs.offsets.diff().tolist() == [32] * 600
    assert all(a.equal(b) for a, b in zip(ours, theirs, strict=True))


def test_float64_rays_give_float64_samples():
    origins, directions = (x.double() for x in random_rays(5))
    assert march(origins, directions, FULL, bounds=BOX, step=0.1).starts.dtype == torch.float64


@pytest.mark.parametrize("contract", [False, True])
def test_inputs_need_not_be_contiguous_and_threads_change_no_bit(contract):
    origins, directions = random_rays(2000)
    cells = random_cells()
    arguments = {"bounds": BOX, "step": 0.03, "far": 20.0, "contract": contract}
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = on("cpu", origins, directions, cells, **arguments)
        torch.set_num_threads(2)
        strided = [torch.stack([x, x], -1)[..., 0] for x in (origins, directions, cells)]
        two = on("cpu", *strided, **arguments)
    finally:
        torch.set_num_threads(before)
    assert all(a.equal(b) for a, b in zip(one, two, strict=True))


def test_samples_are_the_midpoints_of_their_rays():
    origins, directions = random_rays(100)
    samples = march(origins, directions, FULL, bounds=BOX, step=0.1)
    midpoints = samples.midpoints(origins, directions)
    assert ((midpoints > BOX[0] - 1e-5) & (midpoints < BOX[1] + 1e-5)).all()
    assert samples.ray_index.equal(torch.arange(100).repeat_interleave(samples.offsets.diff()))


@pytest.mark.parametrize("wrong", [{"step": 0.0}, {"step": math.nan}, {"step": 0.1, "contract": True}])
def test_what_cannot_be_marched(wrong):
    origins, directions = random_rays(3)
    with pytest.raises(ValueError, match=r"step|far"):
        march(origins, directions, FULL, bounds=BOX, **wrong)
