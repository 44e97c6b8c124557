"""The configs of our two nerfstudio methods, which its entry points name.

Every `ns-train`, whatever its method, imports this module. It therefore needs nothing but nerfstudio and
plain data; what the configs refer to is imported when it is built. Saved config.yml files name the classes
and functions of this module, EditConfig too: they must stay importable from here.
"""

# pyright: reportAssignmentType=false, reportArgumentType=false
# nerfstudio declares `_target` as a type, and calls it: here it is often a function that imports late.
from __future__ import annotations

import os
import warnings
from dataclasses import dataclass, field
from typing import Any

import torch
from nerfstudio.configs.base_config import LoggingConfig, MachineConfig, ViewerConfig
from nerfstudio.data.datamanagers.base_datamanager import VanillaDataManagerConfig
from nerfstudio.data.dataparsers.nerfstudio_dataparser import NerfstudioDataParserConfig
from nerfstudio.engine.optimizers import AdamOptimizerConfig
from nerfstudio.engine.schedulers import ExponentialDecayScheduler, ExponentialDecaySchedulerConfig
from nerfstudio.engine.trainer import TrainerConfig
from nerfstudio.models.base_model import ModelConfig
from nerfstudio.pipelines.base_pipeline import VanillaPipelineConfig
from nerfstudio.plugins.types import MethodSpecification

from nerf_insert.plugin.datamanager import NerfInsertDataManager
from nerf_insert.plugin.edit_config import EditConfig, EditPipelineConfig

__all__ = [
    "EditConfig",  # config.yml files of version 0.1.0 name it here
    "NerfInsertBaseModelConfig",
    "NerfInsertModelConfig",
    "NerfInsertPipelineConfig",
    "nerf_insert",
    "nerf_insert_base",
]

ENCODING = "NERF_INSERT_ENCODING"  # set to 1: nerfstudio's own fields use our hash encoding on a CPU
BASE_STEPS = 1500


def trainer(config: Any, **options: Any) -> Any:
    """Build the NerfInsertTrainer of a config."""
    from nerf_insert.plugin.trainer import NerfInsertTrainer

    return NerfInsertTrainer(config, **options)


def pipeline(config: Any, **options: Any) -> Any:
    """Build the NerfInsertPipeline of a config."""
    from nerf_insert.plugin.pipeline import NerfInsertPipeline

    return NerfInsertPipeline(config, **options)


def model(config: Any, **options: Any) -> Any:
    """Build the NerfInsertModel of a config."""
    from nerf_insert.plugin.edit_model import NerfInsertModel

    return NerfInsertModel(config, **options)


def base_model(config: Any, **options: Any) -> Any:
    """Build the NerfInsertBaseModel of a config."""
    from nerf_insert.plugin.scene_model import NerfInsertBaseModel

    return NerfInsertBaseModel(config, **options)


def fused_adam(params: Any, **options: Any) -> Any:
    """Build torch's fused Adam, which is eight times as fast on a CPU."""
    return torch.optim.Adam(params, fused=True, betas=(0.9, 0.99), **options)


@dataclass
class NerfInsertModelConfig(ModelConfig):
    """A scene's base and the layers on top of it."""

    _target: type = field(default_factory=lambda: model)
    enable_collider: bool = False
    """Unused: a base samples its rays by itself."""
    eval_num_rays_per_chunk: int = 1 << 15


@dataclass
class NerfInsertPipelineConfig(EditPipelineConfig):
    """What is edited, and how."""

    _target: type = field(default_factory=lambda: pipeline)


@dataclass
class NerfInsertBaseModelConfig(ModelConfig):
    """NeRF-Insert's own base: a hash grid with an occupancy grid, quick on a CPU."""

    _target: type = field(default_factory=lambda: base_model)
    enable_collider: bool = False
    """Unused: the field marches through its occupancy grid."""
    eval_num_rays_per_chunk: int = 1 << 15
    num_levels: int = 16
    """Levels of the hash grid (L)."""
    log2_hashmap_size: int = 17
    """Entries of a level, as a power of two (log2 T)."""
    base_res: int = 16
    """Resolution of the coarsest level (N_min)."""
    max_res: int = 2048
    """Resolution of the finest level (N_max)."""
    hidden_dim: int = 64
    """Width of the networks."""
    samples_per_batch: int = 1 << 17
    """Samples along rays of one step; the number of rays follows."""
    training_steps: int = BASE_STEPS
    """Steps over which samples shrink and the occupancy grid settles: as many as you train for."""


@dataclass
class FusedAdamConfig(AdamOptimizerConfig):
    """torch's fused Adam."""

    _target: type = field(default_factory=lambda: fused_adam)


class PlainDecay(ExponentialDecayScheduler):
    """nerfstudio's exponential decay, with learning rates that are Python floats.

    nerfstudio leaves numpy's floats in checkpoints, which torch then refuses to load in `ns-eval` and others.
    """

    def get_scheduler(self, optimizer: torch.optim.Optimizer, lr_init: float) -> Any:
        """Return the scheduler of an optimizer."""
        theirs = super().get_scheduler(optimizer, lr_init)
        assert isinstance(theirs, torch.optim.lr_scheduler.LambdaLR)  # declared as any scheduler
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"]
        rates = [lambda step, rate=rate: float(rate(step)) for rate in theirs.lr_lambdas]
        return torch.optim.lr_scheduler.LambdaLR(optimizer, rates)


@dataclass
class PlainDecayConfig(ExponentialDecaySchedulerConfig):
    """The config of PlainDecay."""

    _target: type = field(default_factory=lambda: PlainDecay)


def _machine() -> MachineConfig:
    return MachineConfig(device_type="cuda" if torch.cuda.is_available() else "cpu")


def _data() -> VanillaDataManagerConfig:
    return VanillaDataManagerConfig(
        _target=NerfInsertDataManager, dataparser=NerfstudioDataParserConfig(), train_num_rays_per_batch=4096
    )


nerf_insert = MethodSpecification(
    TrainerConfig(
        _target=trainer,
        method_name="nerf-insert",
        machine=_machine(),
        logging=LoggingConfig(profiler="none"),
        steps_per_save=200,
        steps_per_eval_batch=10**9,
        steps_per_eval_image=10**9,
        steps_per_eval_all_images=10**9,
        pipeline=NerfInsertPipelineConfig(datamanager=_data(), model=NerfInsertModelConfig()),
        optimizers={},
        viewer=ViewerConfig(num_rays_per_chunk=1 << 13),
        vis="viewer",
    ),
    description="NeRF-Insert: change one place of a trained scene (--load-dir) and nothing else.",
)

nerf_insert_base = MethodSpecification(
    TrainerConfig(
        method_name="nerf-insert-base",
        machine=_machine(),
        logging=LoggingConfig(profiler="none"),
        max_num_iterations=BASE_STEPS,
        steps_per_save=500,
        steps_per_eval_batch=500,
        steps_per_eval_image=10**9,
        steps_per_eval_all_images=10**9,
        pipeline=VanillaPipelineConfig(datamanager=_data(), model=NerfInsertBaseModelConfig()),
        optimizers={
            "fields": {
                "optimizer": FusedAdamConfig(lr=1e-2, eps=1e-15),
                "scheduler": PlainDecayConfig(lr_final=1e-2 / 30, max_steps=BASE_STEPS, warmup_steps=32),
            }
        },
        viewer=ViewerConfig(num_rays_per_chunk=1 << 13),
        vis="viewer",
    ),
    description="NeRF-Insert's own base: a hash-grid field that trains in minutes without a GPU.",
)

if os.environ.get(ENCODING) == "1":
    try:
        from nerf_insert.fields.nerfstudio_hash_encoding import patch_nerfstudio

        patch_nerfstudio()
    except Exception as error:  # whatever a broken installation raises: nerfstudio works without
        warnings.warn(f"{ENCODING}: our encoding cannot be used ({error!r}), theirs is", stacklevel=1)
