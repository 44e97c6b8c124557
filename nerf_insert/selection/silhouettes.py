"""The outlines of a thing in photographs: from points of its surface, refined by the photographs' colors.

C. Rother, V. Kolmogorov, A. Blake, "GrabCut", SIGGRAPH 2004 (as OpenCV implements it).
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from nerf_insert.io.images import to_uint8
from nerf_insert.selection.cloud import SeenPart

BAND = 2.5  # pixels to each side of the outline within which colors decide
PAD = 12  # pixels around a thing whose colors are looked at
ITERATIONS = 2
MIN_PIXELS = 30  # of a thing, for its colors to be modelled
MAX_CHANGE = 0.3  # fraction of the thing's pixels that colors may add or take
SEED_RADIUS = 1.5  # pixels around a click that are known


def refine(
    part: SeenPart,
    mask: Bool[Tensor, "h w"],
    inside: Sequence[Float[Tensor, " 2"]] = (),
    outside: Sequence[Float[Tensor, " 2"]] = (),
) -> Bool[Tensor, "h w"]:
    """Move a thing's outline to where the photograph's colors change.

    Args:
        part: The view.
        mask: The thing's pixels, by depth.
        inside: Clicks on the thing, in pixels (x, y) of the part's camera.
        outside: Clicks on what is not the thing, likewise.

    Returns:
        The thing's pixels. `mask` with the clicks in it, where it is too small or colors tell nothing.
    """
    known = np.zeros(mask.shape, dtype=np.int8)
    for sign, clicks in ((1, inside), (-1, outside)):
        for click in clicks:
            _disc(known, click, sign)
    shape = (mask.numpy() | (known > 0)) & (known >= 0)
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
    labels[known_in > 0], labels[known_in < 0] = cv2.GC_FGD, cv2.GC_BGD
    photograph = to_uint8(part.view.photograph((part.camera.width, part.camera.height))).numpy()
    colors = np.ascontiguousarray(photograph[window][..., ::-1])
    cv2.setRNGSeed(0)  # its mixture models start from a random clustering
    models = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.grabCut(colors, labels, None, *models, ITERATIONS, cv2.GC_INIT_WITH_MASK)  # type: ignore[call-overload]
    found = (labels == cv2.GC_FGD) | (labels == cv2.GC_PR_FGD)
    if abs(int(found.sum()) - int(shape_in.sum())) > MAX_CHANGE * shape_in.sum():
        return torch.from_numpy(shape)
    shape[window] = found
    return torch.from_numpy(shape)


def _disc(image: np.ndarray, center: Float[Tensor, " 2"], value: int) -> None:
    """Set the pixels around a point."""
    height, width = image.shape
    y, x = np.mgrid[:height, :width] + 0.5
    image[np.hypot(x - float(center[0]), y - float(center[1])) <= SEED_RADIUS] = value
