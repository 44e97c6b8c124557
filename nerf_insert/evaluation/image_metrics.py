"""How alike two pictures are.

Pictures are float [H, W, 3], sRGB in 0..1; masks bool [H, W], true where pixels count (None: everywhere).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from jaxtyping import Bool, Float
from torch import Tensor

Picture = Float[Tensor, "H W 3"]
Mask = Bool[Tensor, "H W"]

SMALLEST_ERROR = 1e-12  # mean square; equal pictures have 120 dB
SSIM_REACH = 5  # pixels that SSIM's window, a Gaussian of sigma 1.5, reaches out
SMALLEST_SIDE = 64  # pixels of a picture that AlexNet can take in


def psnr(picture: Picture, reference: Picture, where: Mask | None = None) -> float:
    """Peak signal-to-noise ratio, dB, at most 120."""
    error = (picture.double() - reference.double()) ** 2
    error = error if where is None else error[where]
    return -10 * float(error.mean().clamp_min(SMALLEST_ERROR).log10())


def ssim(picture: Picture, reference: Picture, where: Mask | None = None) -> float | None:
    """Structural similarity (Wang et al. 2004), at most 1; None for pictures too small to tell.

    Where pixels do not count the two pictures are taken to be equal, so that they do not matter to those
    next to them either.
    """
    from torchmetrics.functional.image import structural_similarity_index_measure

    if min(picture.shape[:2]) <= SSIM_REACH:
        return None
    where = torch.ones(picture.shape[:2], dtype=torch.bool) if where is None else where
    pair = [image.double().movedim(-1, 0)[None] for image in (_only(picture, reference, where), reference)]
    everywhere = structural_similarity_index_measure(*pair, data_range=1.0, return_full_image=True)[1]
    return float(everywhere[0].mean(0)[where].mean())


def load_lpips() -> tuple[Callable[[Picture, Picture, Mask | None], float | None] | None, str]:
    """LPIPS (Zhang et al. 2018, AlexNet) as a function like `ssim`, lower is better; or None and why not.

    Nothing is downloaded: AlexNet's weights have to be where torchvision keeps them.
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
    def lpips(picture: Picture, reference: Picture, where: Mask | None = None) -> float | None:
        if min(picture.shape[:2]) < SMALLEST_SIDE:
            return None
        picture = picture if where is None else _only(picture, reference, where)
        return float(distance(*(_batch(image) for image in (picture, reference))))

    return lpips, ""


def grow(mask: Mask, pixels: int) -> Mask:
    """The mask and all within `pixels` of it, horizontally and vertically (a square)."""
    size = 2 * pixels + 1
    grown = torch.nn.functional.max_pool2d(mask[None, None].float(), size, stride=1, padding=pixels)
    return grown[0, 0] > 0.5


def _only(picture: Picture, reference: Picture, where: Mask) -> Picture:
    return torch.where(where[..., None], picture.to(reference), reference)


def _batch(image: Picture) -> Float[Tensor, "1 3 H W"]:
    return image.float().clamp(0, 1).movedim(-1, 0)[None]
