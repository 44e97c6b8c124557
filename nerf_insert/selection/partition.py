"""Splitting a surface between clicks on a thing and clicks on what is not the thing.

World coordinates and units; N points of a surface.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy.sparse import coo_array
from scipy.sparse.csgraph import dijkstra
from scipy.spatial import KDTree
from torch import Tensor


def nearer_to_first(
    points: Float[Tensor, "N 3"],
    first: Float[Tensor, "A 3"],
    second: Float[Tensor, "B 3"],
    cell: float,
) -> Bool[Tensor, " N"]:
    """Return which points of a surface are nearer to one set of seeds than to another, along the surface.

    Args:
        points: Of the surface.
        first: Seeds.
        second: Seeds that do not touch the surface count for nothing.
        cell: The side of the voxels that the surface is made of.
    """
    index = (points / cell).floor().long()
    voxels, of_point = index.unique(dim=0, return_inverse=True)
    middles = (voxels.double() + 0.5).numpy()
    tree = KDTree(middles)
    pairs = tree.query_pairs(1.9, output_type="ndarray")  # neighbors at a face, an edge or a corner
    lengths = np.linalg.norm(middles[pairs[:, 0]] - middles[pairs[:, 1]], axis=1)
    graph = coo_array((lengths, (pairs[:, 0], pairs[:, 1])), shape=(len(voxels),) * 2).tocsr()
    ways = []
    for seeds in (first, second):
        gap, nearest = tree.query((seeds / cell).double().numpy())
        start = np.unique(np.asarray(nearest)[np.asarray(gap) < 3])
        if not len(start):
            ways.append(np.full(len(voxels), np.inf))
            continue
        ways.append(dijkstra(graph, directed=False, indices=start, min_only=True))
    nearer = (ways[0] <= ways[1]) & (np.isfinite(ways[0]) | np.isinf(ways[1]))
    return torch.from_numpy(nearer)[of_point]
