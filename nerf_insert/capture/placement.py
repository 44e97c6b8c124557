"""Where a capture lies in its own coordinates, and which way is up in it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from nerf_insert.capture.view import View

FAR = 50.0  # distance from zero, in units of the cameras' extent, beyond which float32 gets too coarse
MOST = 0.9  # share of the cameras whose places are taken for right
LEVEL = math.sin(math.radians(5.0))  # by which people hold cameras off level
DOWN = 0.02  # weight of cameras' looking down, which tells up where a drone looks straight down
SIDEWAYS = 0.2  # by how much more the cameras' right directions have to agree than their up directions
# Where the top of the upright photograph is in the stored one, by EXIF orientation: (right, up) of the camera
TOP = {1: (0, 1), 2: (0, 1), 3: (0, -1), 4: (0, -1), 5: (-1, 0), 6: (-1, 0), 7: (1, 0), 8: (1, 0)}


def choose_origin(centers: np.ndarray) -> tuple[float, float, float]:
    """Return the point to work around: zero, or a round one near the cameras that are far from it.

    Georeferenced captures have coordinates of millions of meters, of which float32 keeps half meters.

    Args:
        centers: The cameras' centers [N, 3], float64, the capture's coordinates.
    """
    middle = np.median(centers, axis=0)
    extent = extent_of(centers)
    if np.linalg.norm(middle) <= FAR * extent or extent == 0:
        return (0.0, 0.0, 0.0)
    step = 10.0 ** np.floor(np.log10(extent))
    x, y, z = np.round(middle / step) * step
    return (float(x), float(y), float(z))


def extent_of(centers: Float[np.ndarray, "N 3"]) -> float:
    """Return how far cameras are from the middle of them, but for the farthest tenth, which may be wrong."""
    distances = np.linalg.norm(centers - np.median(centers, axis=0), axis=1)
    return float(np.quantile(distances, MOST, method="lower")) or float(distances.max())


def place_in_words(point: Float[Tensor, " 3"], extent: float) -> str:
    """Return a place as messages show it, with the digits that matter in a scene of this extent.

    Args:
        point: The capture's own coordinates, float64 where they are far from zero.
        extent: World units.
    """
    digits = max(0, 2 - math.floor(math.log10(min(max(extent, 1e-12), 1e12))))
    shown = (f"{value:.{digits}f}" for value in point.tolist())
    return ", ".join(text.rstrip("0").rstrip(".") if "." in text else text for text in shown)


def up_of(views: Sequence[View]) -> Float[Tensor, " 3"]:
    """Return the direction that is up in photographs held upright: a unit vector, world coordinates.

    EXIF data says which direction is up in a photograph that is stored turned. Without it, cameras that agree
    on what is to their right, and not on what is above them, were turned by a quarter: they look down rather
    than up.
    """
    turned = [TOP[view.stored_orientation] for view in views]
    poses = torch.stack([view.camera.c2w for view in views])
    right, up, back = poses[:, :, 0], poses[:, :, 1], poses[:, :, 2]
    sides = torch.tensor(turned, dtype=poses.dtype)
    tops = sides[:, :1] * right + sides[:, 1:] * up
    rows = sides[:, 1:] * right - sides[:, :1] * up
    mean = tops.mean(0)
    if all(view.stored_orientation == 1 for view in views):
        across = right.mean(0)
        if across.norm() > mean.norm() + SIDEWAYS:
            tops, rows = right if float((back @ across).mean()) >= 0 else -right, up
    return level_up(tops, rows)


def level_up(tops: Float[Tensor, "N 3"], rows: Float[Tensor, "N 3"]) -> Float[Tensor, " 3"]:
    """Return the direction that is up in photographs whose rows are level, as far as people hold them so.

    It maximizes the mean cosine with the photographs' tops, minus the mean squared cosine with their rows
    over 2 LEVEL^2. A mean of the tops leans where cameras look down from one side.

    Args:
        tops: Where the top of each photograph points, world coordinates.
        rows: Where its rows run.
    """
    tops, rows = tops.double(), rows.double()
    mean = (tops + DOWN * torch.linalg.cross(rows, tops)).mean(0)
    found = torch.linalg.solve(rows.T @ rows / len(rows) + LEVEL**2 * torch.eye(3).double(), mean)
    length = found.norm()
    up = found / length if length > 1e-6 else torch.tensor([0.0, 0.0, 1.0])
    return up.float()
