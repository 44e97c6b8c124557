"""By how much the exposure differs between photographs, from the colors of what they have in common."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nerf_insert.capture.pose_check.matching import Match

DARK, BRIGHT = 0.04, 0.96  # colors in between tell something about the exposure
GAMMA = 2.2  # from display values to light


def exposure_range(matches: Sequence[Match], count: int) -> float | None:
    """Return the range of the exposures of `count` photographs in stops, None if no pair tells.

    The logarithm of a pair's ratio is the difference of two exposures; those of all photographs follow by
    least squares. One photograph in twenty may be out of range at either end.
    """
    rows, ratios = [], []
    for match in matches:
        a, b = match.colors.mean(2).T
        usable = (np.minimum(a, b) > DARK) & (np.maximum(a, b) < BRIGHT)
        if usable.sum() >= 10:
            rows.append((match.first, match.second))
            ratios.append(GAMMA * np.median(np.log2(a[usable] / b[usable])))
    if not rows:
        return None
    system = np.zeros((len(rows), count))
    for k, (first, second) in enumerate(rows):
        system[k, first], system[k, second] = 1, -1
    stops = np.linalg.lstsq(system, np.array(ratios), rcond=None)[0]
    low, high = np.quantile(stops[np.unique(rows)], (0.05, 0.95))
    return round(float(high - low), 2)
