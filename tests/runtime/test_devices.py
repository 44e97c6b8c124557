"""Where fields are computed: which device is picked, and the engine on one that is not the processor."""

import json

import numpy as np
import painters  # noqa: F401  # recipes name it
import pytest
import tiny
import torch
from elsewhere import DEVICE, Elsewhere, a_second_device

from nerf_insert.capture.capture import Capture
from nerf_insert.editing.loop import edit
from nerf_insert.errors import InputError, RunError
from nerf_insert.fields.hash_field import FieldConfig
from nerf_insert.fields.scene_field import SceneField
from nerf_insert.io.files import read_tensors
from nerf_insert.kernels import use_backend
from nerf_insert.runtime import devices
from nerf_insert.runtime.progress import SILENT
from nerf_insert.scene.recipe import Recipe
from nerf_insert.scene.scene import Scene
from nerf_insert.training.scene_trainer import TrainConfig, train_base


def test_a_gpu_is_used_where_there_is_one(monkeypatch):
    monkeypatch.delenv(devices.VARIABLE, raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert devices.device() == torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert devices.device() == torch.device("cuda")
    monkeypatch.setenv(devices.VARIABLE, "cpu")
    assert devices.device() == torch.device("cpu")


def test_one_of_several_gpus_becomes_the_current_one(monkeypatch):
    chosen = []
    monkeypatch.setenv(devices.VARIABLE, "cuda:1")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    assert devices.device() == torch.device("cuda:1") and chosen == [torch.device("cuda:1")]


@pytest.mark.parametrize(
    ("name", "error"), [("gpu", InputError), ("meta", InputError), ("cuda:7", RunError), ("cuda", RunError)]
)
def test_a_device_that_is_not_there_is_named(monkeypatch, name, error):
    monkeypatch.setenv(devices.VARIABLE, name)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(error, match=name):
        devices.device()


@pytest.fixture
def short_walks(monkeypatch):
    """Rays are walked along nearby and in long steps: the twin takes its time."""
    monkeypatch.setattr("nerf_insert.fields.scene_field.FAR", 20.0)
    monkeypatch.setattr("nerf_insert.fields.scene_field.STEP", 1 / 16)


@pytest.fixture
def elsewhere(monkeypatch):
    # Modules that have taken the name come first: one imported later would keep the replacement.
    monkeypatch.setattr("nerf_insert.training.scene_trainer.device", lambda: DEVICE)
    monkeypatch.setattr("nerf_insert.fields.load.device", lambda: DEVICE)
    monkeypatch.setattr("nerf_insert.runtime.devices.device", lambda: DEVICE)
    with a_second_device():
        yield


def test_the_second_device_is_strict(elsewhere):
    """Or the tests below would show nothing."""
    here = torch.rand(5, 3, generator=torch.Generator().manual_seed(0))
    there = here.flip(0).to(DEVICE)
    assert isinstance(there, Elsewhere) and isinstance(there[there[:, 0] > 0.5], Elsewhere)
    for mix in (
        lambda: there + here,
        lambda: torch.cat([there, here]),
        lambda: torch.rand(3, device=DEVICE, generator=torch.Generator()),
        lambda: np.asarray(there),
    ):
        with pytest.raises((RuntimeError, TypeError)):
            mix()
    assert type((there.cpu() + here).sum()) is torch.Tensor


def on_the_processor(work):
    """With the twin, whose numbers are to be the same elsewhere, bit for bit; by one thread, for several add
    up the table's gradient in any order."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with use_backend("torch"):
            return work()
    finally:
        torch.set_num_threads(threads)


def fewer(folder, views=5):
    """The tiny capture with some of its views only."""
    transforms = json.loads((folder / "transforms.json").read_text())
    transforms["frames"] = transforms["frames"][:views]
    names = [frame["file_path"] for frame in transforms["frames"]]
    transforms |= {"train_filenames": names[:-1], "val_filenames": names[-1:], "test_filenames": names[-1:]}
    (folder / "transforms.json").write_text(json.dumps(transforms))
    return Capture.load(folder)


def small_training(capture, path):
    config = TrainConfig(steps=3, samples=1024)
    field = FieldConfig(n_levels=3, log2_hashmap_size=10, width=16)
    return train_base(capture, config, field, SILENT, path / "checkpoint")


def test_training_takes_the_device(short_walks, capture_folder, tmp_path, request):
    capture = fewer(capture_folder)
    expected = on_the_processor(lambda: small_training(capture, tmp_path / "a"))
    request.getfixturevalue("elsewhere")
    base = on_the_processor(lambda: small_training(capture, tmp_path / "b"))
    assert all(isinstance(tensor, Elsewhere) for tensor in base.state_dict().values())
    base.save(tmp_path / "base.safetensors")
    saved = read_tensors(tmp_path / "base.safetensors")[0]
    for name, tensor in expected.state_dict().items():
        assert name == "weight_ema" or saved[name].equal(tensor.to(saved[name].dtype)), name


RECIPE = {"region": {"box": {"center": [*tiny.OBJECT[:3]], "size": [0.5] * 3}}, "inpainter": "painters:Quick"}


def small_edit(folder, capture, base):
    base.save(folder / "base.safetensors")
    Scene.create(folder / "scene", capture, SceneField.load(folder / "base.safetensors"))
    scene = Scene.open(folder / "scene")
    schedule = {"steps": 4, "rays": 128, "rounds": 2, "blend_width": 0.05, "min_coverage": 0.001}
    entry = edit(scene, Recipe.from_dict({**RECIPE, "schedule": schedule}), SILENT)
    stack = Scene.open(folder / "scene").stack()
    picture = stack.render_image(capture.test[0].camera.scaled(0.5))
    return read_tensors(scene.layer_folder(entry) / "field.safetensors")[0], picture, stack


def test_edits_and_pictures_take_the_device(short_walks, capture_folder, scene_folder, tmp_path, request):
    capture, base = fewer(capture_folder), Scene.open(scene_folder).base
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
    expected, shown, _ = on_the_processor(lambda: small_edit(tmp_path / "here", capture, base))
    request.getfixturevalue("elsewhere")
    layer, picture, stack = on_the_processor(lambda: small_edit(tmp_path / "there", capture, base))
    assert set(layer) == set(expected) and all(layer[name].equal(expected[name]) for name in layer)
    assert all(type(a) is torch.Tensor and a.equal(b) for a, b in zip(picture, shown, strict=True))
    assert stack.device == DEVICE and all(layer.occupancy.device == DEVICE for layer in stack.layers)
    density, _ = stack.query(torch.tensor([[0.0, 0.0, 0.3]]), torch.tensor([[0.0, 0.0, 1.0]]))
    assert type(density) is torch.Tensor and float(density) > 1
