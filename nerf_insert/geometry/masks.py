"""Distances within masks, boolean images [h, w]."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float64
from numpy import ndarray
from scipy.ndimage import distance_transform_edt


def inner_distance(mask: Bool[ndarray, "h w"]) -> Float64[ndarray, "h w"]:
    """Return the distance of each true pixel from the nearest false one, pixels; 0 at false pixels.

    A mask without false pixels has no such distance: do not ask for it.
    """
    return np.asarray(distance_transform_edt(mask))
