"""Robust estimates that compare images with renders: color transforms, weights of views and of patches.

N is the number of rays, V that of views, B that of rays compared; positions are pixels, (x, y).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

SOFT_RESIDUAL = 0.1  # residual at which a pixel counts half
# How firmly a channel's offset, its gain, and the mixing of channels are held to no change. Without this,
# gains of a layer that shows nothing clear yet would be near 0, and removing their mean would amplify the
# differences.
OFFSET_PRIOR, GAIN_PRIOR, MIXING_PRIOR = 2e-3, 2e-2, 1e-1
MIN_LOG_SPREAD = 0.25  # least spread of views' log errors, so that equally good views stay equally good
INCONSISTENT, REJECTED = (
    2.0,
    4.0,
)  # spreads above the median at which a view starts to weigh less, and is left out
PATCH_SIZE = 0.03  # side of a patch, as a fraction of the image's width
PATCH_NOISE = 0.03  # a patch's error that is no contradiction


def recolor(color: Float[Tensor, "*B 3 4"], rgb: Float[Tensor, "B 3"]) -> Float[Tensor, "B 3"]:
    """Apply an affine color transform, one per row or one for all rows."""
    return (color[..., :3] @ rgb[..., None])[..., 0] + color[..., 3]


def fit_color(rendered: Float[Tensor, "B 3"], target: Float[Tensor, "B 3"]) -> Float[Tensor, "3 4"]:
    """Find the affine color transform that takes `rendered` to `target`.

    Least squares, reweighted three times so that large residuals count less, with a prior for no change.
    """
    prior = torch.full((3, 4), MIXING_PRIOR)
    prior[:, 3] = OFFSET_PRIOR
    prior[range(3), range(3)] = GAIN_PRIOR
    color = torch.eye(3, 4)
    inputs = torch.nn.functional.pad(rendered, (0, 1), value=1.0)
    for _ in range(3):
        weight = soft_weights(recolor(color, rendered) - target)
        square = (inputs * weight[:, None]).T @ inputs / len(inputs)
        right = (inputs * weight[:, None]).T @ (target - rendered) / len(inputs)
        change = torch.linalg.solve(square + torch.diag_embed(prior), right.T[:, :, None])  # per channel
        color = torch.eye(3, 4) + change[:, :, 0]
    return color


def view_trust(errors: Float[Tensor, " V"]) -> Float[Tensor, " V"]:
    """Return 1 for views whose error is typical, falling to 0 for views whose error is far above.

    Errors are compared by their logarithm, in robust standard deviations from the median.
    """
    logs = errors.clamp_min(1e-4).log()
    middle = logs.median()
    spread = max(1.4826 * float((logs - middle).abs().median()), MIN_LOG_SPREAD)
    over = (logs - middle) / spread
    return ((REJECTED - over) / (REJECTED - INCONSISTENT)).clamp(0, 1)


def soft_weights(residual: Float[Tensor, "B 3"]) -> Float[Tensor, " B"]:
    """Return Cauchy weights: 1 without residual, a half at SOFT_RESIDUAL."""
    return 1 / (1 + (residual.abs().mean(-1) / SOFT_RESIDUAL) ** 2)


class PatchWeights:
    """Weights of small square patches of all views, by how well renders confirm them."""

    def __init__(
        self,
        images: Sequence[UInt8[Tensor, "_ _ 3"]],
        view: Int64[Tensor, " N"],
        xy: Int64[Tensor, "N 2"],
    ):
        sides = torch.tensor([max(4, round(PATCH_SIZE * image.shape[1])) for image in images])
        cell = xy // sides[view][:, None]
        columns = int(cell[:, 0].max()) + 1
        key = (view * (int(cell[:, 1].max()) + 1) + cell[:, 1]) * columns + cell[:, 0]
        keys, self.of_ray = torch.unique(key, return_inverse=True)
        self.count = len(keys)

    def evaluate(
        self, sampled: Int64[Tensor, " B"], error: Float[Tensor, " B"], trust: Float[Tensor, " N"]
    ) -> Float[Tensor, " N"]:
        """Return each ray's weight: 1 up to twice the median patch error, a half at four times that.

        Args:
            sampled: The rays whose error is known.
            error: Their error.
            trust: The weight of each ray's view.
        """
        patch = self.of_ray[sampled]
        rays = torch.zeros(self.count).index_add_(0, patch, torch.ones_like(error))
        mean = torch.zeros(self.count).index_add_(0, patch, error) / rays.clamp_min(1)
        trusted = mean[self.of_ray[sampled[trust[sampled] > 0.5]]]
        typical = max(float(trusted.median()), PATCH_NOISE) if len(trusted) else PATCH_NOISE
        over = (mean - 2 * typical).clamp_min(0) / (2 * typical)
        return (1 / (1 + over**2))[self.of_ray]
