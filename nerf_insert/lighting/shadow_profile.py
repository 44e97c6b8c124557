"""The edge of a shadow, as photographs show it rather than as the light predicts it. N samples."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from nerf_insert.lighting.light_samples import LUMINANCE

FULL = 0.9  # quantile of the darkening that is taken for the full one
LEVELS = (0.0, 0.08, 0.2, 0.35, 0.5, 0.65, 0.8, 1.0)  # of it, at which its profile is told
FACTORS = (0.0, 0.5, 0.8, 0.93, 1.07, 1.25, 1.6)
SWEEPS = 6
MIN_GAIN = 1e-3  # of the differences, for which a level is moved
FEWEST_SHADED = 40  # samples that tell a profile
SHADED = 0.01  # darkening from which on a sample does
NONE = 1e-4  # darkening


class Profile(NamedTuple):
    """How the darkening that photographs show goes on from none to the full one, beside the predicted one.

    A scene blurs the edge of a sharp shadow, and a light that is no disk makes an edge of its own.

    Attributes:
        predicted: Darkening in luminance, increasing, from 0.
        shown: What photographs show where it is predicted, not decreasing.
    """

    predicted: Float[Tensor, " K"]
    shown: Float[Tensor, " K"]

    def of(self, darkening: Float[Tensor, " N"]) -> Float[Tensor, " N"]:
        """Return what photographs show where a darkening is predicted; it goes on beyond both ends."""
        known, wanted = self.predicted.numpy(), darkening.numpy()
        shown = np.interp(wanted, known, self.shown.numpy())
        beyond = np.maximum(wanted - known[-1], 0) + np.minimum(wanted, 0)
        return torch.from_numpy(np.asarray(shown + beyond, np.float32))

    def apply(self, darkening: Float[Tensor, "N 3"]) -> Float[Tensor, "N 3"]:
        """Return a darkening in color with its luminance as photographs show it."""
        predicted = darkening @ LUMINANCE
        known = predicted.abs() > NONE
        return darkening * torch.where(known, self.of(predicted) / predicted, 1.0)[:, None]


def fit_profile(dark: Float[Tensor, " N"], difference: Callable[[Float[Tensor, " N"]], float]) -> Profile:
    """Find how a shadow's edge looks.

    Args:
        dark: Darkening of the samples as the light predicts it, luminance.
        difference: Returns how much neighboring samples differ once a darkening is taken back.
    """
    shaded = dark[dark > SHADED]
    if len(shaded) < FEWEST_SHADED:
        return Profile(torch.zeros(1), torch.zeros(1))
    levels = float(shaded.quantile(FULL)) * torch.tensor(LEVELS)
    best = Profile(levels, levels)
    least = difference(dark) * (1 - MIN_GAIN)
    for _, k, factor in product(range(SWEEPS), range(1, len(LEVELS)), FACTORS):
        shown = best.shown.clone()
        shown[k] *= factor
        tried = Profile(levels, shown.cummax(0).values)
        value = difference(tried.of(dark))
        if value < least:
            best, least = tried, value
    return best
