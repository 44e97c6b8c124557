"""The shade of a textured surface in single views: a shiny table looks different from every side.

A texture has one color at each place, the photograph around the region another in each view. Their ratio
along the region's border is continued over the region.

h and w are an image's height and width.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float32
from numpy import ndarray
from scipy.ndimage import gaussian_filter, zoom

from nerf_insert.inpaint.fill.texture import LOG_OFFSET, membrane

MIN_PIXELS = 30  # of the border that have to show the surface
OUTLIER, NOISE = 3.0, 0.03  # times the usual deviation from the median ratio, and a term to it
MAX_RATIO = 0.35  # of logarithms
SMOOTH = 3.0  # pixels along the border over which ratios are averaged
MAX_UNKNOWN = 6000  # pixels that the ratio is continued over; in a larger region, of a smaller image

Image = Float32[ndarray, "h w 3"]
Mask = Bool[ndarray, "h w"]


def log_ratio(photograph: ndarray, texture: ndarray) -> ndarray:
    """Return by how much a photograph's colors exceed those of a texture, as logarithms."""
    return np.log(photograph + LOG_OFFSET) - np.log(texture + LOG_OFFSET)


def continue_shade(ratio: Image, border: Mask, wanted: Mask) -> Image | None:
    """Continue the ratio along a border smoothly over the pixels inside it.

    Args:
        ratio: Of the border's pixels, see `log_ratio`.
        border: Pixels that show the surface.
        wanted: Pixels that are painted with its texture.

    Returns:
        The ratio at the wanted pixels, 0 elsewhere; None if too little of the border shows the surface.
    """
    if border.sum() < MIN_PIXELS or not wanted.any():
        return None
    median = np.median(ratio[border], axis=0)
    away = np.linalg.norm(ratio - median, axis=-1)
    good = border & (away < OUTLIER * float(np.median(away[border])) + NOISE)
    if good.sum() < MIN_PIXELS:
        return None
    rows, columns = (np.flatnonzero((good | wanted).any(axis)) for axis in (1, 0))
    window = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    step = int(np.ceil((wanted.sum() / MAX_UNKNOWN) ** 0.5))
    weight = gaussian_filter(good[window].astype(np.float32), SMOOTH)[..., None]
    total = gaussian_filter(np.where(good[window][..., None], ratio[window], 0), (SMOOTH, SMOOTH, 0))
    values = np.clip(total / np.maximum(weight, 1e-6), -MAX_RATIO, MAX_RATIO).astype(np.float32)
    known = _blocks(good[window], step)
    inside = _blocks(wanted[window], step) & ~known
    small = _means(values, good[window], step)
    shade = membrane(small, known, inside)
    if not inside.any():
        shade[...] = 0
    result = np.zeros_like(ratio)
    height, width = wanted[window].shape
    large = zoom(shade, (step, step, 1), order=1, grid_mode=True, mode="nearest") if step > 1 else shade
    result[window] = large[:height, :width]
    return np.where(wanted[..., None], result, 0).astype(np.float32)


def _blocks(mask: Mask, step: int) -> Bool[ndarray, "rows columns"]:
    """Whether anything is true in each block of pixels."""
    return np.asarray(_padded(mask, step).any(axis=(1, 3)))


def _means(values: Image, known: Mask, step: int) -> Float32[ndarray, "rows columns 3"]:
    """The mean of the known pixels of each block, 0 without any."""
    weight = _padded(known.astype(np.float32), step).sum(axis=(1, 3))
    sums = [_padded(np.where(known, values[..., k], 0), step).sum(axis=(1, 3)) for k in range(3)]
    return (np.stack(sums, -1) / np.maximum(weight, 1)[..., None]).astype(np.float32)


def _padded(values: ndarray, step: int) -> ndarray:
    """An image as [rows of blocks, step, columns of blocks, step], with nothing beyond its end."""
    height, width = (-(-n // step) * step for n in values.shape)
    whole = np.pad(values, [(0, height - values.shape[0]), (0, width - values.shape[1])])
    return whole.reshape(height // step, step, width // step, step)
