"""What an inpainter returned around the part that it painted, compared with the photograph there.

Most models decode the whole image: its colors, its place and its sharpness differ from the photograph's where
nothing was to be painted, too, and there the difference is known. Others return the photograph itself there,
or anything at all: then nothing is learned from it.

H and W are an image's height and width, S is a number of pixels; positions are pixels, (x, y).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor

from nerf_insert.training.image_warp import BLUR_SIGMA, blurred
from nerf_insert.training.robust_fit import fit_color, recolor

REACH = 0.25  # how far the surroundings go, as a fraction of the painted part's longer side
MIN_REACH = 0.1  # at least that fraction of the image's width
MAX_PIXELS = 800  # of the surroundings that are compared
MIN_PIXELS = 100
SAME = 1.5 / 255  # difference up to which a pixel is the photograph's own
PASTED = 0.9  # of the pixels: if as many are the photograph's own, the model did not paint them
COARSE_SIGMA = (
    0.015  # blur of images that are compared where they may be warped, as a fraction of their width
)
UNLIKE = 0.06  # median difference, after correction, above which an image does not show the photograph
MIN_GAIN, MAX_GAIN = 0.4, 2.5
EXPLAINED = 0.5  # of the variance, at least


@dataclass(frozen=True, eq=False)
class Surroundings:
    """Pixels around the painted part in which the image shows the photograph, changed.

    Attributes:
        xy: Where they are.
        photograph: What the photograph shows there, 0..1, blurred as images are that are to be aligned.
    """

    xy: Int64[Tensor, "S 2"]
    photograph: Float[Tensor, "S 3"]


def compare_surroundings(
    painted: UInt8[Tensor, "H W 3"], photograph: UInt8[Tensor, "H W 3"], mask: Bool[Tensor, "H W"]
) -> Surroundings | None:
    """Return the pixels around the painted part, if the painted image shows the photograph there.

    Args:
        painted: What the inpainter returned.
        photograph: The photograph.
        mask: The pixels that it was to paint.

    Returns:
        None if too few pixels are near, if the photograph was pasted there, or if something else is there.
    """
    xy = _nearby(mask)
    if len(xy) < MIN_PIXELS:
        return None
    images, width = [image.float().movedim(-1, 0) / 255 for image in (photograph, painted)], mask.shape[1]

    def colors(sigma: float) -> list[Float[Tensor, "_ 3"]]:
        """Return what both images show there, blurred by a fraction of the width."""
        shown = images if not sigma else [blurred(image, sigma * width) for image in images]
        return [image[:, xy[:, 1], xy[:, 0]].T for image in shown]

    before, after = colors(0.0)
    own = (before - after).abs().amax(-1) <= SAME
    if float(own.float().mean()) >= PASTED or not _is_alike(*colors(COARSE_SIGMA)):
        return None
    return Surroundings(xy, colors(BLUR_SIGMA)[0])


def _nearby(mask: Bool[Tensor, "H W"]) -> Int64[Tensor, "S 2"]:
    """Return evenly chosen pixels outside the mask, in its bounding box grown on all sides."""
    width = mask.shape[1]
    if not bool(mask.any()):
        return torch.zeros(0, 2, dtype=torch.int64)
    rows, columns = (mask.any(dim).nonzero()[:, 0] for dim in (1, 0))
    longer = max(int(rows[-1] - rows[0]), int(columns[-1] - columns[0])) + 1
    reach = max(round(REACH * longer), round(MIN_REACH * width))
    around = torch.zeros_like(mask)
    around[
        max(0, int(rows[0]) - reach) : int(rows[-1]) + reach + 1,
        max(0, int(columns[0]) - reach) : int(columns[-1]) + reach + 1,
    ] = True
    yx = (around & ~mask).nonzero()
    stride = max(1, len(yx) // MAX_PIXELS)
    return yx[::stride].flip(1)


def _is_alike(before: Float[Tensor, "S 3"], after: Float[Tensor, "S 3"]) -> bool:
    """Return whether a plausible change of color takes most of the photograph to the painted image."""
    color = fit_color(before, after)
    gains = color[range(3), range(3)]
    if not bool(((gains >= MIN_GAIN) & (gains <= MAX_GAIN)).all()):
        return False
    rest = (recolor(color, before) - after).abs().mean(-1)
    spread = (after - after.median(0).values).abs().mean(-1)
    explained = 1 - (float(rest.mean()) / max(float(spread.mean()), 1e-6)) ** 2
    return float(rest.median()) <= UNLIKE and explained >= EXPLAINED
