"""The similarity transform between two sets of the same cameras. N is the number of cameras."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from nerf_insert.errors import InputError

TOLERANCE = 1e-3  # of the largest distance of a camera from the mean; of axes, absolute


def similarity(world: Float[Tensor, "N 3 4"], model: Float[Tensor, "N 3 4"]) -> Float[Tensor, "3 4"]:
    """Find the similarity [s R | t] between two sets of camera-to-world poses, float64.

    The rotation follows from the cameras' axes, scale and translation from their centers, by least squares.

    Args:
        world: Poses in world coordinates.
        model: The poses of the same cameras in model coordinates.

    Raises:
        InputError: No similarity takes one to the other.
    """
    world, model = world.double(), model.double()
    u, _, vh = torch.linalg.svd((model[:, :, :3] @ world[:, :, :3].transpose(1, 2)).sum(0))
    u[:, 2] *= torch.linalg.det(u @ vh).sign()
    rotation = u @ vh
    source, target = world[:, :, 3] @ rotation.T, model[:, :, 3]
    a, b = source - source.mean(0), target - target.mean(0)
    spread = float((a * a).sum())
    scale = float((a * b).sum()) / spread if spread > 1e-18 else 1.0
    shift = target.mean(0) - scale * source.mean(0)
    off = float((scale * source + shift - target).norm(dim=-1).max())
    tilt = float((rotation @ world[:, :, :3] - model[:, :, :3]).abs().max())
    if scale <= 0 or off > TOLERANCE * max(float(b.norm(dim=-1).max()), 1e-9) or tilt > TOLERANCE:
        raise InputError(
            "the cameras of the capture are not those that the model was trained with (up to rotation, "
            "translation and scale): is this the capture that it was trained on, unchanged?"
        )
    return torch.cat([scale * rotation, shift[:, None]], 1)


def into_model(pose: Float[Tensor, "*N 3 4"], to_model: Float[Tensor, "3 4"]) -> Float[Tensor, "*N 3 4"]:
    """Convert camera-to-world poses from world to model coordinates."""
    scale = torch.linalg.det(to_model[:, :3]) ** (1 / 3)
    turned = (to_model[:, :3] / scale) @ pose[..., :3]
    return torch.cat([turned, to_model[:, :3] @ pose[..., 3:] + to_model[:, 3:]], -1)


def invert(to_model: Float[Tensor, "3 4"]) -> Float[Tensor, "3 4"]:
    """Return the inverse of an affine transform."""
    back = torch.linalg.inv(to_model[:, :3])
    return torch.cat([back, -back @ to_model[:, 3:]], 1)
