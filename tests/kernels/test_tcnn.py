"""The tiny-cuda-nn backend against the twin. The real library needs a GPU and a compiler: one written from
its source stands in for it."""

import importlib
import sys

import fake_tinycudann
import pytest
import torch

from nerf_insert.errors import RunError
from nerf_insert.kernels import (
    GridSpec,
    active_backend,
    dispatch,
    hash_encode,
    mlp,
    use_backend,
    use_precision,
)

SPEC = GridSpec(n_levels=5, log2_hashmap_size=10, base_resolution=4, max_resolution=64)


@pytest.fixture
def tcnn(monkeypatch):
    """The backend on the processor, with the library that is not the real one."""
    monkeypatch.setitem(sys.modules, "tinycudann", fake_tinycudann)
    monkeypatch.setitem(
        dispatch.BACKENDS, "tcnn", dispatch.BACKENDS["tcnn"]._replace(devices=("cuda", "cpu"))
    )
    forget(monkeypatch)
    fake_tinycudann.CALLS.clear()


def forget(monkeypatch):
    """Let the backend be imported anew, now and after the test."""
    for cached in (dispatch._module, dispatch.failure):
        cached.cache_clear()
        monkeypatch.setattr(dispatch, cached.__name__, cached)
    monkeypatch.delitem(sys.modules, "nerf_insert.kernels.tcnn", raising=False)


@pytest.fixture(autouse=True)
def clean():
    yield
    dispatch._module.cache_clear(), dispatch.failure.cache_clear()
    sys.modules.pop("nerf_insert.kernels.tcnn", None)


def random(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def gradients(function, *tensors):
    leaves = [t.detach().requires_grad_() for t in tensors]
    result = function(*leaves)
    result.backward(torch.arange(result.numel(), dtype=result.dtype).view(result.shape).cos())
    return result.detach(), *(t.grad for t in leaves)


@pytest.mark.parametrize("count", [1, 255, 256, 300])
@pytest.mark.parametrize("features", [1, 2, 4])
def test_a_table_means_the_same_to_it(tcnn, count, features):
    spec = GridSpec(5, features, 10, 4, 64)
    points = torch.rand(count, 3, generator=torch.Generator().manual_seed(0)) * 1.2 - 0.1
    table = random(1, spec.n_entries, features)
    with use_precision("single"), use_backend("tcnn"):
        ours = gradients(lambda p, t: hash_encode(p, t, spec), points, table)
    assert fake_tinycudann.CALLS == [256 if count <= 256 else 512]
    with use_backend("torch"):
        exact = gradients(lambda p, t: hash_encode(p, t, spec), points.double(), table.double())
    # float32 positions of up to 64 cells, weights of eight entries of order one
    torch.testing.assert_close(ours[0].double(), exact[0], rtol=0, atol=2e-4)
    torch.testing.assert_close(ours[2].double(), exact[2], rtol=0, atol=1e-3)
    torch.testing.assert_close(ours[1].double(), exact[1], rtol=1e-3, atol=0.1)
    assert ((points < 0) | (points > 1))[ours[1] == 0].all()


def test_half_precision_is_its_default(tcnn):
    points, table = torch.rand(50, 3), random(1, SPEC.n_entries, 2)
    with use_backend("tcnn"):
        result, to_points, to_table = gradients(lambda p, t: hash_encode(p, t, SPEC), points, table)
    assert result.dtype == to_table.dtype == to_points.dtype == torch.float32
    assert result.equal(result.half().float()) and not to_table.equal(torch.zeros_like(to_table))


@pytest.mark.parametrize(
    "widths", [(16, 64, 64, 4), (27, 64, 16), (31, 64, 64, 3), (5, 20, 7, 1), (8, 128, 2)]
)
def test_weights_mean_the_same_to_it(tcnn, widths):
    """Whatever the padding of widths and of inputs, and the layers' own widths where they differ."""
    weights = [random(k, widths[k + 1], widths[k]) * 0.2 for k in range(len(widths) - 1)]
    x = random(9, 300, widths[0])
    with use_backend("tcnn"):
        ours = gradients(lambda x, *w: mlp(x, w), x, *weights)
    assert fake_tinycudann.CALLS == [512]
    with use_backend("torch"):
        exact = gradients(lambda x, *w: mlp(x, w), x.double(), *(w.double() for w in weights))
    # half precision: 11 bits a number
    torch.testing.assert_close(ours[0].double(), exact[0], rtol=1e-2, atol=1e-2)
    for a, b in zip(ours[1:], exact[1:], strict=True):
        assert a.shape == b.shape
        assert torch.nn.functional.cosine_similarity(a.double().flatten(), b.flatten(), 0) > 0.99


def test_what_it_cannot_do_others_do(tcnn):
    three, table = GridSpec(2, 3, 8, 4, 8), None
    table = random(0, three.n_entries, 3)
    wide = [random(0, 200, 4), random(1, 2, 200)]
    with use_backend("tcnn"):
        assert hash_encode(torch.rand(3, 3), table, three).shape == (3, 6)
        assert hash_encode(torch.rand(0, 3), random(0, SPEC.n_entries, 2), SPEC).shape == (0, 10)
        assert mlp(torch.rand(3, 4), wide).shape == (3, 2)
        assert mlp(torch.rand(3, 4), [random(0, 2, 4)]).shape == (3, 2)
        with use_precision("single"):
            assert mlp(torch.rand(3, 4), [random(0, 16, 4), random(0, 2, 16)]).shape == (3, 2)
    assert fake_tinycudann.CALLS == []


def test_it_is_picked_where_it_imports(tcnn):
    assert active_backend("cuda") == "tcnn"


def test_its_absence_is_no_matter(monkeypatch, recwarn):
    forget(monkeypatch)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert active_backend("cuda") != "tcnn" and not recwarn.list
    with use_backend("tcnn"), pytest.raises(RunError, match="tinycudann is not installed"):
        active_backend("cuda")


def test_a_failure_to_import_says_the_real_cause(monkeypatch, tmp_path):
    (tmp_path / "tinycudann.py").write_text(
        "raise EnvironmentError('Could not find compatible tinycudann extension for compute capability 120.')"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "tinycudann", raising=False)
    forget(monkeypatch)
    with pytest.warns(UserWarning, match="extension for compute capability 120"):
        assert active_backend("cuda") != "tcnn"
    with use_backend("tcnn"), pytest.raises(RunError, match="extension for compute capability 120"):
        active_backend("cuda")
