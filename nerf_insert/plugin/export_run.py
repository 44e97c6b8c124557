"""A scene folder as a run of nerfstudio's: `ns-viewer`, `ns-render`, `ns-eval` and `ns-export` open it.

OUT/NAME/nerf-insert/TIME/    config.yml, dataparser_transforms.json, nerfstudio_models/, scene/
"""

from __future__ import annotations

import copy
import os
import time
from pathlib import Path
from typing import Any

import torch
import yaml

from nerf_insert.dataparsers import NO_POINTS, guess, other_dataparser, quiet
from nerf_insert.errors import InputError
from nerf_insert.files import atomic_write, replacing
from nerf_insert.plugin.frame import Frame
from nerf_insert.plugin.scene_copy import copy_scene
from nerf_insert.scene import Scene


def export_run(scene: Scene, out: Path) -> dict[str, Any]:
    """Write the run; {"config": its config.yml}. Raises InputError, RunError."""
    from nerf_insert.plugin.config import nerf_insert

    config = copy.deepcopy(nerf_insert.config)
    capture = scene.capture_as_found
    parser = dataparser_for(scene)
    try:
        with quiet():
            outputs = parser.setup().get_dataparser_outputs(split="train")
    except (Exception, SystemExit) as error:
        raise InputError(f"nerfstudio's dataparser cannot read {capture.path}: {error!r}") from error
    Frame.of(outputs, capture)  # that nerfstudio and the scene mean the same cameras
    config.output_dir = out.resolve()
    config.experiment_name = scene.folder.resolve().name
    config.timestamp = time.strftime("%Y-%m-%d_%H%M%S")
    config.data = config.pipeline.datamanager.data = capture.path
    config.pipeline.datamanager.dataparser = parser
    folder = config.get_base_dir()
    copied = copy_scene(scene.folder, folder / "scene")
    config.pipeline.scene = copied.folder.resolve()
    outputs.save_dataparser_transform(folder / "dataparser_transforms.json")
    state = {
        "scene": str(copied.folder.resolve()),
        "scene_from_here": os.path.relpath(copied.folder),
        "layers": [entry.folder for entry in copied.layers if entry.enabled],
    }
    whole = {"step": 0, "pipeline": state, "optimizers": {}, "schedulers": {}, "scalers": {}}
    with replacing(folder / "nerfstudio_models" / "step-000000000.ckpt") as new:
        torch.save(whole, new)
    atomic_write(folder / "config.yml", yaml.dump(config))
    return {"config": str(folder / "config.yml")}


def dataparser_for(scene: Scene) -> Any:
    """The config of a dataparser of nerfstudio's that reads the scene's capture."""
    said = scene.loaded_with
    path = scene.capture_as_found.path
    name = (said["dataparser"] or guess(path)).removesuffix("-data")
    config = other_dataparser(name)
    config.data = path
    for key, value in NO_POINTS.items():
        if hasattr(config, key):
            setattr(config, key, value)
    factor = said["downscale"]
    if hasattr(config, "downscale_factor"):
        small = factor and factor == int(factor) and (path / f"images_{int(factor)}").is_dir()
        config.downscale_factor = int(factor) if small else 1
    return config
