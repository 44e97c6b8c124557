"""The model of the method `nerf-insert-base`: the base of `nerf-insert train`, trained in nerfstudio's loop.

Its field coordinates are nerfstudio's model coordinates. N is the number of rays.
"""

from __future__ import annotations

from typing import Any

import torch
from nerfstudio.cameras.rays import RayBundle
from nerfstudio.engine.callbacks import TrainingCallback, TrainingCallbackAttributes, TrainingCallbackLocation
from nerfstudio.models.base_model import Model
from torch import Tensor
from torch.nn import Parameter

from nerf_insert.fields.scene_field import SceneField
from nerf_insert.geometry.cameras import Rays
from nerf_insert.plugin.datamanager import NerfInsertDataManager
from nerf_insert.plugin.edit_model import FAR
from nerf_insert.plugin.import_run import field_config
from nerf_insert.plugin.metrics import image_metrics, photograph_of
from nerf_insert.rendering.stack import LayerStack
from nerf_insert.training.optimizer import at_step
from nerf_insert.training.scene_trainer import (
    OCCUPANCY_EVERY,
    OCCUPANCY_SETTLED,
    color_of_farthest,
    next_rays,
    rays_loss,
    sample_length_at,
)

BACKGROUND_EVERY = 100  # steps
FIRST_RAYS = 256


class HostBase(SceneField):
    """A base field that stays on the CPU, wherever nerfstudio moves the model."""

    def _apply(self, fn: Any, recurse: bool = True) -> HostBase:
        return self


class NerfInsertBaseModel(Model):
    """Trains and renders a base field, `base`."""

    config: Any  # a NerfInsertBaseModelConfig, whose module imports this one

    def populate_modules(self) -> None:
        """Make an untrained base."""
        super().populate_modules()
        self.base = HostBase(field_config(vars(self.config)), torch.eye(3, 4))
        self.step = 0
        self.evaluated = 0  # samples of the last step

    def get_param_groups(self) -> dict[str, list[Parameter]]:
        """Return the base's parameters as the group `fields`."""
        return {"fields": list(self.base.parameters())}

    def get_training_callbacks(self, attributes: TrainingCallbackAttributes) -> list[TrainingCallback]:
        """Return what surrounds each step: the occupancy grid, the number of rays, the background color.

        With another datamanager than ours only the occupancy grid is updated.
        """
        manager = attributes.pipeline.datamanager if attributes.pipeline is not None else None
        if isinstance(manager, NerfInsertDataManager):
            manager.set_train_rays_per_batch(FIRST_RAYS)

        def before(step: int) -> None:
            self.step = step

        def after(step: int) -> None:
            steps = self.config.training_steps
            if step % OCCUPANCY_EVERY == 0:
                self.base.update_occupancy(at_step(1, step), min(1.0, step / (OCCUPANCY_SETTLED * steps)))
            if isinstance(manager, NerfInsertDataManager):
                now = manager.get_train_rays_per_batch()
                manager.set_train_rays_per_batch(
                    next_rays(now, self.evaluated, self.config.samples_per_batch)
                )
                if step % BACKGROUND_EVERY == BACKGROUND_EVERY - 1 or step == steps - 1:
                    bundle, batch = manager.next_train(step)
                    colors = photograph_of(batch).cpu()
                    self.base.background.copy_(color_of_farthest(self.base, _rays(bundle), colors))

        location = TrainingCallbackLocation
        return [
            TrainingCallback([location.BEFORE_TRAIN_ITERATION], before, update_every_num_iters=1),
            TrainingCallback([location.AFTER_TRAIN_ITERATION], after, update_every_num_iters=1),
        ]

    def get_outputs(self, ray_bundle: RayBundle) -> dict[str, Any]:
        """Render a bundle of rays, model coordinates.

        Returns:
            While training, the rays alone, which `get_loss_dict` samples; otherwise rgb [N, 3], and depth
            (model units) and accumulation, [N, 1], on the bundle's device.
        """
        rays = _rays(ray_bundle)
        if self.training:
            return {"rays": rays}
        rendered = LayerStack(self.base).render(rays)
        columns = {"depth": rendered.depth.nan_to_num(posinf=FAR), "accumulation": rendered.accumulation}
        outputs = {"rgb": rendered.rgb, **{name: column[:, None] for name, column in columns.items()}}
        return {name: output.to(ray_bundle.origins.device) for name, output in outputs.items()}

    def get_loss_dict(self, outputs: Any, batch: Any, metrics_dict: Any = None) -> dict[str, Tensor]:
        """Return the training loss of a batch of rays; in evaluation, the mean squared error."""
        image = batch["image"].float().cpu()
        if "rays" not in outputs:
            return {"rgb_loss": ((outputs["rgb"] - photograph_of(batch).to(outputs["rgb"])) ** 2).mean()}
        alpha = image[:, 3:] if image.shape[-1] == 4 else torch.ones_like(image[:, :1])
        sample_length = sample_length_at(self.step, self.config.training_steps)
        generator = at_step(0, self.step)
        loss = rays_loss(self.base, outputs["rays"], image[:, :3] * alpha, alpha, generator, sample_length)
        self.evaluated = loss.samples
        return {"rgb_loss": loss.total}

    def get_metrics_dict(self, outputs: Any, batch: Any) -> dict[str, Tensor]:
        """Return the PSNR in evaluation; nothing while training, which renders no colors."""
        if "rgb" not in outputs:
            return {}
        error = ((outputs["rgb"] - photograph_of(batch).to(self.device)) ** 2).mean()
        return {"psnr": -10 * error.clamp_min(1e-12).log10()}

    def get_rgba_image(self, outputs: dict[str, Tensor], output_name: str = "rgb") -> Tensor:
        """Return an image [H, W, 4] with its opacity."""
        return torch.cat([outputs[output_name], outputs["accumulation"]], -1)

    def get_image_metrics_and_images(
        self, outputs: dict[str, Tensor], batch: dict[str, Any]
    ) -> tuple[dict[str, float], dict[str, Tensor]]:
        """Compare a rendered image with its photograph (see `image_metrics`)."""
        return image_metrics(outputs, photograph_of(batch).to(outputs["rgb"].device))


def _rays(bundle: RayBundle) -> Rays:
    """Return rays in model coordinates, which are the world of this base."""
    directions = torch.nn.functional.normalize(bundle.directions.reshape(-1, 3), dim=-1)
    return Rays(bundle.origins.reshape(-1, 3).contiguous().cpu(), directions.cpu())
