"""Metrics of rendered images, for nerfstudio's evaluation. H and W are an image's size."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from jaxtyping import Float
from nerfstudio.utils import colormaps
from nerfstudio.utils.rich_utils import CONSOLE
from torch import Tensor


def photograph_of(batch: dict[str, Any]) -> Float[Tensor, "*pixels 3"]:
    """Return the photograph of a batch, sRGB in 0..1, over black where it is transparent."""
    image = batch["image"].float()
    return image if image.shape[-1] == 3 else image[..., :3] * image[..., 3:]


def image_metrics(
    outputs: dict[str, Tensor], target: Float[Tensor, "H W 3"]
) -> tuple[dict[str, float], dict[str, Tensor]]:
    """Compare rendered outputs with a photograph.

    Returns:
        PSNR, SSIM and, if its weights are available, LPIPS; and the images that nerfstudio shows.
    """
    from torchmetrics.functional import peak_signal_noise_ratio, structural_similarity_index_measure

    ours, theirs = (image.permute(2, 0, 1)[None] for image in (outputs["rgb"], target))
    ssim = structural_similarity_index_measure(ours, theirs, data_range=1.0)
    assert isinstance(ssim, Tensor)  # with an image of it only if asked for
    metrics = {
        "psnr": float(peak_signal_noise_ratio(ours, theirs, data_range=1.0)),
        "ssim": float(ssim),
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
    """Create the metric when it is first needed, outside of all models: it downloads weights."""
    from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity

    try:
        return LearnedPerceptualImagePatchSimilarity(normalize=True)
    except Exception as error:
        CONSOLE.print(f"LPIPS is left out: its weights cannot be loaded ({error})")
        return None
