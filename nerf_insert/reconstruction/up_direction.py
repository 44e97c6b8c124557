"""Which way is up: from metadata, from how the cameras were held, and from floors and walls.

Everything is in the world of the cameras that are given; directions are unit vectors.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float
from scipy.spatial import KDTree

from nerf_insert.reconstruction.solution import Solution

LEVEL = 0.008  # mean square of the sine by which people hold cameras off level: about five degrees
AGREE = np.radians(12.0)  # spread of measured gravities up to which they are believed
FEWEST_GRAVITIES = 3
NEIGHBORS = 12  # points that give the normal of one
FLAT = 0.03  # smallest to middle eigenvalue of a plane's points
NEAR = np.radians(20.0)  # a floor's normal may be off the first guess, a wall's off its horizon
WIDE, SHARP = np.radians(15.0), np.radians(3.0)  # scale of the robust weights, at first and at last
PRIOR = 0.02  # weight of the first guess, against all normals together
FEWEST_NORMALS = 60
ITERATIONS = 20
BAD = 2.0  # pixels of reprojection error above which a point counts for nothing

Vector = Float[np.ndarray, " 3"]


def find_up(solution: Solution, gravities: Mapping[str, tuple[float, float, float]]) -> tuple[Vector, str]:
    """Find up.

    Args:
        solution: Cameras and points.
        gravities: Where down was, in the axes of the cameras of some photographs, by name.

    Returns:
        (up, what it follows from: "metadata", "scene" or "cameras").
    """
    held = up_of_cameras(solution.c2w)
    measured = _measured_up(solution, gravities, held)
    if measured is not None:
        return measured, "metadata"
    normals = plane_normals(solution.points[solution.errors < BAD])
    refined = up_of_planes(normals, held)
    return (held, "cameras") if refined is None else (refined, "scene")


def up_of_cameras(c2w: Float[np.ndarray, "N 3 4"]) -> Vector:
    """Return the direction that is up in the pictures and level with their rows.

    It maximizes the mean cosine with the cameras' up axes, minus the mean squared cosine with their right
    axes over 2 LEVEL: cameras that look down from one side still have level rows.
    """
    right, up = c2w[:, :, 0], c2w[:, :, 1]
    mean = up.mean(0)
    found = np.linalg.solve(right.T @ right / len(right) + LEVEL * np.eye(3), mean)
    length = np.linalg.norm(found)
    return found / length if length > 1e-6 else np.array([0.0, 0.0, 1.0])


def _measured_up(
    solution: Solution, gravities: Mapping[str, tuple[float, float, float]], held: Vector
) -> Vector | None:
    """The mean of the measured directions; None where they are few or disagree."""
    down = [
        pose[:, :3] @ np.array(gravities[name])
        for name, pose in zip(solution.names, solution.c2w, strict=True)
        if name in gravities
    ]
    if len(down) < FEWEST_GRAVITIES:
        return None
    mean = -np.median(down, axis=0)
    mean = mean / max(float(np.linalg.norm(mean)), 1e-9)
    spread = np.median(np.arccos(np.clip(-np.array(down) @ mean, -1, 1)))
    if spread > AGREE and np.pi - spread > AGREE:
        return None
    return mean if mean @ held > 0 else -mean  # devices disagree about the sign of acceleration


def plane_normals(points: Float[np.ndarray, "P 3"]) -> Float[np.ndarray, "n 3"]:
    """Return the normals at the points around which all others lie in a plane."""
    if len(points) <= NEIGHBORS:
        return np.zeros((0, 3))
    _, nearest = KDTree(points).query(points, NEIGHBORS + 1)
    around = points[nearest] - points[nearest].mean(1, keepdims=True)
    values, vectors = np.linalg.eigh(np.einsum("pki,pkj->pij", around, around))
    return vectors[values[:, 0] < FLAT * values[:, 1], :, 0]


def up_of_planes(normals: Float[np.ndarray, "n 3"], guess: Vector) -> Vector | None:
    """Turn a guess so that floors are level and walls upright.

    Minimizes, with Geman-McClure weights whose scale falls from WIDE to SHARP, the squared sines of the
    angles between up and the normals of floors, and between up and the planes of walls.

    Args:
        normals: Of planes, of either sign.
        guess: Up within NEAR.

    Returns:
        Up, or None where too few planes are near.
    """
    up = guess
    for scale in np.geomspace(WIDE, SHARP, ITERATIONS):
        cosine = np.abs(normals @ up)
        floor, wall = cosine > np.cos(NEAR), cosine < np.sin(NEAR)
        sine = np.where(floor, np.sqrt(np.maximum(0, 1 - cosine**2)), cosine)
        weight = np.where(floor | wall, 1 / (1 + (sine / np.sin(scale)) ** 2) ** 2, 0.0)
        if weight.sum() < FEWEST_NORMALS:
            return None
        signed = weight * np.where(floor, -1.0, 1.0)
        matrix = (normals * signed[:, None]).T @ normals - PRIOR * weight.sum() * np.outer(guess, guess)
        up = np.linalg.eigh(matrix)[1][:, 0]
        up = up if up @ guess > 0 else -up
    return up if up @ guess > np.cos(NEAR) else None
