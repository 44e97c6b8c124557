"""How far a click spreads in its photograph: what to add to a selection there, or to take away from it.

The click and what is to stay as it is compete for the pixels between them, along paths that cost more where
colors or depth change. What is to stay is all that lies as far away again as the selection's outline is from
the click: where nothing tells two things apart, the click changes the disc around it that just touches the
outline. h, w: a part of the photograph.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8
from scipy.ndimage import distance_transform_edt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import dijkstra

REACH = 2.0  # times the distance from the click to the outline
LEAST_REACH = 4.0  # pixels
SEED = 1.5  # pixels around a click that are known
CONTRAST = 2.0  # times the mean squared difference of neighbors, from which colors differ
EDGE_COST = 1.0  # of a step over an edge, in that of a path as long as the reach


def spread(
    colors: UInt8[np.ndarray, "h w 3"],
    edges: Bool[np.ndarray, "h w"],
    selected: Bool[np.ndarray, "h w"],
    click: tuple[int, int],
    staying: Sequence[tuple[int, int]],
    closed: Bool[np.ndarray, "h w"] | None = None,
) -> Bool[np.ndarray, "h w"]:
    """Return the pixels that a click on what is wrongly selected, or not selected, changes.

    Args:
        colors: The photograph, sRGB.
        edges: Where its depth jumps.
        selected: The selection.
        click: (column, row).
        staying: Pixels (column, row) that stay as they are: clicks that say so.
        closed: Pixels that surely stay.
    """
    x, y = click
    height, width = selected.shape
    alike = selected == selected[y, x]
    inner = np.asarray(distance_transform_edt(alike))[y, x] if not alike.all() else float(max(height, width))
    reach = max(REACH * inner, LEAST_REACH)
    r = int(np.ceil(reach)) + 1
    window = (slice(max(0, y - r), y + r + 1), slice(max(0, x - r), x + r + 1))
    origin = (window[1].start, window[0].start)
    rows, columns = np.mgrid[
        window[0].start : min(y + r + 1, height), window[1].start : min(x + r + 1, width)
    ]
    away = np.hypot(columns - x, rows - y)
    domain = alike[window] & (away <= reach)
    reach = min(reach, float(away[domain].max()))  # near the border of the part something has to stay, too
    if closed is not None:
        domain &= ~closed[window] | (away <= 1)
    firm = domain & (away >= reach - 1)
    for column, row in staying:
        firm |= domain & (np.hypot(columns - column, rows - row) <= SEED)
    seeds = domain & (away <= max(1.0, min(SEED, inner / 2))) & ~firm
    seeds[y - origin[1], x - origin[0]] = True
    change, stay = _ways(colors[window], edges[window], domain, [seeds, firm & ~seeds], reach)
    result = np.zeros(selected.shape, dtype=bool)
    result[window] = domain & np.isfinite(change) & (change < stay)
    result[y, x] = True
    return result


def _ways(
    colors: UInt8[np.ndarray, "h w 3"],
    edges: Bool[np.ndarray, "h w"],
    domain: Bool[np.ndarray, "h w"],
    seeds: Sequence[Bool[np.ndarray, "h w"]],
    reach: float,
) -> list[Float[np.ndarray, "h w"]]:
    """The cheapest ways within a domain to each set of seeds."""
    lab = cv2.cvtColor(np.ascontiguousarray(colors), cv2.COLOR_RGB2LAB).astype(np.float32)
    height, width = domain.shape
    number = np.arange(height * width).reshape(height, width)
    ends, lengths, differences, jumps = [], [], [], []
    for dy, dx in ((0, 1), (1, 0), (1, 1), (1, -1)):
        one = (slice(0, height - dy), slice(max(0, -dx), width - max(0, dx)))
        other = (slice(dy, height), slice(max(0, dx), width + min(0, dx)))
        both = domain[one] & domain[other]
        ends.append(np.stack([number[one][both], number[other][both]]))
        lengths.append(np.full(both.sum(), np.hypot(dy, dx)))
        differences.append(np.square(lab[one] - lab[other]).sum(-1)[both])
        jumps.append((edges[one] != edges[other])[both])
    pairs, length = np.concatenate(ends, 1), np.concatenate(lengths)
    difference = np.concatenate(differences)
    noise = max(float(difference.mean()) if len(difference) else 0.0, 1.0)
    contrast = 1 - np.exp(-difference / (CONTRAST * noise))
    contrast = np.maximum(contrast, np.concatenate(jumps))
    graph = coo_array(
        (length * (1 + EDGE_COST * reach * contrast), tuple(pairs)), shape=(height * width,) * 2
    )
    graph = graph.tocsr()
    ways = []
    for some in seeds:
        start = number[some]
        way = dijkstra(graph, directed=False, indices=start, min_only=True) if len(start) else None
        ways.append(np.full(domain.shape, np.inf) if way is None else way.reshape(domain.shape))
    return ways
