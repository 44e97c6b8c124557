"""Export a scene folder as a nerfstudio run, for `ns-viewer`, `ns-render`, `ns-eval` and `ns-export`.

OUT/NAME/nerf-insert/TIME/    config.yml, dataparser_transforms.json, nerfstudio_models/, scene/
"""

from __future__ import annotations

import copy
import os
import time
from pathlib import Path
from typing import Any, cast

import torch
import yaml

from nerf_insert.capture.dataparsers import quiet
from nerf_insert.errors import InputError
from nerf_insert.export.dataset import check_export_folder
from nerf_insert.io.files import atomic_write, replacing
from nerf_insert.plugin.coordinates import Frame
from nerf_insert.plugin.run_scene import dataparser_for
from nerf_insert.scene.scene import Scene
from nerf_insert.scene.scene_copy import copy_scene


def export_run(scene: Scene, out: str | Path) -> dict[str, Any]:
    """Export a scene as a nerfstudio run, for `ns-viewer`, `ns-render`, `ns-eval` and `ns-export`.

    Args:
        scene: The scene, which is copied into the run.
        out: The folder of runs.

    Returns:
        {"config": the file name of its config.yml}.

    Raises:
        InputError: nerfstudio cannot read the capture, or `out` cannot be used.
        RunError: The disk cannot be written.
    """
    from nerfstudio.data.datamanagers.base_datamanager import VanillaDataManagerConfig

    from nerf_insert.plugin.config import NerfInsertPipelineConfig, nerf_insert

    out = Path(out)
    check_export_folder(scene, out)
    config = copy.deepcopy(nerf_insert.config)
    capture = scene.capture_as_found
    parser = dataparser_for(scene)
    try:
        with quiet():
            outputs = parser.setup().get_dataparser_outputs(split="train")
    except (Exception, SystemExit) as error:
        raise InputError(f"nerfstudio's dataparser cannot read {capture.path}: {error!r}") from error
    Frame.of(outputs, capture)  # check that nerfstudio and the scene have the same cameras
    config.output_dir = out.resolve()
    config.experiment_name = scene.folder.resolve().name
    config.timestamp = time.strftime("%Y-%m-%d_%H%M%S")
    pipeline = config.pipeline
    assert isinstance(pipeline, NerfInsertPipelineConfig)  # see the config that it is a copy of
    assert isinstance(pipeline.datamanager, VanillaDataManagerConfig)
    config.data = pipeline.datamanager.data = capture.path
    pipeline.datamanager.dataparser = parser
    folder = config.get_base_dir()
    copied = copy_scene(scene.folder, folder / "scene")
    pipeline.scene = copied.folder.resolve()
    outputs.save_dataparser_transform(folder / "dataparser_transforms.json")
    state = {
        "scene": str(copied.folder.resolve()),
        "scene_from_here": os.path.relpath(copied.folder),
        "layers": [entry.folder for entry in copied.layers if entry.enabled],
    }
    whole = {"step": 0, "pipeline": state, "optimizers": {}, "schedulers": {}, "scalers": {}}
    with replacing(folder / "nerfstudio_models" / "step-000000000.ckpt") as new:
        torch.save(whole, new)
    atomic_write(folder / "config.yml", cast(str, yaml.dump(config)))  # text, as no stream is given
    return {"config": str(folder / "config.yml")}
