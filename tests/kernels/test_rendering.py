"""Rays in one pass: the twin against closed forms, the compiled pass against the twin in float64."""

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nerf_insert.kernels import (
    FieldWeights,
    GridSpec,
    query_along,
    render_rays,
    renders_in_one_pass,
    use_backend,
)

SPEC = GridSpec(n_levels=8, log2_hashmap_size=10, base_resolution=4, max_resolution=64)
LIMITS = {"step": 1 / 32, "near": 0.02, "far": 50.0}
FULL = torch.ones(8, 8, 8, dtype=torch.bool)


def layers(widths, generator):
    pairs = pairwise(widths)
    return [torch.randn(b, a, generator=generator) * (2 / a) ** 0.5 for a, b in pairs]


def a_field(head=True, bias=1.0, seed=0):
    generator = torch.Generator().manual_seed(seed)
    table = torch.randn(SPEC.n_entries, 2, generator=generator)
    trunk = layers([16, 32, 16 if head else 4], generator)
    return FieldWeights(SPEC, table, trunk, layers([15 + 5, 32, 32, 3], generator) if head else [], bias)


def some_rays(count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    towards = torch.randn(count, 3, generator=generator)
    towards[: count // 8, 0] = 0  # parallel to a side of the cells
    directions = torch.nn.functional.normalize(towards, dim=-1)
    return torch.randn(count, 3, generator=generator), directions, torch.randn(count, 5, generator=generator)


def doubled(field):
    """The same field in float64."""
    trunk, head = ([weight.double() for weight in weights] for weights in (field.trunk, field.head))
    return field._replace(table=field.table.double(), trunk=trunk, head=head)


def in_double(origins, directions, features, field, occupancy, **limits):
    """The twin."""
    with use_backend("torch"):
        rays = (origins.double(), directions.double(), features.double())
        return render_rays(*rays, doubled(field), occupancy, **limits)


def test_a_field_of_one_density_is_beers_law():
    field = a_field()._replace(table=torch.zeros(SPEC.n_entries, 2), density_bias=-1.0)
    origins, directions, features = some_rays(20)
    field = field._replace(head=[torch.zeros(3, 20)])
    for backend, out in (
        ("torch", in_double(origins, directions, features, field, FULL, **LIMITS)),
        ("cpu", render_rays(origins, directions, features, field, FULL, **LIMITS)),
    ):
        light = math.exp(-math.exp(-1.0) * (LIMITS["far"] - LIMITS["near"]))  # 1e-8
        assert torch.allclose(out.accumulation.double(), torch.tensor(1.0 - light).double()), backend
        assert torch.allclose(out.rgb, out.accumulation[:, None] / 2), backend
        half = LIMITS["near"] + math.log(2) * math.e
        # Half of the light is stopped at most half a sample from that sample's middle; far samples are long.
        size = (origins + half * directions).abs().amax(-1).clamp_min(1)
        assert ((out.depth - half).abs() < LIMITS["step"] * size**2).all(), backend


@pytest.mark.parametrize("cells", [8, 16, 64])
@pytest.mark.parametrize("head", [True, False])
@settings(max_examples=8)
@given(seed=st.integers(0, 1000), stop=st.sampled_from([0.0, 1e-3, 0.1]))
def test_one_pass_is_the_twin(head, cells, seed, stop):
    field, rays = a_field(head, seed=seed), some_rays(100, seed)
    share = 0.4 if cells < 64 else 0.02  # with whole blocks that are empty
    occupancy = torch.rand(cells, cells, cells, generator=torch.Generator().manual_seed(seed)) < share
    occupancy[: cells // 2, :, : cells // 2] = False
    out = render_rays(*rays, field, occupancy, stop=stop, **LIMITS)
    twin = in_double(*rays, field, occupancy, stop=stop, **LIMITS)
    # float32 densities reach exp(5): optical depths are off by up to 1e-5; a weight within that of `stop` may
    # count on one side only.
    near = 2e-5 if stop == 0 else 2e-5 + 3 * stop
    assert (out.rgb - twin.rgb).abs().amax() < near
    assert (out.accumulation - twin.accumulation).abs().amax() < near
    exact = (out.rgb - twin.rgb).abs().amax(-1) < 2e-5
    assert exact.float().mean() > 0.97
    assert torch.equal(out.depth.isfinite(), twin.depth.isfinite())
    # Half of the light may be stopped just where a sample ends, with nothing behind it for a while: then
    # rounding decides, as a little more or less density does.
    little = (field._replace(density_bias=field.density_bias + change) for change in (-1e-4, 1e-4))
    less, more = (in_double(*rays, denser, occupancy, stop=stop, **LIMITS).depth for denser in little)
    sure = twin.depth.isfinite() & torch.isclose(less, more, rtol=1e-5)
    assert sure.sum() >= twin.depth.isfinite().sum() - 3
    assert torch.allclose(out.depth[sure].double(), twin.depth[sure], rtol=1e-5)


def test_stopping_early_takes_no_more_than_it_may():
    field, rays = a_field(bias=3.0), some_rays(400)
    every, few = (render_rays(*rays, field, FULL, stop=stop, **LIMITS) for stop in (0.0, 1e-3))
    lost = every.accumulation - few.accumulation
    assert lost.min() > -1e-6 and 0 < lost.max() < 1e-3 * 150  # samples of a ray that may be left out
    assert ((every.rgb - few.rgb).abs().amax(-1) <= lost + 1e-6).all()


def test_a_ray_is_the_same_bits_whatever_is_beside_it():
    field, (origins, directions, features) = a_field(), some_rays(700)
    whole = render_rays(origins, directions, features, field, FULL, stop=1e-4, **LIMITS)
    some = torch.randperm(700, generator=torch.Generator().manual_seed(1))[:55]
    part = render_rays(origins[some], directions[some], features[some], field, FULL, stop=1e-4, **LIMITS)
    assert all(torch.equal(a[some], b) for a, b in zip(whole, part, strict=True))


def test_no_rays_and_no_cells():
    origins, directions, features = some_rays(3)
    empty = render_rays(origins, directions, features, a_field(), torch.zeros_like(FULL), **LIMITS)
    assert not empty.rgb.any() and not empty.accumulation.any() and empty.depth.isinf().all()
    none = render_rays(origins[:0], directions[:0], features[:0], a_field(), FULL, **LIMITS)
    assert none.rgb.shape == (0, 3) and none.depth.shape == (0,)


def test_only_a_backend_that_has_the_pass_is_asked_for_it():
    assert renders_in_one_pass(torch.zeros(1))
    assert not renders_in_one_pass(torch.zeros(1, dtype=torch.float64))


@pytest.mark.parametrize("head", [True, False])
@settings(max_examples=8)
@given(seed=st.integers(0, 1000), stop=st.sampled_from([0.0, 1e-3, 0.1]))
def test_samples_along_rays_in_one_pass_are_the_twin(head, seed, stop):
    generator = torch.Generator().manual_seed(seed)
    counts = torch.randint(0, 30, (90,), generator=generator)
    offsets = torch.cat([torch.zeros(1, dtype=torch.int64), counts.cumsum(0)])
    units = torch.rand(int(offsets[-1]), 3, generator=generator)
    lengths = torch.rand(len(units), generator=generator) / 10
    features, field = torch.randn(90, 5, generator=generator), a_field(head, seed=seed)
    density, rgb = query_along(units, lengths, offsets, features, field, stop)
    with use_backend("torch"):
        twin = query_along(units.double(), lengths.double(), offsets, features.double(), doubled(field), stop)
    alike = (density > 0) == (twin[0] > 0)  # a weight within rounding of `stop` may fall on either side
    assert alike.float().mean() > 0.99
    assert torch.allclose(density[alike].double(), twin[0][alike], rtol=1e-4)
    assert (rgb - twin[1])[alike].abs().amax() < 1e-5
