"""From where the cameras looked, and what to photograph next. World coordinates with z up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nerf_insert.reconstruction.alignment import focus_point
from nerf_insert.reconstruction.diagnosis import Finding
from nerf_insert.reconstruction.solution import Solution

GAP = 60.0  # degrees of azimuth without a camera that are worth a photograph
AROUND = 200.0  # degrees that the cameras must cover for the scene to count as seen from all around
FLAT = 15.0  # degrees of elevation within which all cameras are on one height
WEAK_POINTS, WEAK_ERROR = 60, 1.5  # points that a photograph sees at least; pixels of its error
TOO_FEW = 30  # photographs
FEW_FOR_HEIGHT = 12  # photographs, below which heights are not judged


@dataclass(frozen=True)
class Coverage:
    """Directions of the cameras from the point that they look at.

    Attributes:
        azimuth: Degrees in the plane of x and y, of each camera.
        elevation: Degrees above that plane.
        gap: Start, and length, of the longest stretch of azimuth without a camera.
        advice: What to photograph next, and what to mend.
    """

    azimuth: tuple[float, ...]
    elevation: tuple[float, ...]
    gap: tuple[float, float]
    advice: tuple[str, ...]


def cover(solution: Solution, findings: Sequence[Finding]) -> Coverage:
    """Measure the coverage of a capture.

    Args:
        solution: Cameras and points, z up.
        findings: What became of each photograph.
    """
    out = solution.centers - focus_point(solution)
    azimuth = np.degrees(np.arctan2(out[:, 1], out[:, 0])) % 360
    elevation = np.degrees(np.arctan2(out[:, 2], np.linalg.norm(out[:, :2], axis=1)))
    order = np.sort(azimuth)
    gaps = np.diff(np.r_[order, order[0] + 360])
    longest = int(gaps.argmax())
    gap = (float(order[longest]), float(gaps[longest]))
    return Coverage(
        tuple(map(float, azimuth)),
        tuple(map(float, elevation)),
        gap,
        tuple(_advice(solution, findings, azimuth, elevation, gap)),
    )


def _advice(
    solution: Solution,
    findings: Sequence[Finding],
    azimuth: np.ndarray,
    elevation: np.ndarray,
    gap: tuple[float, float],
) -> list[str]:
    advice = []
    start, length = gap
    if 360 - length < AROUND:
        advice.append(
            f"The scene is seen from {360 - length:.0f} of 360 degrees. What is behind cannot be known: "
            "renders and "
            "edits are good from the sides that were photographed."
        )
    elif length > GAP:
        before = solution.names[int(np.abs((azimuth - start + 180) % 360 - 180).argmin())]
        after = solution.names[int(np.abs((azimuth - start - length + 180) % 360 - 180).argmin())]
        advice.append(
            f"Photograph from between {before} and {after}: {length:.0f} degrees are missing there."
        )
    if np.ptp(elevation) < FLAT and len(elevation) > FEW_FOR_HEIGHT:
        where = "higher" if np.median(elevation) < 35 else "lower"
        advice.append(f"All photographs are from about one height: go around once more, {where}.")
    if len(solution.names) < TOO_FEW:
        advice.append(
            f"{len(solution.names)} photographs are few: with {TOO_FEW} to 100, scenes look better."
        )
    placed = [finding for finding in findings if finding.placed]
    weak = [f.name for f in placed if f.points < WEAK_POINTS or f.error > WEAK_ERROR]
    if weak:
        advice.append(f"Weakly connected: {', '.join(weak[:5])}. Take more photographs near these.")
    blurred = [finding.name for finding in placed if finding.blurred]
    if blurred:
        advice.append(f"Blurred: {', '.join(blurred[:5])}. Move slower there, or use more light.")
    missing = [finding for finding in findings if not finding.placed]
    if missing:
        advice.append(
            f"Without a camera position: {missing[0].source} ({missing[0].why}); {len(missing)} in all."
        )
    return advice or ["Nothing is missing: the cameras look from all around and from several heights."]
