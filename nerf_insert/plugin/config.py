"""What nerfstudio's entry points name: the configs of our two methods.

Every `ns-train`, whatever its method, imports this module. It therefore needs nothing but nerfstudio and
plain data, and what the configs stand for is imported when it is built.
"""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass, field, fields, make_dataclass
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import torch
from nerfstudio.configs.base_config import LoggingConfig, MachineConfig, PrintableConfig, ViewerConfig
from nerfstudio.data.datamanagers.base_datamanager import VanillaDataManagerConfig
from nerfstudio.data.dataparsers.nerfstudio_dataparser import NerfstudioDataParserConfig
from nerfstudio.engine.optimizers import AdamOptimizerConfig
from nerfstudio.engine.schedulers import ExponentialDecayScheduler, ExponentialDecaySchedulerConfig
from nerfstudio.engine.trainer import TrainerConfig
from nerfstudio.models.base_model import ModelConfig
from nerfstudio.pipelines.base_pipeline import VanillaPipelineConfig
from nerfstudio.plugins.types import MethodSpecification
from tyro.conf import arg

from nerf_insert.plugin.datamanager import NerfInsertDataManager
from nerf_insert.scene.recipe import Schedule

ENCODING = "NERF_INSERT_ENCODING"  # set to 1: nerfstudio's own fields use our hash encoding on a CPU
BASE_STEPS = 1500


def trainer(config: Any, **options: Any) -> Any:
    return import_module("nerf_insert.plugin.trainer").NerfInsertTrainer(config, **options)


def pipeline(config: Any, **options: Any) -> Any:
    return import_module("nerf_insert.plugin.pipeline").NerfInsertPipeline(config, **options)


def model(config: Any, **options: Any) -> Any:
    return import_module("nerf_insert.plugin.edit_model").NerfInsertModel(config, **options)


def base_model(config: Any, **options: Any) -> Any:
    return import_module("nerf_insert.plugin.scene_model").NerfInsertBaseModel(config, **options)


def fused_adam(params: Any, **options: Any) -> Any:
    """Adam in one pass over the parameters: eight times as fast on a CPU."""
    return torch.optim.Adam(params, fused=True, betas=(0.9, 0.99), **options)


def _flags_of(part: type) -> list[tuple[str, Any, Any]]:
    """The fields of a part of the recipe and their help, where None is: not given."""
    types, made = get_type_hints(part), []
    for f in fields(part):
        usual = "." if f.default is None else f"; {f.default} where no recipe says it."
        help = f.metadata["help"].capitalize() + usual
        made.append((f.name, Annotated[types[f.name] | None, arg(help=help)], None))
    return made


ScheduleConfig = make_dataclass("ScheduleConfig", _flags_of(Schedule), bases=(PrintableConfig,))


@dataclass
class EditConfig(ScheduleConfig):
    """Where to edit, what to put there and how: a recipe's fields. All that is given forms one region."""

    mask: tuple[str, ...] = ()
    """Masks drawn on photographs, white where the edit is, each as VIEW=PNG."""
    mesh: Path | None = None
    """GLB, glTF, OBJ, PLY or STL, in the capture's world coordinates."""
    pose: str | None = None
    """From the mesh's coordinates to the world's: 16 numbers, a file with them, or terms such as
    'scale=2 rotate=0,0,90 translate=0,0,1'."""
    box: tuple[float, ...] = ()
    """Center, side lengths and, in degrees, rotation of a box, in world coordinates: 6 or 9 numbers."""
    dilate: float | None = None
    """Widen the region by this distance, in world units."""
    negative_prompt: str | None = None
    """What not to paint; what to paint is --prompt."""
    reference: tuple[Path, ...] = ()
    """Pictures of what to paint."""
    inpainter: str | None = None
    """mesh, fill, diffusion, an installed one or package.module:Class; by default what suits the rest."""
    inpainter_option: tuple[str, ...] = ()
    """Options of the inpainter, each as KEY=VALUE."""
    recipe: Path | None = None
    """A recipe file to run; the other flags override what it says."""
    name: str | None = None
    """The layer's name."""
    seed: int | None = None
    """Start of all that is random in the edit."""


@dataclass
class NerfInsertModelConfig(ModelConfig):
    """A scene's base and the layers over it."""

    _target: type = field(default_factory=lambda: model)
    enable_collider: bool = False
    """Unused: a base samples its rays by itself."""
    eval_num_rays_per_chunk: int = 1 << 15


@dataclass
class NerfInsertPipelineConfig(VanillaPipelineConfig):
    """What is edited, and how."""

    _target: type = field(default_factory=lambda: pipeline)
    scene: Path | None = None
    """A scene folder to edit, instead of the run of --load-dir; the folder itself is not changed."""
    appearance: str | None = None
    """Give the base the exposure of this training photograph; by default as nerfstudio renders it."""
    trust: bool = False
    """Open the run of --load-dir with nerfstudio's own loaders, which run whatever code stands in it."""
    edit: EditConfig = field(default_factory=EditConfig)
    """The edit."""


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
    """nerfstudio's, with rates that are floats: it leaves numpy's in checkpoints, which torch then refuses to
    open for `ns-eval` and the rest."""

    def get_scheduler(self, optimizer: torch.optim.Optimizer, lr_init: float) -> Any:
        theirs = super().get_scheduler(optimizer, lr_init)
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"]
        rates = [lambda step, rate=rate: float(rate(step)) for rate in theirs.lr_lambdas]
        return torch.optim.lr_scheduler.LambdaLR(optimizer, rates)


@dataclass
class PlainDecayConfig(ExponentialDecaySchedulerConfig):
    """As PlainDecay."""

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
