"""Completing a flat picture from its surroundings.

The picture is taken apart into light and detail. Light, the slow part of the colors' logarithm, is
carried on into the hole by a membrane; detail is copied from elsewhere in patches (`fill_patches`), which
then fit in sun and shadow alike; and another membrane closes what gap is left at the seam (Pérez et al.,
"Poisson image editing", SIGGRAPH 2003).

h and w are the picture's height and width. The same input and seed give the same output.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float32
from numpy import ndarray
from scipy.ndimage import distance_transform_edt, gaussian_filter
from scipy.sparse import coo_array, diags_array
from scipy.sparse.linalg import spsolve

from nerf_insert.inpaint.fill.patchmatch import SIDE, synthesize

PASSES = 5  # of telling what is light from what is printed
EVEN = 0.02  # difference of logarithms that noise makes
DARK = 0.1  # is added to colors before their logarithm is taken, so that black is nothing special

Picture = Float32[ndarray, "h w 3"]
Mask = Bool[ndarray, "h w"]


def complete(picture: Picture, known: Mask, wanted: Mask, seed: int = 0) -> Picture:
    """The picture with its wanted pixels painted from its known ones; the other pixels as they were.

    Colors are sRGB in 0..1. Pixels that are neither wanted nor known are not looked at. With nothing
    known the wanted pixels become mid-gray.
    """
    wanted = wanted & ~known
    if not wanted.any() or not known.any():
        return np.where(wanted[..., None], np.float32(0.5), picture)
    logarithm = np.log(picture + DARK)
    attempts = []
    # Shade that reaches into the hole is light; the border between two things beside it is detail.
    for slow in (light(logarithm, known, wanted), np.zeros_like(picture)):
        detail = np.where(known[..., None], logarithm - slow, 0).astype(np.float32)
        if painted := synthesize(detail, known, wanted, seed):
            attempts.append((painted, slow))
    if not attempts:  # nowhere is enough known to copy a patch
        return membrane(picture, known, wanted, keep=True)
    painted, slow = min(attempts, key=lambda attempt: attempt[0].unlikeness)
    gap = membrane(_smooth(painted.gap, painted.seam), painted.seam, wanted)
    colors = np.exp(painted.picture + slow + gap) - DARK
    return np.where(wanted[..., None], colors.clip(0, 1), picture).astype(np.float32)


def _smooth(values: Picture, where: Mask) -> Picture:
    """Means over a patch's width, of what is at pixels `where` alone."""
    share = gaussian_filter(where.astype(np.float32), SIDE / 2)[..., None]
    total = gaussian_filter(np.where(where[..., None], values, 0), (SIDE / 2, SIDE / 2, 0))
    return np.where(where[..., None], total / np.maximum(share, 1e-6), 0).astype(np.float32)


def light(logarithm: Picture, known: Mask, wanted: Mask) -> Picture:
    """The slow part of a picture's logarithm: means over about the size of the hole, carried on into it.
    What differs from most around it, as a print on a wall does, counts little in them: it is detail."""
    spread = max(0.6 * float(distance_transform_edt(np.pad(wanted, 1)).max()), 2 * SIDE)
    trust = known.astype(np.float32)
    for _ in range(PASSES):
        share = gaussian_filter(trust, spread, truncate=3)[..., None]
        total = gaussian_filter(trust[..., None] * logarithm, (spread, spread, 0), truncate=3)
        mean = (total / np.maximum(share, 1e-6)).astype(np.float32)
        away = np.linalg.norm(logarithm - mean, axis=-1)
        usual = max(float(np.median(away[known])), EVEN)
        trust = known / (1 + (away / usual) ** 2)
    return membrane(mean, known, wanted)


def membrane(
    values: Float32[ndarray, "h w c"], known: Mask, wanted: Mask, keep: bool = False
) -> Float32[ndarray, "h w c"]:
    """Values at the wanted pixels that solve Laplace's equation between the known ones; no flow across
    the border to other pixels. A part that touches nothing known gets the mean of all that is known.
    The other pixels become 0, or with `keep` what they were."""
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
    result[wanted] = spsolve((diags_array(degree) - between).tocsc(), right).reshape(count, -1)
    return result
