"""Robust estimates that compare images with renders: color transforms, weights of views and of patches.

N is the number of rays, V that of views, B that of rays compared; positions are pixels, (x, y).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor

SOFT_RESIDUAL = 0.1  # residual at which a pixel counts half
# Changes of color as they usually are, as standard deviations: of an offset, of a gain, of what one channel
# gets from another. They count against as many pixels, whose errors are what is left unexplained: gains of a
# layer that shows nothing clear yet would come out near 0 otherwise, and removing their mean would amplify
# the differences.
USUAL_OFFSET, USUAL_GAIN, USUAL_MIXING = 0.05, 0.15, 0.03
MOST_USUAL = 3.0  # standard deviations: a change beyond would explain images of something else
INDEPENDENT_PIXELS = 50
LEAST_ERROR = 0.01  # of a pixel
COLOR_ITERATIONS = 4
CLIPPED_WEIGHT = 0.01  # of a pixel whose color is at an end of the range, for a transform of color
ALIKE = 0.6  # of the views, at least: so many are taken to be right
NORMAL_LENGTH = 1.68  # of the shortest interval with so much of a normal distribution, in standard deviations
FEW = 5.0  # over the number of values, by how much the spread of few of them is taken to be larger
MIN_LOG_SPREAD = 0.12  # least spread of views' log errors, so that equally good views stay equally good
INCONSISTENT, REJECTED = (
    2.0,
    4.0,
)  # spreads above the median at which a view starts to weigh less, and is left out
PATCH_SIZE = 0.03  # side of a patch, as a fraction of the image's width
PATCH_NOISE = 0.03  # a patch's error that is no contradiction


def recolor(color: Float[Tensor, "*B 3 4"], rgb: Float[Tensor, "B 3"]) -> Float[Tensor, "B 3"]:
    """Apply an affine color transform, one per row or one for all rows."""
    return (color[..., :3] @ rgb[..., None])[..., 0] + color[..., 3]


def is_clipped(target: Float[Tensor, "B 3"]) -> Bool[Tensor, "B 3"]:
    """Return where an image is at an end of its range: it may have cut off what was beyond."""
    return (target <= 1.5 / 255) | (target >= 253.5 / 255)


def clip_alike(predicted: Float[Tensor, "B 3"], target: Float[Tensor, "B 3"]) -> Float[Tensor, "B 3"]:
    """Clip predicted colors to 0..1 where the image has done so, too: there it contradicts nothing beyond."""
    return torch.where(is_clipped(target), predicted.clamp(0, 1), predicted)


def fit_color(
    rendered: Float[Tensor, "B 3"],
    target: Float[Tensor, "B 3"],
    importance: Float[Tensor, " B"] | None = None,
) -> Float[Tensor, "3 4"]:
    """Find the affine color transform that takes `rendered` to `target`.

    Least squares, reweighted so that large residuals count less, with a prior for small changes.

    Args:
        rendered: Colors, sRGB.
        target: What they become.
        importance: How much each pixel counts, 1 in the mean; alike without it.
    """
    stiffness = torch.full((3, 4), USUAL_MIXING**-2)
    stiffness[:, 3] = USUAL_OFFSET**-2
    stiffness[range(3), range(3)] = USUAL_GAIN**-2
    usable = torch.where(is_clipped(target).any(-1), CLIPPED_WEIGHT, 1.0)
    usable = usable if importance is None else usable * importance
    color = torch.eye(3, 4)
    inputs = torch.nn.functional.pad(rendered, (0, 1), value=1.0)
    for _ in range(COLOR_ITERATIONS):
        residual = recolor(color, rendered) - target
        weight = usable * soft_weights(residual)
        square = (inputs * weight[:, None]).T @ inputs / len(inputs)
        right = (inputs * weight[:, None]).T @ (target - rendered) / len(inputs)
        variance = max(float((weight[:, None] * residual**2).mean()), LEAST_ERROR**2)
        prior = stiffness * variance / INDEPENDENT_PIXELS
        change = torch.linalg.solve(square + torch.diag_embed(prior), right.T[:, :, None])  # per channel
        most = MOST_USUAL / stiffness.sqrt()
        color = torch.eye(3, 4) + change[:, :, 0].clamp(-most, most)
    return color


def view_trust(errors: Float[Tensor, " V"]) -> Float[Tensor, " V"]:
    """Return 1 for views whose error is typical, falling to 0 for views whose error is far above.

    Errors are compared by their logarithm, in standard deviations from what is usual: the middle of the
    shortest interval that holds `ALIKE` of the views. A smaller part that contradicts the others moves it
    hardly (Rousseeuw 1984, for one half); where more contradict, nobody knows which of them are right. Of few
    values, the shortest interval is shorter than usual by chance; the factor for that is Rousseeuw and
    Leroy's (Robust Regression and Outlier Detection, 1987, p. 202).
    """
    logs, order = errors.clamp_min(1e-4).log().sort()
    inside = math.ceil(ALIKE * len(logs))
    lengths = logs[inside - 1 :] - logs[: len(logs) - inside + 1]
    first = int(lengths.argmin())
    middle = (logs[first] + logs[first + inside - 1]) / 2
    few = 1 + FEW / max(1, len(logs) - 1)
    spread = max(few * float(lengths[first]) / NORMAL_LENGTH, MIN_LOG_SPREAD)
    over = (logs - middle) / spread
    trust = torch.empty_like(errors)
    trust[order] = ((REJECTED - over) / (REJECTED - INCONSISTENT)).clamp(0, 1)
    return trust


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
