"""Which frames of a video become photographs: evenly in motion, in each stretch the sharpest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from jaxtyping import Float

from nerf_insert.errors import InputError
from nerf_insert.reconstruction.motion import Motion
from nerf_insert.reconstruction.sources import FEWEST

STEP = 0.05  # motion from photograph to photograph, as a fraction of the diagonal: nine tenths overlap
FEW, MANY = 60, 150  # photographs
LEAST_STEP = 0.004  # motion below which two frames are the same photograph: five pixels of 1280x720
CLOSE = 0.3  # of a step: chosen frames that are nearer than this are one too many
OFF_CENTER = 0.3  # logarithm of sharpness that a frame at a stretch's end must be ahead of one in its middle
BLACK = 0.02  # mean luma
FLAT = 0.02  # standard deviation of luma: a plain wall
MANY_LOST = 0.6  # share of the frames that do not connect with the one before
JUMP = 0.5  # stops from one photograph to the next
BLURRED = 0.35  # of the sharpness of its neighbors


@dataclass(frozen=True)
class Choice:
    """The chosen frames of one video.

    Attributes:
        indices: Into the measured frames, ascending.
        jumps: Those of `indices` before which the exposure jumps.
        blurred: Those that are much less sharp than their neighbors.
    """

    indices: tuple[int, ...]
    jumps: tuple[int, ...]
    blurred: tuple[int, ...]


def share_frames(motions: Sequence[Motion], count: int | None = None) -> list[int]:
    """Return how many frames to take from each video, in proportion to its motion.

    Args:
        motions: The videos.
        count: How many in all (default: one each STEP of motion, FEW to MANY).
    """
    ways = np.array([sum(motion.moved) for motion in motions])
    total = count or int(np.clip(round(ways.sum() / STEP), FEW, MANY))
    return [max(FEWEST, round(total * float(way / max(ways.sum(), 1e-9)))) for way in ways]


def check_motion(motion: Motion, path: Path) -> None:
    """Check that a video shows something that can be reconstructed.

    Raises:
        InputError: It is black, blank, too short, does not move, or nothing can be followed in it.
    """
    brightness, contrast = np.array(motion.brightness), np.array(motion.contrast)
    lost = float(np.mean(motion.lost[1:])) if len(motion) > 1 else 0.0
    if len(motion) and np.quantile(brightness, 0.9) < BLACK:
        raise InputError(f"{path} is black: was the lens covered? Film the scene again, with light on")
    if len(motion) < FEWEST:
        raise InputError(
            f"{path} has {len(motion)} frames, too few for a scene: film for 20 to 60 seconds while walking "
            "around the thing"
        )
    if np.median(contrast) < FLAT:
        raise InputError(
            f"{path} shows a plain surface without texture, in which no camera position can be found: "
            "film things with texture, from farther away"
        )
    if lost > MANY_LOST:
        raise InputError(
            f"from most frames of {path} to the next, nothing can be followed ({lost:.0%} of them): the "
            "camera "
            "moves too fast, the surfaces are blank, or it is a slide show. Film again, slowly, with more "
            "texture "
            "and light"
        )
    if sum(motion.moved) < FEWEST * LEAST_STEP * 5:
        raise InputError(
            f"the camera of {path} hardly moves, so there is no depth in it: walk around the scene while "
            "you film"
        )


def choose_frames(motion: Motion, count: int) -> Choice:
    """Choose at most `count` frames.

    The way of the camera, measured in motion and not in time, is divided into `count` stretches of equal
    length. Each gives its sharpest frame, one near its middle where that hardly matters. Where the camera
    rests, there is one frame.
    """
    way = np.cumsum(motion.moved)
    count = max(1, min(count, int(way[-1] / LEAST_STEP)))
    step = way[-1] / count if way[-1] > 0 else 1.0
    stretch = np.minimum((way / step).astype(int), count - 1)
    sharp = np.log(np.maximum(motion.sharpness, 1e-6))
    score = sharp - OFF_CENTER * 2 * np.abs(way / step - stretch - 0.5)
    chosen: list[int] = []
    for k in range(count):
        members = np.flatnonzero(stretch == k)
        if not len(members):
            continue
        best = int(members[score[members].argmax()])
        if chosen and way[best] - way[chosen[-1]] < CLOSE * step and not motion.lost[best]:
            if sharp[best] > sharp[chosen[-1]]:
                chosen[-1] = best
            continue
        chosen.append(best)
    return Choice(tuple(chosen), _jumps(motion, chosen), _blurred(sharp, chosen))


def _jumps(motion: Motion, chosen: Sequence[int]) -> tuple[int, ...]:
    """Frames between which and the chosen one before the exposure changes by more than JUMP."""
    stops = np.cumsum(motion.stops)
    return tuple(b for a, b in pairwise(chosen) if abs(stops[b] - stops[a]) > JUMP)


def _blurred(sharp: Float[np.ndarray, " n"], chosen: Sequence[int]) -> tuple[int, ...]:
    """Frames whose sharpness is below BLURRED times the median of the five chosen before and after."""
    values = sharp[list(chosen)]
    return tuple(
        index
        for k, index in enumerate(chosen)
        if values[k] < np.median(values[max(0, k - 5) : k + 6]) + np.log(BLURRED)
    )
