"""What pairs of photographs have in common: SIFT features, matched and verified without poses.

Pixel coordinates are those of the files' pixels as they are stored, in the photographs' full size. F is the
number of features, M of matches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nerf_insert.errors import InputError
from nerf_insert.io.images import read_image

SIDE = 800  # pixels along the longer side at which features are found, and in which errors are given
MAX_FEATURES = 1000  # of one photograph
RATIO = 0.8  # Lowe's: of the distances to the nearest and to the next descriptor
MIN_INLIERS = 25  # matches that agree on one fundamental matrix
MIN_INLIER_SHARE = 0.35  # of the matches before that
TOLERANCE = 1.5  # pixels from the epipolar line of that matrix
ITERATIONS = 2000


@dataclass(frozen=True)
class Features:
    """The features of one photograph."""

    pixels: np.ndarray  # [F, 2]
    descriptors: np.ndarray  # [F, 128], of length one
    colors: np.ndarray  # [F, 3], smoothed, sRGB in 0..1
    size: tuple[int, int]  # (width, height)


@dataclass(frozen=True)
class Match:
    """What two photographs have in common; `first` and `second` are their numbers."""

    first: int
    second: int
    pixels: np.ndarray  # [M, 2, 2]: of both
    colors: np.ndarray  # [M, 2, 3]


def find_features(path: Path) -> Features:
    """Find the features of a photograph.

    Raises:
        InputError: The file is missing or unreadable.
    """
    import cv2

    color, alpha = read_image(path)
    image = color.numpy()
    height, width = image.shape[:2]
    scale = min(1.0, SIDE / max(width, height))
    if scale < 1:
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    small = (image * 255).round().astype(np.uint8)
    gray = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
    seen = np.ones_like(gray)
    if alpha is not None:
        seen = (cv2.resize(alpha.numpy(), gray.shape[::-1]) > 0.5).astype(np.uint8)
    keypoints, descriptors = cv2.SIFT.create(MAX_FEATURES).detectAndCompute(gray, seen)
    if descriptors is None or not len(keypoints):
        empty = np.zeros((0, 2))
        return Features(empty, np.zeros((0, 128), np.float32), np.zeros((0, 3)), (width, height))
    # several orientations of one place are one place
    at = np.array([point.pt for point in keypoints])
    _, index = np.unique(at.round(2), axis=0, return_index=True)
    at, roots = at[index], np.sqrt(descriptors[index] / (descriptors[index].sum(1, keepdims=True) + 1e-9))
    smooth = cv2.GaussianBlur(image, (0, 0), 2.0)
    column, row = at.astype(int).T
    colors = smooth[row.clip(0, smooth.shape[0] - 1), column.clip(0, smooth.shape[1] - 1)]
    # OpenCV's (0, 0) is the middle of the first pixel
    pixels = (at + 0.5) * [width / gray.shape[1], height / gray.shape[0]]
    return Features(pixels, roots.astype(np.float32), colors, (width, height))


def match(features: Sequence[Features], first: int, second: int) -> Match | None:
    """Match two photographs; None if they have too little in common.

    Matches are mutual, pass Lowe's test, and agree on a fundamental matrix.
    """
    import cv2

    a, b = features[first], features[second]
    if min(len(a.pixels), len(b.pixels)) < MIN_INLIERS:
        return None
    likeness = a.descriptors @ b.descriptors.T
    nearest, back = likeness.argmax(1), likeness.argmax(0)
    two = -np.partition(-likeness, 1, axis=1)[:, :2]
    distance = np.sqrt((2 - 2 * two).clip(0))
    mutual = back[nearest] == np.arange(len(nearest))
    index = np.flatnonzero(mutual & (distance[:, 0] < RATIO * distance[:, 1]))
    if len(index) < MIN_INLIERS:
        return None
    pair = np.stack([a.pixels[index], b.pixels[nearest[index]]], 1)
    scale = [SIDE / max(f.size) for f in (a, b)]
    cv2.setRNGSeed(0)
    _, inliers = cv2.findFundamentalMat(
        pair[:, 0] * scale[0], pair[:, 1] * scale[1], cv2.USAC_MAGSAC, TOLERANCE, 0.999, ITERATIONS
    )
    if inliers is None:
        return None
    kept = inliers[:, 0].astype(bool)
    if kept.sum() < max(MIN_INLIERS, MIN_INLIER_SHARE * len(kept)):
        return None
    colors = np.stack([a.colors[index], b.colors[nearest[index]]], 1)
    return Match(first, second, pair[kept], colors[kept])


def match_all(paths: Sequence[Path]) -> list[Match]:
    """Match every photograph with every other; those that cannot be read have nothing in common."""
    features = []
    for path in paths:
        try:
            features.append(find_features(path))
        except InputError:
            features.append(
                Features(np.zeros((0, 2)), np.zeros((0, 128), np.float32), np.zeros((0, 3)), (1, 1))
            )
    pairs = [(i, j) for i in range(len(paths)) for j in range(i + 1, len(paths))]
    return [found for i, j in pairs if (found := match(features, i, j)) is not None]
