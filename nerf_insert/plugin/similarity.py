"""Where two sets of the same cameras lie to one another. N is the number of cameras."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from nerf_insert.errors import InputError

TOLERANCE = 1e-3  # of the cameras' spread


def similarity(world: Float[Tensor, "N 3 4"], model: Float[Tensor, "N 3 4"]) -> Float[Tensor, "3 4"]:
    """The similarity [s R | t], float64, that takes camera-to-world poses `world` to the poses `model`.

    Rotation from the cameras' axes, scale and shift from their centers, by least squares. Raises
    InputError where none does.
    """
    world, model = world.double(), model.double()
    u, _, vh = torch.linalg.svd((model[:, :, :3] @ world[:, :, :3].transpose(1, 2)).sum(0))
    u[:, 2] *= torch.linalg.det(u @ vh).sign()
    turn = u @ vh
    here, there = world[:, :, 3] @ turn.T, model[:, :, 3]
    a, b = here - here.mean(0), there - there.mean(0)
    spread = float((a * a).sum())
    scale = float((a * b).sum()) / spread if spread > 1e-18 else 1.0
    shift = there.mean(0) - scale * here.mean(0)
    off = float((scale * here + shift - there).norm(dim=-1).max())
    tilt = float((turn @ world[:, :, :3] - model[:, :, :3]).abs().max())
    if scale <= 0 or off > TOLERANCE * max(float(b.norm(dim=-1).max()), 1e-9) or tilt > TOLERANCE:
        raise InputError(
            "the cameras of the capture are not those that the model was trained with, turned, moved and "
            "scaled: is this the capture that it was trained on, unchanged?"
        )
    return torch.cat([scale * turn, shift[:, None]], 1)


def into_model(pose: Float[Tensor, "*N 3 4"], to_model: Float[Tensor, "3 4"]) -> Float[Tensor, "*N 3 4"]:
    """A camera-to-world pose in the other coordinates."""
    scale = torch.linalg.det(to_model[:, :3]) ** (1 / 3)
    turned = (to_model[:, :3] / scale) @ pose[..., :3]
    return torch.cat([turned, to_model[:, :3] @ pose[..., 3:] + to_model[:, 3:]], -1)


def invert(to_model: Float[Tensor, "3 4"]) -> Float[Tensor, "3 4"]:
    back = torch.linalg.inv(to_model[:, :3])
    return torch.cat([back, -back @ to_model[:, 3:]], 1)
