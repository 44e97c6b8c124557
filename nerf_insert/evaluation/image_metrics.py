"""Similarity of two images.

Images are float [H, W, 3], sRGB in 0..1; masks bool [H, W], true where pixels count (None: everywhere).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from jaxtyping import Bool, Float
from torch import Tensor

Image = Float[Tensor, "H W 3"]
Mask = Bool[Tensor, "H W"]

MIN_ERROR = 1e-12  # mean square: equal images have 120 dB
SSIM_RADIUS = 5  # pixels, of SSIM's window, a Gaussian of sigma 1.5
MIN_LPIPS_SIDE = 64  # pixels, of an image that AlexNet takes


def psnr(
    image: Float[Tensor, "*size 3"],
    reference: Float[Tensor, "*size 3"],
    where: Bool[Tensor, "*size"] | None = None,
) -> float:
    """Return the peak signal-to-noise ratio over the pixels `where`, dB, at most 120."""
    error = (image.double() - reference.double()) ** 2
    error = error if where is None else error[where]
    return -10 * float(error.mean().clamp_min(MIN_ERROR).log10())


def ssim(image: Image, reference: Image, where: Mask | None = None) -> float | None:
    """Return the structural similarity (Wang et al. 2004) over the pixels `where`, at most 1.

    Pixels that do not count are taken to be equal, so that they do not affect those beside them either.

    Returns:
        The mean; None if the images are too small for the window.
    """
    from torchmetrics.functional.image import structural_similarity_index_measure

    if min(image.shape[:2]) <= SSIM_RADIUS:
        return None
    where = torch.ones(image.shape[:2], dtype=torch.bool) if where is None else where
    first, second = (
        each.double().movedim(-1, 0)[None] for each in (_masked(image, reference, where), reference)
    )
    everywhere = structural_similarity_index_measure(first, second, data_range=1.0, return_full_image=True)[1]
    return float(everywhere[0].mean(0)[where].mean())


def load_lpips() -> tuple[Callable[[Image, Image, Mask | None], float | None] | None, str]:
    """Load LPIPS (Zhang et al. 2018, AlexNet) as a function like `ssim`; lower is better.

    Nothing is downloaded: AlexNet's weights have to be where torchvision keeps them.

    Returns:
        The function; or None, and why there is none.
    """
    from torchvision.models import AlexNet_Weights

    file = Path(torch.hub.get_dir()) / "checkpoints" / Path(AlexNet_Weights.IMAGENET1K_V1.url).name
    if not file.exists():
        return None, f"AlexNet's weights are not on this machine (torchvision would keep them in {file})"
    from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity

    try:
        distance = LearnedPerceptualImagePatchSimilarity(net_type="alex", normalize=True).eval()
    except Exception as error:
        return None, f"AlexNet's weights in {file} cannot be used: {error}"

    @torch.no_grad()
    def lpips(image: Image, reference: Image, where: Mask | None = None) -> float | None:
        if min(image.shape[:2]) < MIN_LPIPS_SIDE:
            return None
        image = image if where is None else _masked(image, reference, where)
        return float(distance(_batch(image), _batch(reference)))

    return lpips, ""


def grow(mask: Mask, pixels: int) -> Mask:
    """Dilate a mask by a square: by `pixels` horizontally and vertically."""
    size = 2 * pixels + 1
    grown = torch.nn.functional.max_pool2d(mask[None, None].float(), size, stride=1, padding=pixels)
    return grown[0, 0] > 0.5


def _masked(image: Image, reference: Image, where: Mask) -> Image:
    return torch.where(where[..., None], image.to(reference), reference)


def _batch(image: Image) -> Float[Tensor, "1 3 H W"]:
    return image.float().clamp(0, 1).movedim(-1, 0)[None]
