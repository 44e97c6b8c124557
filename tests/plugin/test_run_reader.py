"""Run folders of others: read without running anything in them, and hostile ones refused."""

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from nerf_insert.errors import InputError
from nerf_insert.plugin.checkpoint_reader import read_state, read_weights
from nerf_insert.plugin.run_reader import Name, Plain, newest_checkpoint, read_config, read_run

HARMLESS = """!!python/object:nerfstudio.engine.trainer.TrainerConfig
_target: !!python/name:nerfstudio.engine.trainer.Trainer ''
output_dir: !!python/object/apply:pathlib.PosixPath [outputs, here]
pipeline: !!python/object:nerfstudio.pipelines.base_pipeline.VanillaPipelineConfig
  model: !!python/object:nerfstudio.models.nerfacto.NerfactoModelConfig
    num_proposal_samples_per_ray: !!python/tuple [256, 96]
"""


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


@pytest.fixture(scope="module")
def methods():
    from nerfstudio.configs.method_configs import all_methods

    return all_methods


def test_a_config_becomes_plain_data(tmp_path):
    config = read_config(written(tmp_path / "config.yml", HARMLESS))
    assert config.kind == "nerfstudio.engine.trainer.TrainerConfig"
    assert config.get("output_dir") == Path("outputs/here")
    assert config.get("_target") == Name("nerfstudio.engine.trainer.Trainer")
    assert isinstance(config.get("_target"), Name)
    assert config.get("pipeline.model.num_proposal_samples_per_ray") == (256, 96)
    assert config.get("pipeline.model.nothing", 3) == 3


def test_every_config_that_nerfstudio_writes_is_read_and_says_the_same(methods, tmp_path):
    """Against yaml's own unsafe loader, which builds the real objects."""
    from nerf_insert.plugin.run_reader import plain

    for name, method in methods.items():
        if "ExternalMethod" in type(method).__name__:
            continue
        text = yaml.dump(method)
        ours = read_config(written(tmp_path / "config.yml", text))
        theirs = plain(yaml.load(text, Loader=yaml.Loader))
        assert ours.get("pipeline.model") == theirs.get("pipeline.model"), name
        assert ours.get("pipeline.datamanager.dataparser") == theirs.get("pipeline.datamanager.dataparser")


HOSTILE = {
    "a call": "!!python/object/apply:os.system ['touch {proof}']",
    "a call of nerfstudio's own": "!!python/object/apply:nerfstudio.utils.scripts.run_command [echo]",
    "a new object": "!!python/object/new:os.system ['touch {proof}']",
    "a new type": "!!python/object/new:type [x, !!python/tuple [], {{extend: !!python/name:exec ''}}]",
    "an object of another module": "!!python/object:subprocess.Popen {{args: [touch, '{proof}']}}",
    "a name": "!!python/name:os.system ''",
    "a module": "!!python/module:os ''",
    "getattr": "!!python/object/apply:getattr [!!python/name:os.system '', system]",
    "an item of what is no class": "!!python/object/apply:_operator.getitem [{{a: 1}}, a]",
    "a call in a path": "!!python/object/apply:pathlib.Path [!!python/object/apply:os.mkdir ['{proof}']]",
    "a tag of its own": "!run 'touch {proof}'",
}


@pytest.mark.parametrize("kind", HOSTILE)
@pytest.mark.parametrize("inside", [False, True])
def test_a_hostile_config_is_refused_and_nothing_is_run(tmp_path, kind, inside):
    proof = tmp_path / "was-run"
    text = HOSTILE[kind].format(proof=proof)
    if inside:
        text = HARMLESS + f"    prompt: {text}\n"
    with pytest.raises(InputError, match=r"config\.yml, line \d+.*refused") as caught:
        read_config(written(tmp_path / "config.yml", text))
    assert not proof.exists() and "--trust" in str(caught.value)


def test_the_hostile_config_would_have_run(tmp_path):
    """So that the test above can fail: nerfstudio's own loader, which --trust uses, runs it."""
    proof = tmp_path / "was-run"
    text = HARMLESS + f"    prompt: {HOSTILE['a call'].format(proof=proof)}\n"
    config = read_config(written(tmp_path / "config.yml", text), trust=True)
    assert proof.exists() and config.get("pipeline.model.prompt") == 0


@pytest.mark.parametrize(
    "text, says",
    [
        ("", "not the config"),
        ("a: 1", "not the config"),
        ("a: [", "not valid YAML"),
        ("[" * 5000, "not"),
        ("!!python/tuple 3", "config"),
    ],
)
def test_what_is_no_config_is_named(tmp_path, text, says):
    with pytest.raises(InputError, match=says):
        read_config(written(tmp_path / "config.yml", text))


def test_a_run_is_its_config_and_its_newest_checkpoint(tmp_path):
    models = tmp_path / "nerfstudio_models"
    models.mkdir()
    for name in ("step-000000009.ckpt", "step-000000100.ckpt", "notes.txt", "step-x.ckpt", "step-2.ckpt.tmp"):
        (models / name).write_text("")
    written(tmp_path / "config.yml", HARMLESS)
    run = read_run(tmp_path)
    assert run.checkpoint.name == "step-000000100.ckpt" and run.transform is None
    assert newest_checkpoint(models, 9).name == "step-000000009.ckpt"
    with pytest.raises(InputError, match="of step 3"):
        newest_checkpoint(models, 3)
    with pytest.raises(InputError, match="no folder of checkpoints"):
        newest_checkpoint(tmp_path / "elsewhere")
    with pytest.raises(InputError, match=r"no pipeline\.datamanager"):
        _ = run.dataparser


def test_a_run_that_is_not_there(tmp_path):
    with pytest.raises(InputError, match="there is no file"):
        read_run(tmp_path / "config.yml")


# --- checkpoints


class Call:
    def __init__(self, command: str):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


def state(**more):
    return {"step": 7, "pipeline": {"_model.field.a": torch.ones(2)}, **more}


def test_learning_rates_of_numpy_are_no_code(tmp_path):
    """nerfstudio's schedulers leave them in its checkpoints."""
    numbers = {"lr": np.float64(0.01), "n": np.int64(3), "f": np.float32(1), "b": np.bool_(True)}
    torch.save(state(optimizers=numbers), tmp_path / "c.ckpt")
    assert read_state(tmp_path / "c.ckpt")["optimizers"]["lr"] == 0.01


@pytest.mark.parametrize("where", ["optimizers", "pipeline"])
@pytest.mark.parametrize("plain_pickle", [False, True])
def test_a_hostile_checkpoint_is_refused_and_nothing_is_run(tmp_path, where, plain_pickle):
    proof, file = tmp_path / "was-run", tmp_path / "c.ckpt"
    hostile = state(**{where: {"x": Call(f"touch {proof}")}})
    file.write_bytes(pickle.dumps(hostile)) if plain_pickle else torch.save(hostile, file)
    with pytest.raises(InputError, match=r"refused|damaged") as caught:
        read_state(file)
    assert not proof.exists()
    if not plain_pickle:
        assert "system" in str(caught.value) and "--trust" in str(caught.value)


def test_the_hostile_checkpoint_would_have_run(tmp_path):
    proof, file = tmp_path / "was-run", tmp_path / "c.ckpt"
    torch.save(state(x=Call(f"touch {proof}")), file)
    read_state(file, trust=True)
    assert proof.exists()


def test_weights_are_finite_tensors_without_prefixes_of_several_gpus(tmp_path):
    file = tmp_path / "c.ckpt"
    torch.save({"pipeline": {"module._model.module.field.a": torch.ones(2)}}, file)
    assert list(read_weights(file)) == ["_model.field.a"]
    torch.save({"pipeline": {"_model.field.a": torch.tensor([1.0, float("nan")])}}, file)
    with pytest.raises(InputError, match="not finite"):
        read_weights(file)
    torch.save({"pipeline": {"_model.field.a": "text"}}, file)
    with pytest.raises(InputError, match="no tensor"):
        read_weights(file)


@pytest.mark.parametrize("content", [b"", b"nonsense", b"PK\x03\x04 cut off"])
def test_a_damaged_checkpoint_is_named(tmp_path, content):
    file = tmp_path / "c.ckpt"
    file.write_bytes(content)
    with pytest.raises(InputError, match=r"c\.ckpt"):
        read_state(file)


def test_what_is_no_checkpoint_is_named(tmp_path):
    torch.save([1, 2], tmp_path / "c.ckpt")
    with pytest.raises(InputError, match="no pipeline"):
        read_state(tmp_path / "c.ckpt")
    with pytest.raises(InputError, match="there is no checkpoint"):
        read_state(tmp_path / "none.ckpt")


def test_plain_objects_are_equal_by_what_they_hold():
    assert Plain("a", {"b": 1}) == Plain("a", {"b": 1}) != Plain("a", {"b": 2})
