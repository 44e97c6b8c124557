"""What happens in a video from frame to frame: motion, sharpness, exposure, cuts.

Corners are followed by pyramidal Lucas-Kanade (Bouguet 2001), forward and back. Motion is a fraction of the
picture's diagonal, exposure is in stops (factors of two of linear light).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

CORNERS = 300
TRACKED_SIDE = 480  # pixels of the longest side of the copies in which corners are followed
RATE = 12.0  # measured frames per second
ROUND_TRIP = 0.5  # pixels by which a corner may miss its start when it is followed back
FOLLOWED = 0.2  # share of the corners that must be followed, or the two pictures do not connect
FEWEST_CORNERS = 12
LOST_MOTION = 0.15  # motion that is assumed where nothing could be followed
WINDOW = 21  # pixels along a side of a corner's surroundings
NOISE = 3.0  # 8-bit values that are no contrast
GAMMA = 2.2  # of sRGB, near enough for ratios
DARK, BRIGHT = 12, 240  # 8-bit values between which a ratio of brightness means exposure


@dataclass
class Motion:
    """Measurements of frames, in order of time; lists of equal length.

    Attributes:
        times: Seconds since the first frame.
        moved: Median motion since the frame before.
        sharpness: Variance of the Laplacian; only ratios between neighbors mean something.
        brightness: Mean luma, 0..1.
        contrast: Standard deviation of luma, 0..1.
        stops: Change of exposure since the frame before.
        lost: Whether nothing could be followed from the frame before.
    """

    times: list[float] = field(default_factory=list)
    moved: list[float] = field(default_factory=list)
    sharpness: list[float] = field(default_factory=list)
    brightness: list[float] = field(default_factory=list)
    contrast: list[float] = field(default_factory=list)
    stops: list[float] = field(default_factory=list)
    lost: list[bool] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.times)

    def to_dict(self) -> dict[str, Any]:
        """Return the measurements as plain data."""
        return asdict(self)


def measure_motion(
    frames: Iterable[tuple[float, Callable[[], UInt8[np.ndarray, "h w"]]]],
    report: Callable[[float], None] = lambda seconds: None,
) -> Motion:
    """Measure the frames of a video, about RATE of them a second.

    Args:
        frames: (time in seconds, a function that returns the frame's luma) in order of time.
        report: Called with the time of each frame.
    """
    motion, before, due = Motion(), None, -np.inf
    for time, luma in frames:
        report(time)
        if time + 1e-6 < due:
            continue
        due = max(due, time - 1 / RATE) + 1 / RATE if np.isfinite(due) else time + 1 / RATE
        full = luma()
        small = _shrink(full)
        moved, stops, lost = (0.0, 0.0, False) if before is None else follow(before, small)
        motion.times.append(round(time, 4))
        motion.moved.append(moved)
        motion.stops.append(stops)
        motion.lost.append(lost)
        motion.sharpness.append(sharpness(full))
        motion.brightness.append(float(small.mean() / 255))
        motion.contrast.append(float(small.std() / 255))
        before = small
    return motion


def follow(before: UInt8[np.ndarray, "h w"], after: UInt8[np.ndarray, "h w"]) -> tuple[float, float, bool]:
    """Follow corners from one picture to the next.

    Returns:
        (motion, change of exposure in stops, whether too few corners could be followed).
    """
    import cv2

    diagonal = float(np.hypot(*before.shape))
    seen = (before, after)
    before, after = _without_exposure(before), _without_exposure(after)
    corners = cv2.goodFeaturesToTrack(before, CORNERS, 0.01, 8)
    if corners is None or len(corners) < FEWEST_CORNERS or before.shape != after.shape:
        same = before.shape == after.shape and float(np.abs(seen[0].astype(int) - seen[1]).mean()) < 1
        return (0.0, 0.0, False) if same else (LOST_MOTION, 0.0, True)
    options: dict[str, Any] = {"winSize": (WINDOW, WINDOW), "maxLevel": 4}
    there, found, _ = cv2.calcOpticalFlowPyrLK(before, after, corners, None, **options)  # type: ignore[call-overload]
    back, returned, _ = cv2.calcOpticalFlowPyrLK(after, before, there, None, **options)  # type: ignore[call-overload]
    miss = np.linalg.norm((back - corners)[:, 0], axis=1)
    good = (found[:, 0] == 1) & (returned[:, 0] == 1) & (miss < ROUND_TRIP)
    if good.sum() < max(FEWEST_CORNERS, FOLLOWED * len(corners)):
        return LOST_MOTION, 0.0, True
    start, end = corners[good, 0], there[good, 0]
    moved = float(np.median(np.linalg.norm(end - start, axis=1))) / diagonal
    smooth = [cv2.blur(image, (5, 5)) for image in seen]
    return moved, _exposure_change(smooth[0], smooth[1], start, end), False


def _without_exposure(gray: UInt8[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w"]:
    """The picture with an even local mean and contrast: corners look the same under another exposure."""
    import cv2

    values = gray.astype(np.float32)
    centered = values - cv2.blur(values, (WINDOW, WINDOW))
    spread = np.sqrt(np.maximum(cv2.blur(centered**2, (WINDOW, WINDOW)), 0))
    return (128 + 48 * centered / (spread + NOISE)).clip(0, 255).astype(np.uint8)


def _exposure_change(
    before: UInt8[np.ndarray, "h w"],
    after: UInt8[np.ndarray, "h w"],
    start: Float[np.ndarray, "n 2"],
    end: Float[np.ndarray, "n 2"],
) -> float:
    """The median ratio of brightness at the same corners, in stops."""

    def at(image: np.ndarray, places: np.ndarray) -> np.ndarray:
        x, y = np.rint(places).astype(int).T
        return image[y.clip(0, image.shape[0] - 1), x.clip(0, image.shape[1] - 1)].astype(float)

    a, b = at(before, start), at(after, end)
    usable = (np.minimum(a, b) > DARK) & (np.maximum(a, b) < BRIGHT)
    return float(GAMMA * np.log2(np.median(b[usable] / a[usable]))) if usable.sum() >= FEWEST_CORNERS else 0.0


def sharpness(gray: UInt8[np.ndarray, "h w"]) -> float:
    """Return the variance of the Laplacian."""
    import cv2

    return float(cv2.Laplacian(gray, cv2.CV_32F).var())


def _shrink(gray: UInt8[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w"]:
    import cv2

    scale = TRACKED_SIDE / max(gray.shape)
    if scale >= 1:
        return gray
    return cv2.resize(gray, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)  # type: ignore[return-value]
