"""What nerfstudio's evaluation asks of a model's pictures. H and W are a picture's size."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from jaxtyping import Float
from nerfstudio.utils import colormaps
from nerfstudio.utils.rich_utils import CONSOLE
from torch import Tensor


def picture_of(batch: dict[str, Tensor]) -> Float[Tensor, "H W 3"]:
    """The photograph of a batch, sRGB 0..1, over black where it is transparent."""
    image = batch["image"].float()
    return image if image.shape[-1] == 3 else image[..., :3] * image[..., 3:]


def image_metrics(
    outputs: dict[str, Tensor], target: Float[Tensor, "H W 3"]
) -> tuple[dict[str, float], dict[str, Tensor]]:
    """PSNR, SSIM and, where its weights are to be had, LPIPS; the pictures that nerfstudio shows."""
    from torchmetrics.functional import peak_signal_noise_ratio, structural_similarity_index_measure

    ours, theirs = (picture.permute(2, 0, 1)[None] for picture in (outputs["rgb"], target))
    metrics = {
        "psnr": float(peak_signal_noise_ratio(ours, theirs, data_range=1.0)),
        "ssim": float(structural_similarity_index_measure(ours, theirs, data_range=1.0)),
    }
    if (lpips := _lpips()) is not None:
        metrics["lpips"] = float(lpips.to(ours.device)(ours.clamp(0, 1), theirs.clamp(0, 1)))
    images = {
        "img": torch.cat([target, outputs["rgb"]], 1),
        "accumulation": colormaps.apply_colormap(outputs["accumulation"]),
        "depth": colormaps.apply_depth_colormap(outputs["depth"], outputs["accumulation"]),
    }
    return metrics, images


@cache
def _lpips() -> Any:
    """Built when first needed and outside every model: its weights come from the network."""
    from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity

    try:
        return LearnedPerceptualImagePatchSimilarity(normalize=True)
    except Exception as error:
        CONSOLE.print(f"LPIPS is left out: its weights cannot be had ({error})")
        return None
