"""Choosing a backend, and the threads that the compiled one runs on."""

import subprocess
import sys
import threading

import pytest
import torch

from nerf_insert.errors import InputError, RunError
from nerf_insert.kernels import (
    GridSpec,
    active_backend,
    dispatch,
    hash_encode,
    precision,
    use_backend,
    use_precision,
)
from nerf_insert.kernels.cpu.threads import run

SPEC = GridSpec(n_levels=2, log2_hashmap_size=8, base_resolution=4, max_resolution=16)


def test_the_compiled_backends_are_the_default(monkeypatch):
    monkeypatch.delenv(dispatch.VARIABLE, raising=False)
    assert active_backend("cpu") == "cpu"
    order = {name: dispatch.BACKENDS[name] for name in ("cpu", "tcnn", "triton", "torch")}
    monkeypatch.setattr(dispatch, "BACKENDS", order)  # as it is where Triton compiles
    pytest.importorskip("triton")
    assert active_backend("cuda") == "triton"


@pytest.mark.skipif(not dispatch.INTERPRETED, reason="Triton compiles here")
def test_triton_interpreted_is_only_used_if_asked_for(monkeypatch):
    monkeypatch.delenv(dispatch.VARIABLE, raising=False)
    assert active_backend("cuda") == "torch"
    points, table = (
        torch.rand(9, 3, generator=torch.Generator().manual_seed(0)),
        torch.randn(SPEC.n_entries, 2, generator=torch.Generator().manual_seed(0)),
    )
    with use_backend("triton"):
        assert active_backend("cpu") == active_backend("cuda") == "triton"
        ours = hash_encode(points, table, SPEC)
    torch.testing.assert_close(ours, hash_encode(points, table, SPEC), rtol=1e-3, atol=1e-3)


def test_the_environment_and_use_backend_force_one(monkeypatch):
    monkeypatch.setenv(dispatch.VARIABLE, "torch")
    assert active_backend("cpu") == "torch"
    with use_backend("cpu"):
        assert active_backend("cpu") == "cpu"
        with use_backend("torch"):
            assert active_backend("cpu") == "torch"
        assert active_backend("cpu") == "cpu"
    assert active_backend("cpu") == "torch"
    use_backend("cpu")
    assert active_backend("cpu") == "cpu"
    use_backend(None)
    assert active_backend("cpu") == "torch"


def test_precisions_are_forced_like_backends(monkeypatch):
    numbers = torch.zeros(1)
    monkeypatch.delenv(precision.VARIABLE, raising=False)
    assert precision.number_type(numbers) == torch.float16
    assert precision.number_type(numbers.double()) == torch.float64
    monkeypatch.setenv(precision.VARIABLE, "single")
    assert precision.number_type(numbers) == torch.float32
    with use_precision("half"):
        assert precision.number_type(numbers) == torch.float16
    monkeypatch.setenv(precision.VARIABLE, "quarter")
    with pytest.raises(InputError, match=f"{precision.VARIABLE}.*quarter.*half, single"):
        precision.precision()


def test_unknown_and_unfit_backends_are_named(monkeypatch):
    with pytest.raises(InputError, match=r"'fortran'.*cpu, tcnn"):
        use_backend("fortran")
    monkeypatch.setenv(dispatch.VARIABLE, "fortran")
    with pytest.raises(InputError, match=f"{dispatch.VARIABLE}.*fortran"):
        active_backend("cpu")
    with use_backend("cpu"), pytest.raises(InputError, match="does not work on cuda"):
        active_backend("cuda")


def test_a_backend_that_cannot_be_loaded_is_passed_over_or_explained(monkeypatch):
    monkeypatch.delenv(dispatch.VARIABLE, raising=False)
    missing = dispatch.Backend("nerf_insert.kernels.missing_backend", ("cpu",), ())
    monkeypatch.setattr(dispatch, "BACKENDS", {"missing": missing, **dispatch.BACKENDS})
    with pytest.warns(UserWarning, match="missing_backend"):
        assert active_backend("cpu") == "cpu"
    with use_backend("missing"), pytest.raises(RunError, match="missing_backend"):
        active_backend("cpu")


def test_other_dtypes_go_to_the_twin():
    with use_backend("cpu"):
        result = hash_encode(
            torch.rand(5, 3, generator=torch.Generator().manual_seed(0)),
            torch.randn(SPEC.n_entries, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0)),
            SPEC,
        )
    assert result.dtype == torch.float64


def test_numba_is_imported_when_it_is_used_and_not_before():
    """And this test can fail: the last line imports it."""
    program = (
        "import sys, torch; from nerf_insert import kernels; assert 'numba' not in sys.modules;"
        "kernels.active_backend('cpu'); print('numba' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "True"


def test_run_does_each_task_once_and_passes_errors_on():
    done = []
    run(lambda task, add: done.append(task + add), 100, 5)
    assert sorted(done) == list(range(5, 105))
    run(done.append, 0)

    def fails(task):
        if task == 3:
            raise RuntimeError("task 3")

    with pytest.raises(RuntimeError, match="task 3"):
        run(fails, 8)


def test_run_has_the_threads_that_it_is_told_to_have():
    before, there = torch.get_num_threads(), threading.Barrier(5)
    try:
        torch.set_num_threads(5)
        run(lambda task: there.wait(timeout=60), 5)  # ends only if five tasks run side by side
    finally:
        torch.set_num_threads(before)


def test_several_threads_may_use_kernels_at_once():
    """A web page does."""
    table, points = (
        torch.randn(SPEC.n_entries, 2, generator=torch.Generator().manual_seed(0)),
        torch.rand(40_000, 3, generator=torch.Generator().manual_seed(0)),
    )
    with use_backend("cpu"):
        expected = hash_encode(points, table, SPEC)
        results = [None] * 4

        def encode(i):
            results[i] = hash_encode(points, table, SPEC)

        threads = [threading.Thread(target=encode, args=(i,)) for i in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert all(result.equal(expected) for result in results)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not fork")
def test_kernels_work_in_a_forked_child():
    """As in the workers of a data loader, whose parent has used kernels already."""
    program = """
import os, torch
from nerf_insert.kernels.cpu.threads import run
torch.set_num_threads(2)
run(lambda task: None, 8)
child = os.fork()
if child == 0:
    done = []
    run(done.append, 8)
    os._exit(0 if len(done) == 8 else 1)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    assert result.stdout.strip() == "0"
