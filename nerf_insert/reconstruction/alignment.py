"""The world of a capture: z up, the origin where the cameras look, lengths as the user knows them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from nerf_insert.errors import InputError
from nerf_insert.reconstruction.places import Pixel, floor_plane, locate
from nerf_insert.reconstruction.solution import Solution
from nerf_insert.reconstruction.up_direction import Up, find_up

Vector = Float[np.ndarray, " 3"]


@dataclass(frozen=True)
class Length:
    """A known length: the places of its ends and the distance between them."""

    start: Pixel
    end: Pixel
    distance: float


@dataclass(frozen=True)
class World:
    """What the user says about the world; the rest is found.

    Attributes:
        up: Up, in the coordinates that the capture has without this.
        floor: Places on the floor, which becomes z = 0.
        length: A known length.
    """

    up: tuple[float, float, float] | None = None
    floor: tuple[Pixel, ...] = ()
    length: Length | None = None


def align(
    solution: Solution,
    gravities: Mapping[str, tuple[float, float, float]],
    world: World,
    axes_known: bool = True,
) -> tuple[Solution, Up]:
    """Bring cameras and points into the world of the capture.

    Without a known length, the mean distance of the cameras from what they look at is 1.

    Args:
        solution: As structure from motion left it.
        gravities: Where down was, in the axes of the cameras of some photographs, by name.
        world: What the user says.
        axes_known: Whether these are the axes of the cameras, and not those of a sensor, in any order.

    Returns:
        (the solution in the new world, up in the world of the old one; where the user says it, its origin is
        "--up" or "--floor").

    Raises:
        InputError: What the user says does not fit the capture.
    """
    found = find_up(solution, gravities, axes_known)
    focus = focus_point(solution)
    floor = focus
    rotation = _z_up(found.direction, solution)
    if world.up is not None:
        given = np.array(world.up)
        if not np.isfinite(given).all() or np.linalg.norm(given) < 1e-9:
            raise InputError("--up has no direction: give three numbers, such as 0,0,1")
        found = Up(rotation.T @ given, "--up", 0.0)
    if world.floor:
        floor, normal = floor_plane(solution, world.floor)
        found = Up(normal, "--floor", 0.0)
    rotation = _z_up(found.direction, solution)
    scale = 1 / max(float(np.linalg.norm(solution.centers - focus, axis=1).mean()), 1e-12)
    if world.length is not None:
        length = world.length
        measured = float(np.linalg.norm(locate(solution, length.start) - locate(solution, length.end)))
        if not measured > 0:
            raise InputError("the two ends of --scale are the same place: choose two that are far apart")
        scale = length.distance / measured
    zero = rotation @ focus
    zero[2] = (rotation @ floor)[2]
    return solution.moved(rotation, scale, -scale * zero), found


def focus_point(solution: Solution) -> Vector:
    """Return the point nearest to the cameras' optical axes; where these are parallel, the points' median."""
    forward = -solution.c2w[:, :, 2]
    across = np.eye(3) - np.einsum("ni,nj->nij", forward, forward)
    matrix = across.mean(0)
    median = np.median(solution.points, axis=0) if len(solution.points) else solution.centers.mean(0)
    if np.linalg.eigvalsh(matrix)[0] < 0.01:
        return median
    focus = np.linalg.solve(matrix, np.einsum("nij,nj->i", across, solution.centers) / len(across))
    ahead = np.einsum("ni,ni->n", focus - solution.centers, forward) > 0
    return focus if ahead.mean() > 0.5 else median


def _z_up(up: Vector, solution: Solution) -> Float[np.ndarray, "3 3"]:
    """The rotation that turns `up` to z, and the first camera's right side into the plane of x and z."""
    z = up / np.linalg.norm(up)
    right = solution.c2w[0, :, 0]
    x = right - (right @ z) * z
    if np.linalg.norm(x) < 1e-3:  # the first camera is held on edge
        x = np.cross(z, [z[1], z[2], -z[0]])
    x = x / np.linalg.norm(x)
    return np.stack([x, np.cross(z, x), z])
