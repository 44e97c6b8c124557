"""Completing a texture from its surroundings.

The image is separated into light and detail. Light, the low frequencies of the colors' logarithm, is
extended into the hole by a membrane; detail is copied from elsewhere in patches (patchmatch.py), which then
fit in sun and shadow alike; and another membrane closes the gap that is left at the seam (Pérez et al.,
"Poisson image editing", SIGGRAPH 2003).

h and w are the image's height and width. The same input and seed give the same output.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float32
from numpy import ndarray
from scipy.ndimage import gaussian_filter
from scipy.sparse import coo_array, diags_array
from scipy.sparse.linalg import spsolve

from nerf_insert.geometry.masks import inner_distance
from nerf_insert.inpaint.fill.patchmatch import PATCH_RADIUS, synthesize

LIGHT_ITERATIONS = 5  # of separating light from detail
NOISE = 0.02  # difference of logarithms that noise makes
LOG_OFFSET = 0.1  # added to colors before their logarithm is taken, so that black is finite

Image = Float32[ndarray, "h w 3"]
Mask = Bool[ndarray, "h w"]


def complete(image: Image, known: Mask, wanted: Mask, seed: int = 0) -> Image:
    """Fill an image's wanted pixels from its known ones.

    Args:
        image: sRGB in 0..1; pixels that are neither wanted nor known are not read.
        known: Where colors may be copied from.
        wanted: Where to fill.
        seed: Random seed of the patch search.

    Returns:
        The image, changed only where wanted and not known; mid-gray there if nothing is known.
    """
    wanted = wanted & ~known
    if not wanted.any() or not known.any():
        return np.where(wanted[..., None], np.float32(0.5), image)
    logarithm = np.log(image + LOG_OFFSET)
    attempts = []
    # Shade that reaches into the hole is light; the border between two objects beside it is detail.
    for low in (light(logarithm, known, wanted), np.zeros_like(image)):
        detail = np.where(known[..., None], logarithm - low, 0).astype(np.float32)
        if filled := synthesize(detail, known, wanted, seed):
            attempts.append((filled, low))
    if not attempts:  # nowhere is enough known to copy a patch
        return membrane(image, known, wanted, keep=True)
    filled, low = min(attempts, key=lambda attempt: attempt[0].cost)
    gap = membrane(_smooth(filled.gap, filled.seam), filled.seam, wanted)
    colors = np.exp(filled.image + low + gap) - LOG_OFFSET
    return np.where(wanted[..., None], colors.clip(0, 1), image).astype(np.float32)


def _smooth(values: Image, where: Mask) -> Image:
    """Means over a patch's width, of the pixels `where` alone."""
    weight = gaussian_filter(where.astype(np.float32), PATCH_RADIUS / 2)[..., None]
    total = gaussian_filter(np.where(where[..., None], values, 0), (PATCH_RADIUS / 2, PATCH_RADIUS / 2, 0))
    return np.where(where[..., None], total / np.maximum(weight, 1e-6), 0).astype(np.float32)


def light(logarithm: Image, known: Mask, wanted: Mask) -> Image:
    """Estimate the low frequencies of an image's logarithm, extended into its hole.

    They are means over about the size of the hole. Pixels that differ from most around them, as a print on a
    wall does, count little: they are detail.

    Args:
        logarithm: The logarithm of the colors.
        known: Where it is known.
        wanted: The hole.

    Returns:
        The light at known and wanted pixels, 0 elsewhere.
    """
    spread = max(0.6 * float(inner_distance(np.pad(wanted, 1)).max()), 2 * PATCH_RADIUS)
    trust = known.astype(np.float32)
    for _ in range(LIGHT_ITERATIONS):
        weight = gaussian_filter(trust, spread, truncate=3)[..., None]
        total = gaussian_filter(trust[..., None] * logarithm, (spread, spread, 0), truncate=3)
        mean = (total / np.maximum(weight, 1e-6)).astype(np.float32)
        away = np.linalg.norm(logarithm - mean, axis=-1)
        usual = max(float(np.median(away[known])), NOISE)
        trust = known / (1 + (away / usual) ** 2)
    return membrane(mean, known, wanted)


def membrane(
    values: Float32[ndarray, "h w c"], known: Mask, wanted: Mask, keep: bool = False
) -> Float32[ndarray, "h w c"]:
    """Solve Laplace's equation at the wanted pixels, between the known ones.

    Args:
        values: Of the known pixels; the others are not read, unless `keep`.
        known: Pixels whose values are fixed.
        wanted: Pixels to solve for; nothing flows across their border to pixels of neither kind.
        keep: Whether the other pixels keep their values; else they become 0.

    Returns:
        The values; a part of the wanted pixels that touches no known ones gets the mean of all known ones.
    """
    result = np.where(known[..., None] | keep, values, 0).astype(np.float32)
    wanted = wanted & ~known
    count = int(wanted.sum())
    if not count or not known.any():
        return result
    number = np.full(wanted.shape, -1)
    number[wanted] = np.arange(count)
    right = np.full((count, values.shape[-1]), 1e-6) * values[known].mean(0)
    degree = np.full(count, 1e-6)
    rows, columns = [], []
    for axis in (0, 1):
        lower = (slice(None),) * axis + (slice(None, -1),)
        upper = (slice(None),) * axis + (slice(1, None),)
        for here, there in ((lower, upper), (upper, lower)):
            fixed, both = wanted[here] & known[there], wanted[here] & wanted[there]
            right[number[here][fixed]] += values[there][fixed]
            degree[number[here][fixed | both]] += 1
            rows.append(number[here][both])
            columns.append(number[there][both])
    at = (np.concatenate(rows), np.concatenate(columns))
    between = coo_array((np.ones(len(at[0])), at), shape=(count, count))
    solution = np.asarray(spsolve((diags_array(degree) - between).tocsc(), right))
    result[wanted] = solution.reshape(count, -1)
    return result
