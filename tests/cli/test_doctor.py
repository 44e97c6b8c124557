"""`doctor`: what it says of this machine, and of broken ones."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from numba.core.caching import UserProvidedCacheLocator

from nerf_insert.cli.main import main
from nerf_insert.kernels import dispatch, use_backend
from nerf_insert.kernels.cpu import backend
from nerf_insert.runtime import kernel_warmup


def doctor(capsys, code=0):
    assert main(["doctor", "--json"]) == code
    return json.loads(capsys.readouterr().out)


@pytest.fixture
def plain(monkeypatch):
    for name in ("NERF_INSERT_DEVICE", "NERF_INSERT_KERNELS", "NERF_INSERT_PRECISION"):
        monkeypatch.delenv(name, raising=False)


def test_what_it_says_of_this_machine(plain, capsys):
    found = doctor(capsys)
    assert found["ok"] and found["problems"] == []
    assert found["versions"]["torch"] == torch.__version__.split("+")[0]
    assert found["threads"]["torch"] == torch.get_num_threads()
    cpu = found["kernels"][0]
    assert (cpu["device"], cpu["picked"], cpu["precision"]) == ("cpu", "cpu", "single")
    assert cpu["error"] < 1e-5 and set(cpu["others"]) == {"tcnn", "triton", "torch"}
    assert found["cache"]["files"] > 0
    assert bool(found["gpu"]["found"]) == torch.cuda.is_available()
    assert found["gpu"]["found"] or found["gpu"]["why_none"]


def test_in_words(plain, capsys):
    assert main(["doctor"]) == 0
    text = capsys.readouterr().out
    assert "Kernels on cpu: cpu" in text and "No problems found." in text and torch.__version__[:4] in text


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("NERF_INSERT_KERNELS", "fortran"),
        ("NERF_INSERT_KERNELS", "tcnn"),
        ("NERF_INSERT_DEVICE", "abacus"),
    ],
)
def test_what_is_asked_for_and_is_not_there(plain, capsys, monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    found = doctor(capsys, code=1)
    assert not found["ok"] and value in found["problems"][0]["what"] and name in found["problems"][0]["do"]
    assert main(["doctor"]) == 1
    assert "PROBLEM" in capsys.readouterr().out


def test_kernels_that_compute_nonsense_are_found_out(plain, capsys, monkeypatch):
    right = backend.hash_encode
    monkeypatch.setattr(backend, "hash_encode", lambda *words: 1.01 * right(*words))
    assert "wrong numbers" in doctor(capsys, code=1)["problems"][0]["what"]


def test_kernels_that_do_not_load_are_named(plain, capsys, monkeypatch):
    broken = dispatch.Backend("nerf_insert.kernels.no_such_module", ("cpu",), (torch.float32,))
    monkeypatch.setitem(dispatch.BACKENDS, "cpu", broken)
    for cached in (dispatch._module, dispatch.failure):
        cached.cache_clear()
    try:
        found = doctor(capsys, code=1)
    finally:
        for cached in (dispatch._module, dispatch.failure):
            cached.cache_clear()
    assert found["kernels"][0]["picked"] == "torch" and "no_such_module" in found["problems"][0]["what"]
    assert "numba" in found["problems"][0]["do"]


def test_kernels_are_compiled_ahead_by_a_process_of_their_own(tmp_path, monkeypatch):
    """And the next process finds all of them. Those that take long to compile are there already where this
    machine's own cache has them."""
    here = Path(backend.__file__).parent
    place = tmp_path / UserProvidedCacheLocator.get_suitable_cache_subpath(backend.__file__)
    place.mkdir()
    for file in (here / "__pycache__").glob("*.nb[ci]"):
        if not file.name.startswith(("compositing.", "samples.")):
            shutil.copy(file, place)
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    monkeypatch.delenv("NERF_INSERT_KERNELS", raising=False)
    monkeypatch.setattr(kernel_warmup, "_started", None)
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    assert not kernel_warmup.is_cached()
    begun = kernel_warmup.start()
    assert begun is not None and kernel_warmup.start() is begun and begun.wait(timeout=300) == 0
    assert kernel_warmup.is_cached()
    monkeypatch.setattr(kernel_warmup, "_started", None)
    assert kernel_warmup.start() is None
    program = """
from nerf_insert.runtime import kernel_warmup
from nerf_insert.kernels.cpu import compositing as a, hashgrid as b, marching as c, mlp as d
kernel_warmup.compile_all()
kernels = [a.forward, a.backward, a.distortion_loss, a.distortion_loss_backward]
kernels += [a.median_depth, a.transmittance]
kernels += [b.forward, b.backward, b.backward_points, c.box, c.contracted, c.coarse, d.forward, d.backward]
print(*(sum(len(side) for side in sides) for sides in (
    [kernel.stats.cache_misses for kernel in kernels], [kernel.stats.cache_hits for kernel in kernels])))
"""
    out = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    missed, hit = map(int, out.stdout.split())
    assert missed == 0 and hit >= 14


def test_nothing_is_compiled_ahead_for_other_backends(tmp_path, monkeypatch):
    monkeypatch.setattr(kernel_warmup, "_started", None)
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    monkeypatch.setenv("NERF_INSERT_KERNELS", "torch")
    assert kernel_warmup.start() is None
    with use_backend(None):
        assert not kernel_warmup.is_cached()
