"""How far beyond drawn masks the thing that they meant may reach. World coordinates; N points."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from nerf_insert.geometry.sampling import sample_bilinear
from nerf_insert.regions.visual_hull import VisualHull

CARELESS = 0.2  # of a mask's width: how far from the thing's outline a careless stroke ends


def within_strokes(hull: VisualHull, points: Float[Tensor, "N 3"]) -> Bool[Tensor, " N"]:
    """Return which points project into all masks of a hull, or so near to them that they may be meant."""
    meant = torch.ones(len(points), dtype=torch.bool)
    for cone in hull.cones:
        away = torch.from_numpy(distance_transform_edt(~cone.mask.numpy())).float()  # type: ignore[arg-type]
        projection = cone.camera.project(points)
        found = sample_bilinear(away[..., None], projection.pixels)[:, 0]
        meant &= projection.inside & (found <= CARELESS * float(cone.mask.sum()) ** 0.5)
    return meant
