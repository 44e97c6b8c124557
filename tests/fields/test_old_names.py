"""Files of the first version, whose buffers and metadata had other names."""

import json

import pytest
import torch

from nerf_insert.fields.hash_field import FieldConfig
from nerf_insert.fields.layer import LAYER_FIELD, Layer, unfinished_layer
from nerf_insert.fields.scene_field import SceneField
from nerf_insert.io.files import read_tensors, write_json, write_tensors
from nerf_insert.regions import BoxRegion
from nerf_insert.training.checkpoint import Checkpoint
from nerf_insert.training.optimizer import Optimizer

SMALL = FieldConfig(n_levels=4, log2_hashmap_size=10, max_resolution=64, width=16, view_dependent=False)
REGION = BoxRegion((0.3, -0.2, 0.4), (0.8, 0.5, 0.3))
OLD = {"weight_ema": "seen", "density_bias": "start"}


def layer(config=SMALL, seed=3):
    """A layer none of whose buffers is as in a new one."""
    made = Layer(REGION, config, blend_width=0.037, seed=seed, density_bias=-1.0)
    generator = torch.Generator().manual_seed(seed)
    made.weight_ema.copy_(torch.rand(made.weight_ema.shape, generator=generator))
    made.occupancy[:20] = False
    return made


def scene_field(seed=3):
    made = SceneField(SMALL, torch.eye(3, 4) / 2, seed)
    generator = torch.Generator().manual_seed(seed)
    made.weight_ema.copy_(torch.rand(made.weight_ema.shape, generator=generator))
    made.occupancy[:50] = False
    return made


def with_old_names(state):
    """The same state with each name's last part as the first version wrote it."""
    renamed = {}
    for name, tensor in state.items():
        *parents, last = name.split(".")
        renamed[".".join([*parents, OLD.get(last, last)])] = tensor
    assert renamed.keys() != state.keys()
    return renamed


def equal(one, two):
    return all(torch.equal(tensor, two.state_dict()[name]) for name, tensor in one.state_dict().items())


def test_layer_file(tmp_path):
    before, path = layer(), tmp_path / "field.safetensors"
    before.save(path)
    tensors, metadata = read_tensors(path)
    assert "weight_ema" not in tensors and "shell" not in metadata
    metadata["shell"] = metadata.pop("blend_width")
    write_tensors(path, with_old_names(tensors), metadata)
    after = Layer.load(path, REGION)
    assert after.blend_width == 0.037 and float(after.density_bias) == -1.0
    before.weight_ema.zero_()  # is not in the file
    assert equal(before, after)


@pytest.mark.parametrize("make", [layer, scene_field])
def test_state_dict(make):
    before, after = make(), make(seed=5)
    state = with_old_names(before.state_dict())
    after.load_state_dict(state)
    assert equal(before, after) and "seen" in state  # the caller's dictionary is left as it was
    with pytest.raises(RuntimeError, match="spare"):
        after.load_state_dict({**state, "spare": torch.zeros(1)})


@pytest.mark.parametrize("make", [layer, scene_field])
@pytest.mark.parametrize("nested", [False, True])
def test_checkpoint_resumes(tmp_path, make, nested):
    modules = [make(seed=seed) for seed in (3, 5)]
    before, after = [torch.nn.ModuleDict({"layer": m}) if nested else m for m in modules]
    path = old_checkpoint(tmp_path / "checkpoint.safetensors", before)
    step, extra = Checkpoint(path, after, {"run": "1"}).load(Optimizer(after, 1e-2, 10))
    assert step == 5 and extra == {"rays": 64} and equal(before, after)


def test_unfinished_layer(tmp_path):
    before = layer(LAYER_FIELD)
    old_checkpoint(tmp_path / "checkpoint.safetensors", before)
    write_json(tmp_path / "region" / "region.json", REGION.save(tmp_path / "region"))
    found = unfinished_layer(tmp_path)
    assert found is not None and equal(before, found)


def old_checkpoint(path, module):
    Checkpoint(path, module, {"run": "1"}).save(Optimizer(module, 1e-2, 10), 5, {"rays": 64})
    tensors, metadata = read_tensors(path)
    assert json.loads(metadata["notes"])["step"] == 5
    write_tensors(path, with_old_names(tensors), metadata)
    return path
