"""Which way is up: from metadata, else from how the cameras were held and moved, and from floors and walls.

Without metadata, each direction u gets a score, a log-probability up to a constant, and the best is taken:

    score(u) = held(u) + moved(u) + planes(u)

Every part has a floor, so none can forbid what the others say together: photographs may be turned, a walk may
be no loop, planes may be neither floors nor walls. Directions are unit vectors in the world of the cameras
that are given; angles are radians unless a name says degrees.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from nerf_insert.reconstruction.scene_planes import ScenePlane, scene_planes
from nerf_insert.reconstruction.solution import Solution

LEVEL = np.radians(5.0)  # by which people hold cameras off level
AGREE = np.radians(12.0)  # spread of measured gravities up to which they are believed
SPREAD = np.radians(4.0)  # of gravities that are measured well
FEWEST_GRAVITIES = 3

CAMERAS = 6.0  # how many independent cameras all of them together count for
MOST_CAMERAS = 150  # that are looked at
STRAY = 0.03  # share of cameras that are held in any way
TURNED = 0.01  # share of captures whose photographs are all turned by a quarter, or upside down
USUAL_DOWN = (-0.25, 0.8)  # sines of the angles down at which people look
UNUSUAL = 0.15  # scale beyond these

FEWEST_IN_LOOP = 8
LOOP = np.radians(200.0)  # that the cameras must cover around what they look at for their plane to count
INWARD = 0.8  # share of cameras that look inward
THIN, ROUND = 0.5, 0.7  # of its spreads: third to second, at most, and second to first, at least
LOOP_WEIGHT, LOOP_LEVEL, NO_LOOP = 3.0, np.radians(8.0), 0.05

PLANES_WEIGHT = 12.0  # of planes that are all there is to see
SLOPE = 0.03  # how likely a plane is neither floor nor wall
FLOOR = 1.0  # by how much a floor counts more than a wall, however large it is
NEAR, SHARP = np.radians(2.5), np.radians(0.7)  # by which planes are off, when they are searched and at last
SEEN = np.radians(4.0)  # within which a plane is a floor or a wall of the result
SEEN_SHARE = 0.08  # of the scene that such planes must be, to say that up follows from them
DOUBT = 0.1  # probability of being farther off than NOT_FAR, above which up is not called sure

DIRECTIONS = 10_000  # that are tried
ZOOM = np.radians([2.0, 0.6, 0.2, 0.06])
NOT_FAR = np.radians(10.0)  # up may be off by this and still be of use

Vector = Float[np.ndarray, " 3"]
Directions = Float[np.ndarray, "D 3"]
Scores = Float[np.ndarray, " D"]


@dataclass(frozen=True, eq=False)
class Up:
    """Up, as it was found.

    Attributes:
        direction: Unit.
        origin: What it follows from: "metadata", "scene" or "cameras".
        doubt: How likely another direction is, more than NOT_FAR away.
    """

    direction: Vector
    origin: str
    doubt: float

    @property
    def sure(self) -> bool:
        """Whether it can be relied on without being looked at."""
        return self.doubt < DOUBT


def find_up(
    solution: Solution, gravities: Mapping[str, tuple[float, float, float]], axes_known: bool = True
) -> Up:
    """Find up.

    Args:
        solution: Cameras and points.
        gravities: Where down was, in the axes of the cameras of some photographs, by name.
        axes_known: Whether these are the axes of the cameras, and not those of a sensor, in any order.
    """
    measured = _measured_up(solution, gravities, axes_known)
    if measured is not None and measured.sure:
        return measured
    planes = scene_planes(solution)
    loop = loop_axis(solution)
    c2w = solution.c2w[:: -(-len(solution.c2w) // MOST_CAMERAS)]

    def score(directions: Directions, near: float) -> Scores:
        total = held_score(directions, c2w) + planes_score(directions, planes, near)
        return total if loop is None else total + _loop_score(directions, loop)

    tried = np.concatenate([_sphere(DIRECTIONS), *(np.stack([p.normal, -p.normal]) for p in planes)])
    scores = score(tried, NEAR)
    best = tried[scores.argmax()]
    likely = np.exp(scores - scores.max())
    doubt = float(likely[tried @ best < np.cos(NOT_FAR)].sum() / likely.sum())
    for radius in ZOOM:
        around = _around(best, radius)
        best = around[score(around, SHARP).argmax()]
    agreeing = sum(plane.share for plane in planes if _off(plane.normal, best) < np.sin(SEEN))
    return Up(best, "scene" if agreeing > SEEN_SHARE else "cameras", doubt)


def held_score(directions: Directions, c2w: Float[np.ndarray, "N 3 4"]) -> Scores:
    """Score directions by how the cameras would have been held.

    Rows of a photograph are level, its top is up, and people look ahead or down rather than up. All
    photographs of a capture may be turned the same way, which is unlikely, and some stray.
    """
    right, up, back = (directions @ c2w[:, :, k].T for k in range(3))
    unusual = (back - back.clip(*USUAL_DOWN)) / UNUSUAL
    ways = []
    for turn, level, top in ((1 - 3 * TURNED, right, up), (TURNED, up, right), (TURNED, up, -right),
                             (TURNED, right, -up)):  # fmt: skip
        each = np.exp(-0.5 * (level / LEVEL) ** 2 - 0.5 * unusual**2 + top - 1) * (top > 0)
        ways.append(np.log(turn) + CAMERAS * np.log((1 - STRAY) * each + STRAY).mean(1))
    return np.logaddexp.reduce(ways)


def loop_axis(solution: Solution) -> Vector | None:
    """Return the normal of the plane in which the cameras went around what they see; None: they did not."""
    out = solution.centers - solution.centers.mean(0)
    _, spread, axes = np.linalg.svd(out, full_matrices=False)
    if len(out) < FEWEST_IN_LOOP or spread[2] > THIN * spread[1] or spread[1] < ROUND * spread[0]:
        return None
    angle = np.sort(np.arctan2(out @ axes[1], out @ axes[0]))
    gap = np.diff(np.r_[angle, angle[0] + 2 * np.pi]).max()
    inward = np.einsum("ni,ni->n", out, solution.c2w[:, :, 2]) > 0
    return axes[2] if 2 * np.pi - gap > LOOP and inward.mean() > INWARD else None


def planes_score(directions: Directions, planes: Sequence[ScenePlane], near: float) -> Scores:
    """Score directions by the planes that they make floors or walls.

    Args:
        directions: Candidates for up.
        planes: Of the scene.
        near: By how much floors are off level, and walls off upright.
    """
    total = np.zeros(len(directions))
    for plane in planes:
        cosine = np.abs(directions @ plane.normal)
        floor = np.exp(-0.5 * (1 - cosine**2) / np.sin(near) ** 2)
        wall = np.exp(-0.5 * cosine**2 / np.sin(near) ** 2)
        total += PLANES_WEIGHT * plane.share * np.log(np.maximum(floor, wall) + SLOPE) + FLOOR * floor
    return total


def _loop_score(directions: Directions, axis: Vector) -> Scores:
    sine = 1 - (directions @ axis) ** 2
    return LOOP_WEIGHT * np.log(np.exp(-0.5 * sine / LOOP_LEVEL**2) + NO_LOOP)


def _measured_up(
    solution: Solution, gravities: Mapping[str, tuple[float, float, float]], axes_known: bool
) -> Up | None:
    """The direction that most measurements agree about; None where they are few or disagree.

    Sensors differ in the order and signs of their axes. Under a wrong order the measurements of cameras that
    turned disagree in the world; what is left is decided by how the cameras would have been held.
    """
    placed = [k for k, name in enumerate(solution.names) if name in gravities]
    if len(placed) < FEWEST_GRAVITIES:
        return None
    measured = np.array([gravities[solution.names[k]] for k in placed])
    found, values = [], []
    for turn in [np.eye(3)] if axes_known else Rotation.create_group("O").as_matrix():
        down = np.einsum("nij,nj->ni", solution.c2w[placed][:, :, :3], measured @ turn.T)
        mean = np.median(down, axis=0)
        mean = mean / max(float(np.linalg.norm(mean)), 1e-9)
        spread = float(np.median(np.arccos(np.clip(down @ mean, -1, 1))))
        if spread > AGREE:
            continue
        either = np.stack([mean, -mean])  # devices disagree about the sign of acceleration, too
        found += list(either)
        values += list(held_score(either, solution.c2w) - 0.5 * (spread / SPREAD) ** 2)
    if not found:
        return None
    best = found[int(np.argmax(values))]
    likely = np.exp(np.array(values) - max(values))
    others = likely[np.array(found) @ best < np.cos(NOT_FAR)]
    return Up(best, "metadata", float(others.sum() / likely.sum()))


def _off(normal: Vector, up: Vector) -> float:
    """The sine by which a plane is neither level nor upright."""
    cosine = abs(float(normal @ up))
    return min(cosine, np.sqrt(max(0.0, 1 - cosine**2)))


def _sphere(count: int) -> Directions:
    """Evenly spread directions (a Fibonacci lattice)."""
    k = np.arange(count) + 0.5
    z, angle = 1 - 2 * k / count, np.pi * (1 + 5**0.5) * k
    radius = np.sqrt(1 - z**2)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle), z], 1)


def _around(direction: Vector, radius: float) -> Directions:
    """Directions within an angle of one, and itself."""
    side = np.cross(direction, np.eye(3)[np.abs(direction).argmin()])
    side /= np.linalg.norm(side)
    k = np.arange(400)
    offset, angle = np.tan(radius) * np.sqrt(k / 400), np.pi * (1 + 5**0.5) * k
    found = direction + (offset * np.cos(angle))[:, None] * side
    found = found + (offset * np.sin(angle))[:, None] * np.cross(direction, side)
    return found / np.linalg.norm(found, axis=1, keepdims=True)
