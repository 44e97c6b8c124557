"""Small smooth warps of an image, aligned with a render of the same view.

n is a number of pixels, G that of control points; positions are pixels, (x, y).
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from nerf_insert.geometry.sampling import sample_bilinear
from nerf_insert.training.robust_fit import SOFT_RESIDUAL, soft_weights

CELLS = 4  # between control points, along each side of a view's region; one more on each side of it
CONTROL_POINTS = CELLS + 3  # along each side of the grid
GAUSS_NEWTON_STEPS = 3  # of one alignment
MAX_SHIFT = 0.03  # of a pixel, as a fraction of the image's width
BLUR_SIGMA = 0.004  # of images that are to be aligned, as a fraction of their width
STIFFNESS, SMOOTHNESS = 0.05, 0.3  # weights of a warp's size and differences, as fractions of the data term


class WarpedCrop:
    """The part of an image around its rays, seen through a smooth warp.

    A warp is a displacement in pixels at each of the G = CONTROL_POINTS^2 points of a grid over the rays and
    a little around them, bilinear in between and constant beyond.
    """

    def __init__(self, image: UInt8[Tensor, "H W 3"], xy: Int64[Tensor, "n 2"]):
        height, width = image.shape[:2]
        self.low, self.high = xy.amin(0).float(), xy.amax(0).float()
        self.max_shift = MAX_SHIFT * width
        cell = ((self.high - self.low) / CELLS).ceil().long()
        margin = cell + int(self.max_shift) + 2
        x0, y0 = (xy.amin(0) - margin).clamp_min(0).tolist()
        x1, y1 = (xy.amax(0) + margin + 1).tolist()
        self.corner = torch.tensor([x0, y0]).float()
        self.image = image[y0 : min(y1, height), x0 : min(x1, width)].clone()
        self.sigma = BLUR_SIGMA * width

    def colors(self, xy: Float[Tensor, "n 2"]) -> Float[Tensor, "n 3"]:
        """Interpolate the image, 0..1, at pixel positions of the whole image."""
        return _sample(self.image.float().movedim(-1, 0) / 255, xy - self.corner)

    def displacement(self, xy: Float[Tensor, "n 2"], warp: Float[Tensor, "G 2"]) -> Float[Tensor, "n 2"]:
        """Return by how many pixels a warp moves each position."""
        return self._basis(xy) @ warp

    def align(
        self,
        xy: Float[Tensor, "n 2"],
        shown: Float[Tensor, "n 3"],
        warp: Float[Tensor, "G 2"],
        importance: Float[Tensor, " n"],
    ) -> Float[Tensor, "G 2"]:
        """Find the warp under which the image matches the colors shown best.

        Lucas and Kanade 1981 on a grid of control points, starting from `warp`, with robust weights and
        a prior for small and smooth warps.

        Args:
            xy: Positions.
            shown: Their colors in the render, or in the photograph, changed to the image's colors.
            warp: The start.
            importance: How much each position counts.
        """
        channels = blurred(self.image.float().movedim(-1, 0) / 255, self.sigma)
        slopes = torch.stack(torch.gradient(channels, dim=(2, 1)), 0)  # [xy, 3, h, w]
        basis = self._basis(xy)
        best, lowest = warp, float("inf")
        for step in range(GAUSS_NEWTON_STEPS + 1):
            at = xy + basis @ warp - self.corner
            residual = shown - _sample(channels, at)
            cost = float((importance * torch.log1p((residual.abs().mean(-1) / SOFT_RESIDUAL) ** 2)).sum())
            if cost < lowest:
                best, lowest = warp, cost
            if step == GAUSS_NEWTON_STEPS:
                break
            root = (importance * soft_weights(residual)).sqrt()
            slope = torch.stack([_sample(part, at) for part in slopes], 1) * root[:, None, None]  # [n, xy, 3]
            jacobian = (basis[:, :, None, None] * slope[:, None]).flatten(1, 2)  # [n, 2 G, 3]
            rows = jacobian.movedim(1, 2).flatten(0, 1)
            square, right = rows.T @ rows, rows.T @ (residual * root[:, None]).flatten()
            informed = square.diagonal()[square.diagonal() > 1e-9]
            scale = float(informed.mean()) if len(informed) else 1.0
            prior = scale * _stiffness()
            warp = warp + torch.linalg.solve(square + prior, right - prior @ warp.flatten()).view_as(warp)
            warp = warp.clamp(-self.max_shift, self.max_shift)
        return best

    def _basis(self, xy: Float[Tensor, "n 2"]) -> Float[Tensor, "n G"]:
        """Bilinear weights of the control points."""
        unit = (xy - self.low) / (self.high - self.low).clamp_min(1) * CELLS + 1
        unit = unit.clamp(0, CONTROL_POINTS - 1)
        hats = (1 - (unit[:, :, None] - torch.arange(CONTROL_POINTS)).abs()).clamp_min(0)
        return (hats[:, 1, :, None] * hats[:, 0, None, :]).flatten(1)


def to_present_grid(warps: Float[Tensor, "V K 2"]) -> Float[Tensor, "V G 2"]:
    """Return warps of another grid on the present one: version 0.1.0 had 5 x 5 points over the rays alone."""
    side = math.isqrt(warps.shape[1])
    if side == CONTROL_POINTS:
        return warps
    unit = ((torch.arange(CONTROL_POINTS) - 1) / CELLS).clamp(0, 1) * (side - 1)
    hats = (1 - (unit[:, None] - torch.arange(side)).abs()).clamp_min(0)
    between = torch.einsum("ai,bj,vijc->vabc", hats, hats, warps.view(-1, side, side, 2))
    return between.flatten(1, 2)


def _stiffness() -> Float[Tensor, "G2 G2"]:
    """Return the quadratic form of a warp's size and of the differences between neighboring points."""
    chain = 2 * torch.eye(CONTROL_POINTS) - torch.diag(torch.ones(CONTROL_POINTS - 1), 1)
    chain = chain - torch.diag(torch.ones(CONTROL_POINTS - 1), -1)
    chain[0, 0] = chain[-1, -1] = 1
    one = torch.eye(CONTROL_POINTS)
    form = STIFFNESS * torch.eye(CONTROL_POINTS**2) + SMOOTHNESS * (
        torch.kron(one, chain) + torch.kron(chain, one)
    )
    return torch.kron(form, torch.eye(2))


def _sample(channels: Float[Tensor, "C h w"], at: Float[Tensor, "n 2"]) -> Float[Tensor, "n C"]:
    """Interpolate at columns and rows, which are whole numbers at the centers of pixels."""
    return sample_bilinear(channels.movedim(0, -1), at + 0.5)


def blurred(channels: Float[Tensor, "C h w"], sigma: float) -> Float[Tensor, "C h w"]:
    """Blur an image with a Gaussian of `sigma` pixels, cut off at 2.5 of them and mirrored at the borders."""
    radius, sigma = max(1, round(2.5 * sigma)), max(sigma, 0.3)
    bell = torch.exp(-0.5 * (torch.arange(-radius, radius + 1) / sigma) ** 2)
    bell = (bell / bell.sum()).view(1, 1, -1, 1)
    padded = torch.nn.functional.pad(channels[:, None], [radius] * 4, mode="reflect")
    across = torch.nn.functional.conv2d(padded, bell.transpose(2, 3))
    return torch.nn.functional.conv2d(across, bell)[:, 0]
