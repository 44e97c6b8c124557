"""From poses in any convention to OpenGL's camera axes. N is the number of poses."""

from __future__ import annotations

import numpy as np

from nerf_insert.capture.reading import DIRECTIONS, axes_code


def parse_axes(text: str) -> tuple[np.ndarray, bool]:
    """Read a convention, see `axes_code`.

    Returns:
        A rotation [3, 3] that, from the right, turns a rotation with these axes into one with OpenGL's; and
        whether matrices are world-to-camera.

    Raises:
        InputError: It is none, or a left-handed one.
    """
    code, inverse = axes_code(text)
    columns = np.zeros((3, 3))
    for index, letter in enumerate(code):
        axis, sign = DIRECTIONS[letter]
        columns[axis, index] = sign
    return columns.T, inverse


def reorient(c2w: np.ndarray, axes: str | None) -> np.ndarray:
    """Return camera-to-world poses [N, 4, 4] with OpenGL's axes from matrices in another convention."""
    if axes is None:
        return c2w
    turn, inverse = parse_axes(axes)
    c2w = np.linalg.inv(c2w) if inverse else c2w.copy()
    c2w[:, :3, :3] = c2w[:, :3, :3] @ turn
    return c2w
