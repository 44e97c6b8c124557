"""sRGB and linear light (IEC 61966-2-1), for torch tensors and numpy arrays of values in 0..1.

Imports neither library, so that the process that reads meshes stays small.
"""

from __future__ import annotations

from typing import Any, TypeVar

Array = TypeVar("Array", bound=Any)


def srgb_to_linear(srgb: Array) -> Array:
    """Convert sRGB to linear light."""
    dark = srgb <= 0.04045
    return dark * (srgb / 12.92) + ~dark * ((srgb.clip(0) + 0.055) / 1.055) ** 2.4


def linear_to_srgb(linear: Array) -> Array:
    """Convert linear light to sRGB."""
    dark = linear <= 0.0031308
    return dark * (linear * 12.92) + ~dark * (1.055 * linear.clip(1e-9) ** (1 / 2.4) - 0.055)
