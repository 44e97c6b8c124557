"""What remains of a thing beside the region where it was removed. World coordinates and units; N points."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from scipy.spatial import KDTree
from torch import Tensor

from nerf_insert.geometry.planes import Plane
from nerf_insert.regions.distance_grid import Lattice
from nerf_insert.regions.grid_region import GridRegion
from nerf_insert.regions.region import Region
from nerf_insert.selection.cloud import Voxels
from nerf_insert.selection.support import MIN_POINTS, connected, rises

REACH = (
    0.2  # of a region's diagonal: what remains lies no farther from it; what goes on beyond is another thing
)
MIN_SHARE = 0.004  # of the thing's points that have to remain
POINTS = 200_000  # of the grid around them


def find_remains(
    before: Float[Tensor, "N 3"],
    after: Float[Tensor, "M 3"],
    region: Region,
    supports: Sequence[tuple[Plane, float]],
    cell: float,
) -> tuple[GridRegion, float] | None:
    """Return where a thing remains, and the share of its points that do; None if it is gone.

    Args:
        before: Points that the photographs show around the region, with the thing.
        after: The same without it.
        region: Where it was removed.
        supports: The planes that it stands on, and the heights up to which these are rough.
        cell: The side of the voxels that things are looked at in.
    """
    planes = [plane for plane, _ in supports]
    within = before[region.contains(before)]
    within = within[rises(within, planes)]
    if len(within) < MIN_POINTS:
        return None
    thing = before[connected(before, within, planes, cell)]
    left = after[rises(after, planes)]
    for plane, height in supports:
        left = left[plane.height(left) > height]
    outside = left[region.distance(left) > cell / 2] if len(left) else left
    if not len(outside) or not len(thing):
        return None
    pieces = outside[Voxels(thing, cell).contain(outside)]
    near = pieces[region.distance(pieces) < REACH * region.diagonal] if len(pieces) else pieces
    if not len(near):
        return None
    # What hangs together with something that goes on beyond reach belongs to another thing.
    far = outside[region.distance(outside) >= REACH * region.diagonal]
    if len(far):
        near = near[~connected(torch.cat([near, far]), far, (), cell)[: len(near)]]
    share = len(near) / len(thing)
    return (_around(near, 1.5 * cell), share) if share >= MIN_SHARE else None


def _around(points: Float[Tensor, "N 3"], reach: float) -> GridRegion:
    """Everything within reach of some points."""
    lattice = Lattice.over(torch.stack([points.amin(0), points.amax(0)]), 2 * reach, POINTS)
    away = torch.as_tensor(KDTree(points.numpy()).query(lattice.points().numpy())[0]).float()
    return GridRegion.of_cells(lattice, (away <= max(reach, lattice.spacing)).view(lattice.shape))
