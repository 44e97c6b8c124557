"""The colors of lights whose places and luminances are known.

What a surface shows in the shade and in the light tells by how much the lights differ in color. Their common
tint cannot be told from the surfaces' own: photographs are white-balanced more or less, lamps and skies are
warmer or cooler rather than greener, and surfaces are a little warm in the mean. P samples, L key lights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from nerf_insert.lighting.light import DiskLight, Light, Occluders, relative_irradiances
from nerf_insert.lighting.light_samples import (
    LUMINANCE,
    MIN_IRRADIANCE,
    LightSamples,
    neg_log_likelihood,
)

TINT_SPREAD = 0.6  # of the log ratio of a key light to the sky in one channel, about that of their luminances
ALBEDO_TINT = (
    0.12,
    0.0,
    -0.15,
)  # mean log albedo of common materials in each channel, less that of luminance
SAME_HUE = 0.3  # difference of log hues of groups that may be of one material
TINT_SHRINK = 0.5  # of the surfaces' mean tint that is taken for the light's; the rest is the materials'
STEPS = 6


def color_lights(
    keys: Sequence[DiskLight],
    strengths: Sequence[float],
    sky: float,
    samples: LightSamples,
    occluders: Occluders,
    far: Float[Tensor, "K 3"],
) -> Light:
    """Give lights their colors.

    Args:
        keys: The key lights.
        strengths: The luminance of each one's irradiance.
        sky: The luminance of the radiance of far directions that no photograph shows.
        samples: See `gather_samples`; grouped so that shade and light are not told apart.
        occluders: What hides the key lights.
        far: Radiance from each direction of `fibonacci_sphere(K)`; NaN where no photograph shows it.
    """
    lit = relative_irradiances(keys, samples.points, samples.normals, occluders)
    luminance = torch.tensor([sky, *strengths])
    parts = torch.cat([samples.unseen[None], lit])
    tint = _common_tint(samples, luminance, parts, _relative_tints(samples, luminance, parts))
    colors = luminance[:, None] * tint.exp()
    environment = torch.where(far.isfinite().all(-1, keepdim=True), far.nan_to_num(), colors[0])
    lights = tuple(replace(key, irradiance=color) for key, color in zip(keys, colors[1:], strict=True))
    return Light(environment, lights)


def _relative_tints(samples: LightSamples, luminance: Tensor, parts: Tensor) -> Float[Tensor, "L 3"]:
    """Find the log tint of each light over that of the sky, channel by channel."""
    tint = torch.zeros(len(luminance), 3)
    for c in range(3):
        known, color = samples.known[:, c], samples.color[:, c]
        step = 0.4
        for _ in range(STEPS):
            for k in range(1, len(luminance)):
                tried = tint[:, c].repeat(5, 1)
                tried[:, k] += torch.linspace(-2, 2, 5) * step
                added = (luminance * tried.exp()) @ parts
                light = (known + added).clamp_min(MIN_IRRADIANCE)
                cost = neg_log_likelihood(samples, light, color)
                cost = cost + (tried[:, k] / TINT_SPREAD) ** 2 / 2
                tint[:, c] = tried[int(cost.argmin())]
            step /= 2
    return tint


def _common_tint(
    samples: LightSamples, luminance: Tensor, parts: Tensor, tint: Float[Tensor, "L 3"]
) -> Float[Tensor, "L 3"]:
    """Add the tint that all lights share, from the hues of the groups; groups of one hue count as one."""
    light = samples.known + parts.T @ (luminance[:, None] * tint.exp())
    albedo = (samples.color / light.clamp_min(MIN_IRRADIANCE)).log()
    member = samples.member * samples.weight[:, None]
    weight = member.sum(0)
    used = weight > 0.01
    mean = (member.T @ albedo)[used] / weight[used, None]
    hue = mean - (mean.exp() @ LUMINANCE).log()[:, None]
    alike = torch.exp(-0.5 * (torch.cdist(hue, hue) / SAME_HUE) ** 2).sum(1)
    off = TINT_SHRINK * ((hue / alike[:, None]).sum(0) / (1 / alike).sum() - torch.tensor(ALBEDO_TINT))
    if samples.sky is not None:  # seen sky has its own color
        seen = samples.sky.clamp_min(MIN_IRRADIANCE)
        wanted = seen.log() - (seen @ LUMINANCE).log()
        off = wanted - tint[0]
    tint = tint + off
    return tint - ((luminance[:, None] * tint.exp()) @ LUMINANCE / luminance).log()[:, None]
