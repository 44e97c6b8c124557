"""The tiny capture and scene (see support/tiny.py), made once per run; shapes in signatures are checked."""

import os
import shutil
from pathlib import Path

import jaxtyping
import pytest
from hypothesis import settings
from type_checks import Loader, checked_once

# The same examples in every run; a busy machine is no failure. `make check` takes the profile quick.
settings.register_profile("all", derandomize=True, deadline=None)
settings.register_profile("quick", derandomize=True, deadline=None, max_examples=10)
settings.load_profile("all")

if "PYTEST_XDIST_WORKER" in os.environ:  # every worker has a core of its own; before torch is loaded
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# Every function of these packages checks its annotations, shapes included, while the tests run. Kernels that
# Numba and Triton compile are left out: they compile source, not wrapped functions.
PACKAGES = (
    "app capture cli editing evaluation export fields geometry hub io lighting plugin reconstruction regions "
    "rendering runtime scene selection training inpaint.api inpaint.guide inpaint.registry inpaint.diffusion "
    "inpaint.mesh inpaint.remote inpaint.clear inpaint.fill.shading inpaint.fill.depth_views "
    "inpaint.fill.inpainter inpaint.fill.surfaces inpaint.fill.texture "
    "kernels.compositing kernels.hashgrid kernels.marching kernels.mlp kernels.rendering kernels.samples "
    "kernels.reference"
)
jaxtyping.jaxtyped = checked_once
jaxtyping._import_hook._JaxtypingLoader = Loader
jaxtyping.install_import_hook([f"nerf_insert.{name}" for name in PACKAGES.split()], "type_checks.checked")

import nerf_insert  # noqa: E402, F401  # before torch: it says how OpenMP's threads are to wait
from nerf_insert.runtime import kernel_warmup  # noqa: E402

# isort: split
import torch  # noqa: E402

if not torch.cuda.is_available():  # Triton's kernels are tried in its interpreter then
    os.environ.setdefault("TRITON_INTERPRET", "1")


# Whole edits and trainings, browsers, nerfstudio's commands, Triton's interpreter. `make check` leaves out
# these and the tests that carry the marker themselves.
SLOW = (
    "app/test_api app/test_browser app/test_jobs app/test_root_path app/test_views benchmarks/ "
    "cli/test_check cli/test_doctor cli/test_edit cli/test_models cli/test_names cli/test_train "
    "compatibility/ editing/test_killed editing/test_loop editing/test_preview editing/test_shades "
    "editing/test_widening evaluation/test_edit_metrics examples/ export/ fields/test_nerfacto "
    "inpaint/diffusion/test_families "
    "inpaint/fill/test_inpainter inpaint/mesh/ inpaint/remote/ kernels/test_every_backend "
    "kernels/test_splatting kernels/test_triton lighting/ plugin/ reconstruction/test_make "
    "runtime/test_devices scene/test_adopt_splats selection/ test_errors training/test_exposure "
    "training/test_layer_trainer"
).split()


class CompiledOnce:
    """Kernels are compiled while the workers collect their tests, not by each worker and its processes."""

    def pytest_sessionstart(self):
        self.compiling = kernel_warmup.start(splats=True)

    def pytest_xdist_node_collection_finished(self):
        """The workers get their tests after this."""
        if self.compiling:
            self.compiling.wait()


def pytest_configure(config):
    if config.getoption("numprocesses", None):  # in the process that has workers
        config.pluginmanager.register(CompiledOnce())


def pytest_collection_modifyitems(items):
    for item in items:
        if item.path.relative_to(Path(__file__).parent).as_posix().startswith(tuple(SLOW)):
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory):
    """A folder with capture/ and scene/ in it, which tests leave as they are."""
    import tiny

    folder = tmp_path_factory.mktemp("tiny")
    tiny.tiny_capture(folder / "capture")
    tiny.tiny_scene(folder, folder / "capture")
    return folder


@pytest.fixture
def capture_folder(tiny_folder, tmp_path):
    """A copy of the tiny capture."""
    return shutil.copytree(tiny_folder / "capture", tmp_path / "capture")


@pytest.fixture
def scene_folder(tiny_folder, tmp_path):
    """A copy of the tiny scene; its capture is the one that all tests share."""
    return shutil.copytree(tiny_folder / "scene", tmp_path / "scene")


@pytest.fixture
def coarse_light(monkeypatch):
    """The scene's light and shadows are found quickly and coarsely (see support/less_work.py)."""
    import less_work

    less_work.coarse_light(monkeypatch.setattr)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory):
    """A function from a family's name to the folder of a small random model (support/tiny_models.py)."""
    import tiny_models

    folder, made = tmp_path_factory.mktemp("models"), {}

    def build(family):
        if family not in made:
            made[family] = tiny_models.build(family, folder)
        return made[family]

    return build


@pytest.fixture
def offline(monkeypatch):
    """Any connection fails the test."""
    import socket

    def refuse(self, address):
        raise AssertionError(f"a request was made, to {address}")

    monkeypatch.setattr(socket.socket, "connect", refuse)
