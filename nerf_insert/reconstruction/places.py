"""Places in space that a person points at in photographs, from the points that were triangulated there."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np
from jaxtyping import Float

from nerf_insert.errors import InputError, first_few
from nerf_insert.reconstruction.solution import Solution

AROUND = 0.08  # of the picture's diagonal, within which points tell how far away a place is
FEWEST = 4
FLOOR_AROUND = 0.15  # the same for a floor, which is large
FEWEST_ON_FLOOR = 8
TRIALS = 200  # of three points, to find a plane
INLIER = 0.1  # distance to a plane, of the median distance between the points
Vector = Float[np.ndarray, " 3"]


@dataclass(frozen=True)
class Pixel:
    """A place in a photograph: its file_path, name or stem, and x, y in pixels from the top left corner."""

    view: str
    x: float
    y: float

    @staticmethod
    def parse(text: str) -> Pixel:
        """Read VIEW=X,Y.

        Raises:
            InputError: It is not of this form.
        """
        view, _, place = text.rpartition("=")
        try:
            x, y = (float(part) for part in place.split(","))
        except ValueError:
            raise InputError(
                f"'{text}' is no place in a photograph: write VIEW=X,Y, such as 000730=410,655"
            ) from None
        if not view or not (np.isfinite(x) and np.isfinite(y)):
            raise InputError(f"'{text}' is no place in a photograph: write VIEW=X,Y, such as 000730=410,655")
        return Pixel(view, x, y)


def locate(solution: Solution, pixel: Pixel) -> Vector:
    """Return the point in space that a pixel shows, in the solution's world.

    The pixel's ray meets the plane through the triangulated points around it; where these lie in no plane, it
    ends at their median distance.

    Raises:
        InputError: There is no such photograph or pixel, or no points near it.
    """
    index = find_view(solution, pixel.view)
    points = _points_near(solution, index, pixel, AROUND, FEWEST)
    origin, direction = solution.centers[index], _ray(solution, index, pixel)
    normal, offset, near = _plane(points)
    slope = float(normal @ direction)
    depths = (points - origin) @ direction
    depth = float(np.median(depths))
    if abs(slope) > 0.1 and near.mean() > 0.5:
        on_plane = float((offset - normal @ origin) / slope)
        if depths.min() * 0.7 < on_plane < depths.max() * 1.3:
            depth = on_plane
    return origin + depth * direction


def floor_plane(solution: Solution, pixels: Sequence[Pixel]) -> tuple[Vector, Vector]:
    """Return (a point of the floor, its normal on the cameras' side) from pixels that show it.

    Three or more pixels that are far apart give the plane through their places; fewer, that of the points
    around them.

    Raises:
        InputError: There are no points near the pixels, or they lie in no plane.
    """
    places = np.array([locate(solution, pixel) for pixel in pixels])
    if len(places) >= 3:
        points = places
        spread = np.linalg.svd(places - places.mean(0))[1]
        if spread[1] < 0.15 * spread[0]:
            raise InputError(
                "the places on the floor lie almost in a line: choose three that form a triangle"
            )
    else:
        views = [find_view(solution, pixel.view) for pixel in pixels]
        near = [
            _points_near(solution, v, p, FLOOR_AROUND, FEWEST_ON_FLOOR)
            for v, p in zip(views, pixels, strict=True)
        ]
        points = np.concatenate(near)
    normal, _, inlier = _plane(points)
    if inlier.mean() < 0.4:
        raise InputError("what is shown there is no plane: choose places on the bare floor, or a table's top")
    center = points[inlier].mean(0)
    side = float(np.median((solution.centers - center) @ normal))
    return center, normal if side > 0 else -normal


def find_view(solution: Solution, name: str) -> int:
    """Return the index of a photograph by its file_path, file name or stem.

    Raises:
        InputError: There is none that has a camera.
    """
    wanted = name.replace("\\", "/")
    for key in (lambda n: n, lambda n: PurePosixPath(n).name, lambda n: PurePosixPath(n).stem):
        found = [k for k, own in enumerate(solution.names) if key(own) == wanted]
        if len(found) == 1:
            return found[0]
    stems = [PurePosixPath(own).stem for own in solution.names]
    near = difflib.get_close_matches(wanted, stems, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else f"there are {first_few(stems)}"
    raise InputError(f"the capture has no photograph {name} with a camera: {hint}")


def _points_near(solution: Solution, index: int, pixel: Pixel, around: float, fewest: int) -> np.ndarray:
    lens = solution.lenses[solution.lens[index]]
    if not (0 <= pixel.x <= lens["w"] and 0 <= pixel.y <= lens["h"]):
        raise InputError(
            f"{pixel.view} is {lens['w']}x{lens['h']} pixels, so {pixel.x:g},{pixel.y:g} is outside it"
        )
    rows = solution.seen[solution.seen[:, 0] == index]
    distance = np.hypot(rows[:, 2] - pixel.x, rows[:, 3] - pixel.y)
    near = rows[distance < around * np.hypot(lens["w"], lens["h"])]
    if len(near) < fewest:
        raise InputError(
            f"too few points were found around {pixel.x:g},{pixel.y:g} of {pixel.view} to know how far away "
            "it is: "
            "choose a place with more texture, or another photograph"
        )
    return solution.points[near[:, 1].astype(int)]


def _ray(solution: Solution, index: int, pixel: Pixel) -> Vector:
    """The unit direction of a pixel; distortion, a matter of pixels here, is left out."""
    lens, pose = solution.lenses[solution.lens[index]], solution.c2w[index]
    direction = np.array([(pixel.x - lens["cx"]) / lens["fl_x"], (lens["cy"] - pixel.y) / lens["fl_y"], -1.0])
    direction = pose[:, :3] @ direction
    return direction / np.linalg.norm(direction)


def _plane(points: Float[np.ndarray, "n 3"]) -> tuple[Vector, float, np.ndarray]:
    """(normal, offset, inliers) of the plane n x = offset that most points lie on."""
    rng = np.random.default_rng(0)
    reach = INLIER * float(np.median(np.linalg.norm(points - np.median(points, 0), axis=1))) + 1e-12
    best = np.zeros(len(points), bool)
    for _ in range(TRIALS if len(points) > 3 else 1):
        a, b, c = points[rng.choice(len(points), 3, replace=False)]
        normal = np.cross(b - a, c - a)
        length = np.linalg.norm(normal)
        if length > 0:
            inlier = np.abs((points - a) @ (normal / length)) < reach
            best = inlier if inlier.sum() > best.sum() else best
    kept = points[best] if best.sum() >= 3 else points
    center = kept.mean(0)
    normal = np.linalg.svd(kept - center, full_matrices=False)[2][2]
    return normal, float(normal @ center), best
