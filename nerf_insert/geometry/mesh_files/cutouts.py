"""Cut the transparent parts of textured surfaces out, in the geometry itself.

Leaves, fences and hair are often large faces whose texture is transparent but for a shape. Cut along the line
where alpha crosses the material's cutoff, they are the same for the region, for rays and for shadows, and
nothing that comes later has to know of alpha.

Faces that are opaque as a whole stay and those that are transparent as a whole go. The others are divided,
again and again, until they are about as small as a pixel of the texture; these are cut along the line. Edges
are divided for both of their faces, so that no gaps arise. F faces.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int64

from nerf_insert.geometry.mesh_files.parts import Notes, Part, Texture

MAX_LEVELS = 12
MAX_NEW_FACES = 400_000  # of a file; with more, outlines become coarser
PARTLY = 0.05  # of a surface's area that is partly transparent, from which that is told
CLEAR, SOLID = 0.02, 0.98  # alpha that counts as fully transparent and fully opaque


def cut_out(parts: list[Part], textures: list[Texture], notes: Notes) -> list[Part]:
    """Return the parts without what is transparent.

    Args:
        parts: All parts of a file. Those whose material has no cutoff stay as they are.
        textures: The textures that their materials refer to.
        notes: Where to tell which surfaces are partly transparent.
    """
    wanted = [part for part in parts if part.material.cutoff is not None and len(part.faces)]
    budget = MAX_NEW_FACES // max(1, len(wanted))
    out = []
    for part in parts:
        if part.material.cutoff is not None and len(part.faces):
            part = _cut(part, textures, budget, notes)
        if len(part.faces):
            out.append(part)
    return out


def _cut(part: Part, textures: list[Texture], budget: int, notes: Notes) -> Part:
    alpha = _Alpha(part, textures)
    cutoff = float(part.material.cutoff or 0)
    low, high = alpha.range(part)
    _tell(part, alpha, low, high, cutoff, notes)
    part, low, high = _kept(part, high >= cutoff, low, high)
    for _ in range(MAX_LEVELS):
        mixed = low < cutoff
        coarse = mixed & (alpha.extent(part) > 1.0)
        count = int(coarse.sum())
        if not count or 4 * count + len(part.faces) > budget + len(mixed) - count:
            break
        part = _divided(part, coarse)
        low, high = alpha.range(part)
        part, low, high = _kept(part, high >= cutoff, low, high)
    return _clipped(part, low < cutoff, alpha.at_corners(part), cutoff)


def _tell(part: Part, alpha: _Alpha, low: np.ndarray, high: np.ndarray, cutoff: float, notes: Notes) -> None:
    name = part.material.name
    if (high < cutoff).all():
        notes.add("it is transparent and was left out: what has the material", name)
    elif part.material.partly and alpha.partly(part) > PARTLY:
        notes.add("it is partly transparent; what is more than half so was cut out, of the material", name)


def _kept(
    part: Part, keep: np.ndarray, low: np.ndarray, high: np.ndarray
) -> tuple[Part, np.ndarray, np.ndarray]:
    return part.with_faces(part.faces[keep], lambda values: values[keep]), low[keep], high[keep]


class _Alpha:
    """The alpha of a part: its material's, times its texture's, times that of its corners."""

    def __init__(self, part: Part, textures: list[Texture]) -> None:
        self.factor, use = part.material.alpha, part.material.base_texture
        self.use, self.texture, self.image = use, None, None
        if use is not None and textures[use.texture].pixels.shape[-1] == 4:
            self.texture = textures[use.texture]
            self.image = self.texture.pixels[..., 3].astype(np.float32) / 255
            self.lows, self.highs = _pyramid(self.image, np.minimum), _pyramid(self.image, np.maximum)

    def range(self, part: Part) -> tuple[Float[np.ndarray, " F"], Float[np.ndarray, " F"]]:
        """Bounds of alpha on each face, which may be wider than need be."""
        low = high = np.full(len(part.faces), self.factor, np.float32)
        if part.colors is not None and part.colors.shape[-1] == 4:
            corner = part.colors[..., 3].astype(np.float32)
            low, high = low * corner.min(1), high * corner.max(1)
        if self.image is not None and len(part.faces):
            pixels = self._pixels(part)
            first = np.floor(pixels.min(1) - 0.5).astype(np.int64)
            last = np.floor(pixels.max(1) - 0.5).astype(np.int64) + 1
            low = low * self._over(self.lows, first, last, np.minimum)
            high = high * self._over(self.highs, first, last, np.maximum)
        return low, high

    def extent(self, part: Part) -> Float[np.ndarray, " F"]:
        """The longest side of each face, in pixels of the texture; of colors alone a coarse guess."""
        if self.image is None:
            return np.full(len(part.faces), 0.0 if part.colors is None or part.colors.shape[-1] < 4 else 1.0)
        pixels = self._pixels(part)
        return (pixels.max(1) - pixels.min(1)).max(1)

    def at_corners(self, part: Part) -> Float[np.ndarray, "F 3"]:
        """Alpha at the corners of faces, the texture's bilinear."""
        out = np.full((len(part.faces), 3), self.factor, np.float64)
        if part.colors is not None and part.colors.shape[-1] == 4:
            out = out * part.colors[..., 3]
        if self.image is None or not len(part.faces):
            return out
        at = self._pixels(part) - 0.5
        corner = np.floor(at).astype(np.int64)
        fraction = at - corner
        total = np.zeros(out.shape)
        for dx in (0, 1):
            for dy in (0, 1):
                weight = np.abs(1 - dx - fraction[..., 0]) * np.abs(1 - dy - fraction[..., 1])
                column = self._wrapped(corner[..., 0] + dx, 0, self.image.shape[1])
                row = self._wrapped(corner[..., 1] + dy, 1, self.image.shape[0])
                total += weight * self.image[row, column]
        return out * total

    def partly(self, part: Part) -> float:
        """The fraction of the surface's corners that is neither transparent nor opaque."""
        if self.image is not None:
            values = self.image[:: max(1, len(self.image) // 256)] * self.factor
        else:
            values = self.at_corners(part)
        return float(((values > CLEAR) & (values < SOLID)).mean()) if values.size else 0.0

    def _pixels(self, part: Part) -> Float[np.ndarray, "F 3 2"]:
        """Where corners are in the texture, pixels from its top left corner."""
        assert self.use is not None and self.image is not None
        (a, b, x), (c, d, y) = self.use.matrix
        u, v = part.uv[self.use.uv_set].astype(np.float64).transpose(2, 0, 1)
        u, v = a * u + b * v + x, c * u + d * v + y
        place = np.stack([u * self.image.shape[1], (1 - v) * self.image.shape[0]], -1)
        return np.clip(np.nan_to_num(place), -1e7, 1e7)

    def _wrapped(self, index: np.ndarray, axis: int, size: int) -> np.ndarray:
        how = self.texture.wrap[axis] if self.texture else "repeat"
        if how == "clamp":
            return np.clip(index, 0, size - 1)
        if how == "mirror":
            index = index % (2 * size)
            return np.where(index < size, index, 2 * size - 1 - index)
        return index % size

    def _over(self, levels: list[np.ndarray], first: np.ndarray, last: np.ndarray, join) -> np.ndarray:
        """The smallest or largest value in rectangles of pixels, of a pyramid of such values."""
        span = (last - first).max(1)
        level = np.ceil(np.log2(np.maximum(span, 1))).astype(np.int64)
        out = np.full(len(first), levels[-1][0, 0], np.float32)  # all of the image, where that is needed
        for k in np.unique(level[level < len(levels)]).tolist():
            chosen = np.flatnonzero(level == k)
            value = None
            for dx in range(3):  # of cells as wide as the rectangle, which may begin within one
                for dy in range(3):
                    x = np.minimum(first[chosen, 0] + (dx << k), last[chosen, 0])
                    y = np.minimum(first[chosen, 1] + (dy << k), last[chosen, 1])
                    column = self._wrapped(x, 0, levels[0].shape[1]) >> k
                    row = self._wrapped(y, 1, levels[0].shape[0]) >> k
                    here = levels[k][row, column]
                    value = here if value is None else join(value, here)
            out[chosen] = value
        return out


def _pyramid(image: Float[np.ndarray, "h w"], join) -> list[np.ndarray]:
    """The image, then each time half as large with the smallest or largest of four values."""
    levels = [image]
    while max(levels[-1].shape) > 1:
        last = levels[-1]
        last = np.pad(last, [(0, n % 2) for n in last.shape], mode="edge")
        rows = join(last[0::2], last[1::2])
        levels.append(join(rows[:, 0::2], rows[:, 1::2]))
    return levels


# For each set of divided edges (bits 0, 1, 2: from corner k to k + 1) the triangles that take a face's place,
# of its corners 0, 1, 2 and the middles 3, 4, 5 of those edges.
PIECES = {
    0: [(0, 1, 2)],
    1: [(0, 3, 2), (3, 1, 2)],
    2: [(0, 1, 4), (0, 4, 2)],
    4: [(0, 1, 5), (5, 1, 2)],
    3: [(3, 1, 4), (0, 3, 4), (0, 4, 2)],
    6: [(4, 2, 5), (0, 1, 4), (0, 4, 5)],
    5: [(0, 3, 5), (3, 1, 2), (3, 2, 5)],
    7: [(0, 3, 5), (3, 1, 4), (5, 4, 2), (3, 4, 5)],
}


def _divided(part: Part, chosen: Bool[np.ndarray, " F"]) -> Part:
    """Divide the chosen faces in four, and their neighbors so that no corner lies within an edge."""
    _, merged = np.unique(part.vertices + 0.0, axis=0, return_inverse=True)
    corner = merged.reshape(-1)[part.faces]
    ends = np.sort(np.stack([corner, np.roll(corner, -1, axis=1)], -1), axis=-1)
    _, edge = np.unique(ends.reshape(-1, 2), axis=0, return_inverse=True)
    edge = edge.reshape(-1, 3)
    marked = np.zeros(edge.max() + 1, bool)
    marked[edge[chosen].reshape(-1)] = True
    case = (marked[edge] * np.array([1, 2, 4])).sum(1)
    following = np.roll(part.faces, -1, axis=1)
    # A middle is a new vertex for each face: its neighbor's lies at the very same place.
    low, high = np.minimum(part.faces, following), np.maximum(part.faces, following)
    swap = corner > np.roll(corner, -1, axis=1)
    low, high = np.where(swap, following, part.faces), np.where(swap, part.faces, following)
    middles = (part.vertices[low] + part.vertices[high]) / 2
    numbers = len(part.vertices) + np.arange(part.faces.size).reshape(-1, 3)
    index = np.concatenate([part.faces, numbers], 1)
    faces, origin, pieces = [], [], []
    for which, triangles in PIECES.items():
        here = np.flatnonzero(case == which)
        for triangle in triangles:
            faces.append(index[here][:, triangle])
            origin.append(here)
            pieces.append(np.broadcast_to(np.array(triangle), (len(here), 3)))
    owner, piece = np.concatenate(origin), np.concatenate(pieces)
    vertices = np.concatenate([part.vertices, middles.reshape(-1, 3)])
    used, renumbered = np.unique(np.concatenate(faces), return_inverse=True)

    def at_pieces(values):
        six = np.concatenate([values, (values + np.roll(values, -1, axis=1)) / 2], 1)
        return six[owner[:, None], piece]

    return part.with_faces(renumbered.reshape(-1, 3).astype(np.int64), at_pieces, vertices[used])


def _clipped(
    part: Part, mixed: Bool[np.ndarray, " F"], alpha: Float[np.ndarray, "F 3"], cutoff: float
) -> Part:
    """Cut faces along the line where alpha, linear on each, is the cutoff."""
    above = alpha >= cutoff
    whole = ~mixed | above.all(1)
    faces, corners = [part.faces[whole]], [np.broadcast_to(np.eye(3), (int(whole.sum()), 3, 3))]
    owners = [np.flatnonzero(whole)]
    extra: list[np.ndarray] = []
    count = len(part.vertices)

    def add(owner: np.ndarray, weights: np.ndarray) -> None:
        """New faces of new vertices; weights [F, 3, 3] of the owner's corners at each corner."""
        nonlocal count
        extra.append((weights[..., None] * part.vertices[part.faces[owner]][:, None]).sum(2).reshape(-1, 3))
        faces.append(count + np.arange(3 * len(owner)).reshape(-1, 3))
        corners.append(weights)
        owners.append(owner)
        count += 3 * len(owner)

    for first in range(3):  # the corner that lies on a side by itself
        a, b, c = first, (first + 1) % 3, (first + 2) % 3
        eye = np.eye(3)
        for alone in (True, False):
            chosen = ~whole & (above[:, a] == alone) & (above[:, b] != alone) & (above[:, c] != alone)
            owner = np.flatnonzero(chosen)
            if not len(owner):
                continue
            values = alpha[owner]
            one = _crossing(values, a, b, cutoff)
            two = _crossing(values, a, c, cutoff)
            corner = [np.broadcast_to(eye[k], one.shape) for k in range(3)]
            if alone:
                add(owner, np.stack([corner[a], one, two], 1))
            else:
                add(owner, np.stack([one, corner[b], corner[c]], 1))
                add(owner, np.stack([one, corner[c], two], 1))
    owner, weights = np.concatenate(owners), np.concatenate(corners)

    def at_corners(values: np.ndarray) -> np.ndarray:
        return (weights[..., None] * values[owner][:, None]).sum(2)

    vertices = np.concatenate([part.vertices, *extra])
    return part.with_faces(np.concatenate(faces).astype(np.int64), at_corners, vertices)


def _crossing(alpha: Float[np.ndarray, "F 3"], one: int, two: int, cutoff: float) -> Float[np.ndarray, "F 3"]:
    """Weights of a face's corners at the point of an edge where alpha is the cutoff."""
    low, high = alpha[:, one], alpha[:, two]
    fraction = np.clip((cutoff - low) / np.where(high == low, 1, high - low), 0, 1)
    weights = np.zeros((len(alpha), 3))
    weights[:, one], weights[:, two] = 1 - fraction, fraction
    return weights


def used_vertices(part: Part) -> tuple[Float[np.ndarray, "V 3"], Int64[np.ndarray, "F 3"]]:
    """Return the vertices that faces use, and the faces renumbered."""
    used, faces = np.unique(part.faces, return_inverse=True)
    return part.vertices[used], faces.reshape(-1, 3).astype(np.int64)
