"""How the faces of a triangle mesh hang together. V vertices, F faces, E pairs of faces."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int64
from scipy.sparse import coo_matrix, csgraph
from torch import Tensor


class FacePairs(NamedTuple):
    """E pairs of faces that share an edge which no third face has.

    A face's k-th edge goes from its corner k to its corner k + 1.
    """

    one: Int64[Tensor, " E"]
    two: Int64[Tensor, " E"]
    edge_one: Int64[Tensor, " E"]  # which edge of face `one` it is: 0, 1 or 2
    edge_two: Int64[Tensor, " E"]


def merge_vertices(vertices: Float[Tensor, "V 3"], faces: Int64[Tensor, "F 3"]) -> Int64[Tensor, "F 3"]:
    """Renumber the corners of faces so that vertices at exactly the same position have one number."""
    _, inverse = np.unique(vertices.numpy() + 0.0, axis=0, return_inverse=True)  # + 0.0: no minus zero
    return torch.from_numpy(inverse.reshape(-1))[faces]


def adjacent_faces(faces: Int64[Tensor, "F 3"]) -> FacePairs:
    """Find all pairs of faces that share an edge which no third face has."""
    start, end = faces.reshape(-1), faces.roll(-1, 1).reshape(-1)
    low, high = torch.minimum(start, end), torch.maximum(start, end)
    key, order = (low * (int(faces.max()) + 1 if len(faces) else 1) + high).sort(stable=True)
    _, counts = key.unique_consecutive(return_counts=True)
    first = (counts.cumsum(0) - counts)[counts == 2]
    one, two = order[first], order[first + 1]
    proper = low[one] != high[one]
    one, two = one[proper], two[proper]
    return FacePairs(one // 3, two // 3, one % 3, two % 3)


def connected_components(
    count: int, one: Int64[Tensor, " E"], two: Int64[Tensor, " E"]
) -> Int64[Tensor, " count"]:
    """Label the connected components of `count` nodes that are joined by the edges one-two."""
    ones = np.ones(len(one), dtype=np.int8)
    graph = coo_matrix((ones, (one.numpy(), two.numpy())), shape=(count, count))
    return torch.from_numpy(csgraph.connected_components(graph, directed=False)[1]).long()
