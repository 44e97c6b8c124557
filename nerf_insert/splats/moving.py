"""Splats in other coordinates: moved, turned and scaled, with their view-dependent colors. N splats."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from nerf_insert.kernels.reference_splatting import spherical_harmonics
from nerf_insert.splats.splats import Splats

DIRECTIONS = 64  # by which the coefficients of turned colors are found; they determine them many times over


def moved(splats: Splats, similarity: Float[Tensor, "3 4"]) -> Splats:
    """Return splats in the coordinates that a similarity [s R | t] leads to.

    Args:
        splats: The splats.
        similarity: Rotation times scale, and translation, acting on columns.
    """
    from scipy.spatial.transform import Rotation

    linear, shift = similarity[:, :3].double(), similarity[:, 3].double()
    scale = torch.linalg.det(linear) ** (1 / 3)
    turn = linear / scale
    own = Rotation.from_quat(splats.quaternions.double().numpy()[:, [1, 2, 3, 0]])
    turned = torch.from_numpy((Rotation.from_matrix(turn.numpy()) * own).as_quat()).float()[:, [3, 0, 1, 2]]
    return Splats(
        (splats.means.double() @ linear.T + shift).float(),
        splats.log_scales + float(scale.log()),
        turned,
        splats.opacity_logits,
        torch.einsum("kl,nlc->nkc", turned_harmonics(turn, splats.sh.shape[1]).float(), splats.sh),
    )


def turned_up(splats: Splats, source: Sequence[float], target: Sequence[float]) -> Splats:
    """Return splats turned by the shortest way, so that what pointed to `source` points to `target`."""
    from scipy.spatial.transform import Rotation

    rotation = torch.from_numpy(Rotation.from_quat(turn(source, target)).as_matrix())
    if torch.allclose(rotation, torch.eye(3, dtype=torch.float64), atol=1e-6):
        return splats
    return moved(splats, torch.cat([rotation, rotation.new_zeros(3, 1)], 1).float())


def turned_harmonics(turn: Float[Tensor, "3 3"], count: int) -> Float[Tensor, "K K"]:
    """Return what takes the coefficients of a color to those of the same color, turned.

    The harmonics of one degree span the same functions in all frames, so the matrix follows exactly from the
    basis in a few directions.

    Args:
        turn: The rotation.
        count: The number of coefficients K.
    """
    directions = torch.randn(DIRECTIONS, 3, generator=torch.Generator().manual_seed(0)).double()
    after, before = _basis(directions, count), _basis(directions @ turn.double(), count)
    return torch.linalg.lstsq(after, before).solution


def _basis(directions: Float[Tensor, "N 3"], count: int) -> Float[Tensor, "N K"]:
    columns = []
    for k in range(count):
        coefficients = directions.new_zeros(len(directions), count, 3)
        coefficients[:, k] = 0.1  # small, so that no color is cut off at 0
        columns.append(spherical_harmonics(directions, coefficients)[:, 0])
    return (torch.stack(columns, 1) - 0.5) * 10


def turn(source: Sequence[float], target: Sequence[float]) -> list[float]:
    """Return the shortest rotation from one direction to another, a quaternion x, y, z, w."""
    a, b = (np.asarray(v, np.float64) / np.linalg.norm(v) for v in (source, target))
    if a @ b < -1 + 1e-9:  # opposite: half a turn about an axis across, x where it is one
        across = np.eye(3)[np.abs(a).argmin()]
        axis = across - (across @ a) * a
        return [*(axis / np.linalg.norm(axis)).tolist(), 0.0]
    quaternion = np.array([*np.cross(a, b), 1 + a @ b])
    return (quaternion / np.linalg.norm(quaternion)).tolist()
