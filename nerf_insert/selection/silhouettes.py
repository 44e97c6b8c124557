"""The outlines of a thing in photographs: from points of its surface, refined by the photographs' colors.

C. Rother, V. Kolmogorov, A. Blake, "GrabCut", SIGGRAPH 2004 (as OpenCV implements it).
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from scipy.ndimage import distance_transform_edt, maximum_filter
from scipy.spatial import KDTree
from skimage.morphology import skeletonize
from torch import Tensor

from nerf_insert.selection.cloud import PAD, SeenPart

BAND = 2.5  # pixels to each side of the outline within which colors decide
ITERATIONS = 2
MIN_PIXELS = 30  # of a thing, for its colors to be modelled
MAX_CHANGE = 0.3  # fraction of the thing's pixels that colors may add or take
MAX_SAMPLES, NEIGHBORS = 400, 4  # colors that stand for a part; of which the nearest are compared
CLEARLY = 0.7  # of the other distance, below which a color is clearly nearer to a part
SEED_RADIUS = 1.5  # pixels around a click that are known


def refine(
    part: SeenPart,
    mask: Bool[Tensor, "h w"],
    inside: Sequence[Float[Tensor, " 2"]] = (),
    doubtful: Bool[Tensor, "h w"] | None = None,
) -> Bool[Tensor, "h w"]:
    """Move a thing's outline to where the photograph's colors change.

    Args:
        part: The view.
        mask: The thing's pixels, by depth.
        doubtful: Those of them that may belong to what the thing stands on, where depth is rough: colors
            alone tell.
        inside: Clicks on the thing, in pixels (x, y) of the part's camera.

    Returns:
        The thing's pixels. `mask` with the clicks in it, where it is too small or colors tell nothing.
    """
    known = np.zeros(mask.shape, dtype=bool)
    for click in inside:
        _disc(known, click)
    shape = mask.numpy() | known
    if shape.sum() < MIN_PIXELS:
        return torch.from_numpy(shape)
    rows, columns = (np.flatnonzero(shape.any(axis)) for axis in (1, 0))
    window = tuple(slice(max(0, k[0] - PAD), k[-1] + PAD + 1) for k in (rows, columns))
    shape_in, known_in = shape[window], known[window]
    if shape_in.all():
        return torch.from_numpy(shape)
    depth_in = np.asarray(distance_transform_edt(shape_in))
    depth_out = np.asarray(distance_transform_edt(~shape_in))
    labels = np.where(shape_in, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    labels[depth_in > BAND] = cv2.GC_FGD
    labels[depth_out > BAND] = cv2.GC_BGD
    colors = np.ascontiguousarray(part.colors[window][..., ::-1])
    thin = _middle_of_thin(shape_in, depth_in)  # a cut by colors shortens what is thin
    labels[thin & ~_looks_like_second(colors, shape_in, depth_out > BAND)] = cv2.GC_FGD
    if doubtful is not None:
        unsure = doubtful.numpy()[window] & shape_in
        surely = shape_in & ~unsure, ~shape_in & (depth_out > BAND)
        labels[unsure] = cv2.GC_PR_FGD
        labels[unsure & _looks_like_second(colors, *surely)] = cv2.GC_PR_BGD
    labels[known_in] = cv2.GC_FGD
    start = int(((labels == cv2.GC_FGD) | (labels == cv2.GC_PR_FGD)).sum())
    if start < MIN_PIXELS:
        return torch.from_numpy(shape)
    cv2.setRNGSeed(0)  # its mixture models start from a random clustering
    models = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.grabCut(colors, labels, None, *models, ITERATIONS, cv2.GC_INIT_WITH_MASK)  # type: ignore[call-overload]
    found = (labels == cv2.GC_FGD) | (labels == cv2.GC_PR_FGD)
    if abs(int(found.sum()) - start) > MAX_CHANGE * start:
        return torch.from_numpy(shape)
    shape[window] = found
    return torch.from_numpy(shape)


def _middle_of_thin(
    shape: Bool[np.ndarray, "h w"], depth: Float[np.ndarray, "h w"]
) -> Bool[np.ndarray, "h w"]:
    """Return the middle lines of the parts of a shape that are nowhere deeper than `BAND`.

    Args:
        shape: The shape.
        depth: The distance of its pixels to what is not in it.
    """
    side = 2 * round(BAND) + 1
    return skeletonize(shape) & (maximum_filter(depth, side) <= BAND) & (depth > 1)


def _looks_like_second(
    colors: UInt8[np.ndarray, "h w 3"], first: Bool[np.ndarray, "h w"], second: Bool[np.ndarray, "h w"]
) -> Bool[np.ndarray, "h w"]:
    """Return the pixels whose colors are clearly nearer to those of the second part than of the first."""
    if min(first.sum(), second.sum()) < MIN_PIXELS:
        return np.zeros(first.shape, dtype=bool)
    lab = cv2.cvtColor(colors, cv2.COLOR_BGR2LAB).astype(np.float32)
    generator = np.random.default_rng(0)
    away = []
    for part in (first, second):
        some = lab[part]
        some = some[generator.permutation(len(some))[:MAX_SAMPLES]]
        away.append(KDTree(some).query(lab, k=NEIGHBORS)[0].mean(-1))
    return away[1] < CLEARLY * away[0]


def _disc(image: np.ndarray, center: Float[Tensor, " 2"]) -> None:
    """Set the pixels around a point."""
    height, width = image.shape
    y, x = np.mgrid[:height, :width] + 0.5
    image[np.hypot(x - float(center[0]), y - float(center[1])) <= SEED_RADIUS] = True
