"""`nerf-insert models` against a hub on this machine, in processes of their own: the hub's address and the
cache's place are read when its library is imported."""

import json
import os
import shutil
import subprocess
import sys

import pytest
from hub import Hub

from nerf_insert.hub.catalog import MODELS
from nerf_insert.inpaint.diffusion.inpainter import DiffusionInpainter
from nerf_insert.inpaint.guide import Guide

SD15 = "stable-diffusion-v1-5/stable-diffusion-inpainting"


@pytest.fixture
def hub(tiny_model, tmp_path):
    """With sd15-inpaint in it, both safe and unsafe, plain and half precision; and a gated repository."""
    folder = shutil.copytree(tiny_model("sd15"), tmp_path / "served" / SD15)
    unet = folder / "unet"
    shutil.copy(
        unet / "diffusion_pytorch_model.safetensors", unet / "diffusion_pytorch_model.fp16.safetensors"
    )
    (unet / "diffusion_pytorch_model.bin").write_bytes(b"pickle")
    (folder / "sd-v1-5-inpainting.ckpt").write_bytes(b"pickle")
    (folder / "all-in-one.safetensors").write_bytes(b"a second copy")
    only_pickles = tmp_path / "served" / "some" / "pickles"
    only_pickles.mkdir(parents=True)
    (only_pickles / "model.bin").write_bytes(b"pickle")
    flux = tmp_path / "served" / "black-forest-labs" / "FLUX.1-Fill-dev"
    shutil.copytree(tiny_model("flux-fill"), flux)
    served = Hub(tmp_path / "served", gated=["black-forest-labs/FLUX.1-Fill-dev"])
    yield served
    served.close()


@pytest.fixture
def models(hub, tmp_path):
    """Run the command; (exit code, answer)."""

    def run(*words, address=None, **environment):
        where = {"HF_HOME": str(tmp_path / "home"), "HF_ENDPOINT": address or hub.address}
        env = {k: v for k, v in os.environ.items() if not k.startswith("HF_")} | where | environment
        done = subprocess.run(
            [sys.executable, "-m", "nerf_insert", "models", *words, "--json"],
            env=env,
            capture_output=True,
            text=True,
            timeout=120,
        )
        return done.returncode, json.loads(done.stdout)

    return run


def test_pull_then_find_then_nothing_more_is_asked(models, hub, tmp_path):
    code, answer = models("path", "sd15-inpaint")
    assert code == 2 and "models pull sd15-inpaint" in answer["error"] and not hub.asked
    code, answer = models("pull", "sd15-inpaint")
    assert code == 0
    folder = answer["path"]
    names = sorted(os.path.relpath(os.path.join(d, f), folder) for d, _, fs in os.walk(folder) for f in fs)
    assert "unet/diffusion_pytorch_model.fp16.safetensors" in names and "model_index.json" in names
    assert "unet/diffusion_pytorch_model.safetensors" not in names  # the same twice as large
    assert not [
        name for name in names if name.endswith((".bin", ".ckpt")) or name == "all-in-one.safetensors"
    ]
    made = DiffusionInpainter(model=folder, device="cpu")  # of parts in half precision and parts that are not
    assert made._load_sampler(Guide(prompt="a hat")).pipeline.unet.config.in_channels == 9
    hub.asked.clear()
    assert models("path", "sd15-inpaint") == (0, {"ok": True, "name": "sd15-inpaint", "path": folder})
    assert models("path", SD15)[1]["path"] == folder
    code, answer = models("list")
    here = [entry["name"] for entry in answer["models"] if entry["path"]]
    assert here == ["sd15-inpaint"] and not hub.asked
    assert {entry["license"] for entry in answer["models"]} >= {entry.license for entry in MODELS}


def test_what_stands_in_the_way_is_said(models, hub):
    code, answer = models("pull", "flux-fill")
    assert code == 2 and "accept" in answer["error"] and "Non-Commercial" in answer["error"]
    code, answer = models("pull", "nobody/nothing")
    assert code == 2 and "the Hugging Face hub has no nobody/nothing" in answer["error"]
    code, answer = models("pull", "some/pickles")
    assert code == 2 and "only pickles, which can execute code" in answer["error"]
    code, answer = models("pull", "no-such-model")
    assert code == 2 and "there is no model 'no-such-model'" in answer["error"]
    hub.asked.clear()
    code, answer = models("pull", "sd15-inpaint", HF_HUB_OFFLINE="1")
    assert code == 2 and "HF_HUB_OFFLINE" in answer["error"] and not hub.asked
    code, answer = models("pull", "sd15-inpaint", address="http://127.0.0.1:9")  # nobody listens there
    assert code == 1 and "cannot download" in answer["error"] and "network" in answer["error"]


def test_bad_words(capsys):
    from nerf_insert.cli.main import main

    assert main(["models", "pull"]) == 2
    assert "models pull needs a name" in capsys.readouterr().err
    assert main(["models", "fetch", "x"]) == 2
    assert main(["models", "list", "x"]) == 2
