"""The model of the method `nerf-insert`: it renders a scene's base and layers for nerfstudio.

nerfstudio trains nothing here: the edit loop fits the layer, which is rendered while it is unfinished.
"""

from __future__ import annotations

from typing import Any

import torch
from nerfstudio.cameras.rays import RayBundle
from nerfstudio.models.base_model import Model
from torch import Tensor
from torch.nn import Parameter

from nerf_insert.errors import RunError
from nerf_insert.plugin.coordinates import Frame
from nerf_insert.plugin.metrics import image_metrics, photograph_of
from nerf_insert.rendering.stack import LayerStack, hits

FAR = 1000.0  # depth of rays that hit nothing, model units


class NerfInsertModel(Model):
    """Renders what was given to `show`.

    Outputs are rgb, depth (model units), accumulation, and edited: 1 where a ray crosses a layer's region.
    """

    def populate_modules(self) -> None:
        """Begin without a stack: `show` says what to render."""
        super().populate_modules()
        self._shown: tuple[LayerStack, Frame] | None = None  # a tuple, not a part with parameters

    def show(self, stack: LayerStack, frame: Frame) -> None:
        """Render this stack from now on."""
        self._shown = stack, frame

    def get_param_groups(self) -> dict[str, list[Parameter]]:
        """Return no parameters: the edit loop has an optimizer of its own."""
        return {}

    @torch.no_grad()
    def get_outputs(self, ray_bundle: RayBundle) -> dict[str, Tensor]:
        """Render a bundle of rays, model coordinates; outputs [N, ...] lie on the bundle's device."""
        if self._shown is None:
            raise RunError("no scene was loaded into the model")
        stack, frame = self._shown
        rays = frame.rays(ray_bundle)
        rendered = stack.render(rays)
        edited = torch.zeros(rays.count, dtype=torch.bool)
        for layer in stack.layers:
            edited |= hits(layer.region, rays)
        depth = (rendered.depth * frame.scale).nan_to_num(posinf=FAR)
        columns = {"depth": depth, "accumulation": rendered.accumulation, "edited": edited.float()}
        outputs = {"rgb": rendered.rgb, **{name: column[:, None] for name, column in columns.items()}}
        return {name: output.to(ray_bundle.origins.device) for name, output in outputs.items()}

    def get_rgba_image(self, outputs: dict[str, Tensor], output_name: str = "rgb") -> Tensor:
        """Return an image with its opacity, which is 1 if the scene has a background, as in nerfstudio."""
        assert self._shown is not None
        alpha = outputs["accumulation"]
        if self._shown[0].base.background is None:
            alpha = torch.ones_like(alpha)
        return torch.cat([outputs[output_name], alpha], -1)

    def get_metrics_dict(self, outputs: Any, batch: Any) -> dict[str, Tensor]:
        """Return no metrics; `get_image_metrics_and_images` compares whole images."""
        return {}

    def get_loss_dict(self, outputs: Any, batch: Any, metrics_dict: Any = None) -> dict[str, Tensor]:
        """Return a loss for nerfstudio's evaluation; nothing is trained by it."""
        return {"rgb_loss": ((outputs["rgb"] - photograph_of(batch).to(outputs["rgb"])) ** 2).mean()}

    def get_image_metrics_and_images(
        self, outputs: dict[str, Tensor], batch: dict[str, Any]
    ) -> tuple[dict[str, float], dict[str, Tensor]]:
        """Compare with the photograph, which does not show the edit.

        `psnr_outside` counts only the pixels whose rays miss every layer's region.
        """
        target = photograph_of(batch).to(outputs["rgb"].device)
        outside = outputs["edited"][..., 0] == 0
        metrics, images = image_metrics(outputs, target)
        error = ((outputs["rgb"] - target) ** 2)[outside]
        metrics["psnr_outside"] = float(-10 * error.mean().clamp_min(1e-12).log10()) if len(error) else 0.0
        return metrics, images
