"""Completing a flat picture from its surroundings, by copying patches of it.

Coarse to fine, each unknown pixel is matched with a place in the known part whose surroundings look the
same, and takes the mean of what the matched patches around it say (space-time completion, Wexler et al.,
PAMI 2007). Matches are found by propagation and random trials (PatchMatch, Barnes et al., SIGGRAPH 2009)
and by trying the shifts under which the picture repeats itself (statistics of patch offsets, He and Sun,
ECCV 2012), which carry on tiles and stripes. A slope of light over the picture is taken out before and put
back afterwards, and a membrane (harmonic function) closes what gap is left at the seam (Pérez et al.,
Poisson image editing, SIGGRAPH 2003).

h and w are the picture's height and width, N a number of pixels; pixels are numbered row by row. The same
input and seed give the same output.
"""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Bool, Float, Float32, Int64
from numpy import ndarray
from scipy.fft import irfft2, next_fast_len, rfft2
from scipy.sparse import coo_array, diags_array
from scipy.sparse.linalg import spsolve

SIDE = 3  # pixels from a patch's middle to its border
SHIFTS = 12  # by which the picture repeats itself, tried at every pixel
ROUNDS = (8, 4)  # of matching and taking means: at the coarsest level, at the others
TRIALS = 4  # random places around a match that are tried in a round

Picture = Float32[ndarray, "h w 3"]
Mask = Bool[ndarray, "h w"]


def complete(picture: Picture, known: Mask, wanted: Mask, seed: int = 0) -> Picture:
    """The picture with its wanted pixels painted from its known ones; the other pixels as they were.

    Pixels that are neither wanted nor known are not looked at. With nothing known the wanted pixels
    become mid-grey.
    """
    wanted = wanted & ~known
    if not known.any():
        return np.where(wanted[..., None], np.float32(0.5), picture)
    light = slope_of_light(picture, known)
    detail = np.where(known[..., None], picture - light, 0).astype(np.float32)
    painted, gap, seam = _synthesise(detail, known, wanted, np.random.default_rng(seed))
    painted = painted + light + membrane(gap, seam, wanted)
    return np.where(wanted[..., None], painted.clip(0, 1), picture).astype(np.float32)


def membrane(values: Float32[ndarray, "h w c"], known: Mask, wanted: Mask) -> Float32[ndarray, "h w c"]:
    """Values at the wanted pixels that solve Laplace's equation between the known ones; no flow across
    the border to other pixels. A part that touches nothing known gets the mean of all that is known."""
    result = np.where(known[..., None], values, 0).astype(np.float32)
    wanted = wanted & ~known
    count = int(wanted.sum())
    if not count or not known.any():
        return result
    number = np.full(wanted.shape, -1)
    number[wanted] = np.arange(count)
    right = np.full((count, values.shape[-1]), 1e-6) * values[known].mean(0)
    degree = np.full(count, 1e-6)
    rows, columns = [], []
    for axis in (0, 1):
        lower = (slice(None),) * axis + (slice(None, -1),)
        upper = (slice(None),) * axis + (slice(1, None),)
        for here, there in ((lower, upper), (upper, lower)):
            fixed, both = wanted[here] & known[there], wanted[here] & wanted[there]
            right[number[here][fixed]] += values[there][fixed]
            degree[number[here][fixed | both]] += 1
            rows.append(number[here][both])
            columns.append(number[there][both])
    rows, columns = np.concatenate(rows), np.concatenate(columns)
    between = coo_array((np.ones(len(rows)), (rows, columns)), shape=(count, count))
    solved = spsolve((diags_array(degree) - between).tocsc(), right)
    result[wanted] = solved.reshape(count, -1)
    return result


def slope_of_light(picture: Picture, known: Mask) -> Picture:
    """The plane that runs through the known pixels' colours, robustly (Huber's weights)."""
    y, x = np.indices(known.shape, dtype=np.float32) / max(known.shape)
    basis = np.stack([np.ones_like(x), x, y], -1)
    a, b = basis[known].astype(np.float64), picture[known].astype(np.float64)
    weight = np.ones((len(a), 1))
    for _ in range(5):
        normal = (a * weight).T @ a + 1e-3 * len(a) * np.diag([0.0, 1.0, 1.0])
        plane = np.linalg.solve(normal, (a * weight).T @ b)
        error = np.linalg.norm(b - a @ plane, axis=1, keepdims=True)
        weight = 1 / np.maximum(error / (np.median(error) + 1e-6), 1)
    return (basis @ plane).astype(np.float32)


def repeats(picture: Picture, known: Mask, wanted: Mask) -> list[tuple[int, int]]:
    """The shifts (rows, columns) under which what is known around the wanted pixels fits best onto what
    is known elsewhere, best first; only such that bring known pixels onto wanted ones."""
    h, w = known.shape
    size = (next_fast_len(2 * h - 1, real=True), next_fast_len(2 * w - 1, real=True))

    def correlate(a: ndarray, b: ndarray) -> ndarray:  # sum over x of a(x) b(x + s), for every s
        return irfft2(np.conj(rfft2(a, size)) * rfft2(b, size), size)

    reach = 2 * int(np.sqrt(wanted.sum())) + 1
    near = known & _dilated(wanted, max(reach // 2, 2 * SIDE))
    a, b = near.astype(np.float64), known.astype(np.float64)
    pairs = correlate(a, b)
    error = np.zeros(size)
    for c in range(picture.shape[-1]):
        v = picture[..., c] * b
        error += correlate(a * v * v, b) + correlate(a, v * v) - 2 * correlate(a * v, v)
    covered = correlate(wanted.astype(np.float64), b) / max(wanted.sum(), 1)
    fits = (pairs > 0.25 * a.sum()) & (covered > 0.15)
    error = np.where(fits, error.clip(0) / pairs.clip(1), np.inf) / covered.clip(0.15).clip(None, 1)
    rows, columns = (np.minimum(np.arange(n), n - np.arange(n)) for n in size)
    error[(rows[:, None] <= SIDE) & (columns[None] <= SIDE)] = np.inf
    found = []
    while len(found) < SHIFTS and np.isfinite(error.min()):
        row, column = np.unravel_index(np.argmin(error), size)
        found.append((int(row - size[0] * (row > h)), int(column - size[1] * (column > w))))
        around = np.ix_((row + np.arange(-2, 3)) % size[0], (column + np.arange(-2, 3)) % size[1])
        error[around] = np.inf
    return found


class _Level:
    """One size of the picture, with a border of SIDE void pixels all around; pixels by number."""

    def __init__(self, detail: Picture, known: Mask, wanted: Mask):
        self.shifts = repeats(detail, known, wanted)
        self.inner = known.shape
        padded = [(SIDE, SIDE), (SIDE, SIDE)]
        known, wanted = np.pad(known, padded), np.pad(wanted, padded)
        self.width = known.shape[1]
        self.known, self.wanted = known.ravel(), wanted.ravel()
        self.now = np.pad(detail, [*padded, (0, 0)]).reshape(-1, 3)
        span = np.arange(-SIDE, SIDE + 1)
        self.patch = (span[:, None] * self.width + span).ravel()
        inside = np.pad(np.ones(self.inner, bool), padded)
        self.source = (cv2.erode(known.astype(np.uint8), np.ones((2 * SIDE + 1,) * 2)) > 0).ravel()
        self.pixels = (_dilated(wanted, SIDE) & inside).ravel().nonzero()[0]  # whose patch has a wanted one
        self.sources = self.source.nonzero()[0]
        away = cv2.distanceTransform((~known).astype(np.uint8), cv2.DIST_L2, 3).ravel()
        self.trust = np.where(self.known | self.wanted, 1.2 ** -np.minimum(away, 40), 0).astype(np.float32)

    def place(self, rows: Int64[ndarray, "N"], columns: Int64[ndarray, "N"]) -> Int64[ndarray, "N"]:
        """The numbers of the pixels in these rows and columns, those outside brought to the border."""
        h, w = self.inner
        return (rows.clip(0, h - 1) + SIDE) * self.width + columns.clip(0, w - 1) + SIDE

    def cost(self, pixels: Int64[ndarray, "N"], matches: Int64[ndarray, "N"]) -> Float[ndarray, "N"]:
        around = pixels[:, None] + self.patch
        weight = self.trust[around]
        error = self.now[around] - self.now[matches[:, None] + self.patch]
        return np.einsum("npc,npc,np->n", error, error, weight) / weight.sum(1)

    def start(self, rng: np.random.Generator) -> Int64[ndarray, "N"]:
        """First matches, by the shift that fits best among those that lead to a source."""
        match = self.sources[rng.integers(len(self.sources), size=len(self.pixels))]
        left = np.ones(len(match), bool)
        for row, column in self.shifts:
            moved = self._moved(self.pixels, row, column)
            take = left & self.source[moved]
            match[take], left = moved[take], left & ~take
        sheet = membrane(
            self.now.reshape(-1, self.width, 3),
            self.known.reshape(-1, self.width),
            self.wanted.reshape(-1, self.width),
        )
        self.now = np.where(self.wanted[:, None], sheet.reshape(-1, 3), self.now)
        self.paint(match, np.where(left, np.float32(1e-3), np.float32(1)))
        return match

    def _moved(self, pixels: Int64[ndarray, "N"], row: int, column: int) -> Int64[ndarray, "N"]:
        rows, columns = np.divmod(pixels, self.width)
        return self.place(rows - SIDE + row, columns - SIDE + column)

    def improve(self, match: Int64[ndarray, "N"], rng: np.random.Generator) -> Int64[ndarray, "N"]:
        """Better matches, from the neighbours', the shifts and places around."""
        match = match.copy()
        best = self.cost(self.pixels, match)
        everywhere = np.full(len(self.now), -1)

        def attempt(candidate: Int64[ndarray, "N"]) -> None:
            allowed = (candidate >= 0) & (candidate != match)
            allowed[allowed] = self.source[candidate[allowed]]
            index = allowed.nonzero()[0]
            cost = self.cost(self.pixels[index], candidate[index])
            better = cost < best[index]
            index, cost = index[better], cost[better]
            match[index], best[index] = candidate[index], cost

        for step in (-1, 1, -self.width, self.width):
            everywhere[self.pixels] = match
            neighbour = everywhere[self.pixels + step]
            attempt(np.where(neighbour >= 0, neighbour - step, -1))
        for row, column in self.shifts:
            attempt(self._moved(self.pixels, row, column))
        reach = max(self.inner) / 4
        for _ in range(TRIALS):
            row, column = np.round(rng.uniform(-reach, reach, (2, len(match)))).astype(np.int64)
            rows, columns = np.divmod(match, self.width)
            attempt(self.place(rows - SIDE + row, columns - SIDE + column))
            reach = max(reach / 3, 1.5)
        return match

    def paint(self, match: Int64[ndarray, "N"], weight: Float[ndarray, "N"]) -> None:
        """The wanted pixels become the weighted means of what the patches over them show."""
        where = self.wanted.nonzero()[0]
        matched = np.zeros(len(self.now), np.int64)
        weights = np.zeros(len(self.now), np.float32)
        matched[self.pixels], weights[self.pixels] = match, weight
        total, share = np.zeros((len(where), 3), np.float32), np.zeros((len(where), 1), np.float32)
        for offset in self.patch:
            w = weights[where - offset][:, None]
            total += w * self.now[matched[where - offset] + offset]
            share += w
        self.now[where] = total / np.maximum(share, 1e-12)

    def weights(self, match: Int64[ndarray, "N"], sharp: float) -> Float32[ndarray, "N"]:
        cost = self.cost(self.pixels, match)
        spread = np.percentile(cost, 75) / sharp + 1e-8
        return (self.trust[self.pixels] * np.exp(-cost / (2 * spread)) + 1e-9).astype(np.float32)

    def gap(self, match: Int64[ndarray, "N"]) -> tuple[Picture, Mask]:
        """For the wanted pixels at known ones, how much darker than what is known the matched patches
        are, on the known pixels; and which those are."""
        known2d = self.known.reshape(-1, self.width)
        edge = self.wanted & _dilated(known2d, 1).ravel()
        chosen = edge[self.pixels]
        pixels, around = self.pixels[chosen], self.pixels[chosen][:, None] + self.patch
        weight = self.known[around].astype(np.float32)
        error = self.now[around] - self.now[match[chosen][:, None] + self.patch]
        result = np.zeros_like(self.now)
        result[pixels] = np.einsum("npc,np->nc", error, weight) / weight.sum(1, keepdims=True)
        return self.cropped(result), self.cropped(edge[:, None])[..., 0]

    def cropped(self, values: ndarray) -> ndarray:
        return values.reshape(-1, self.width, values.shape[-1])[SIDE:-SIDE, SIDE:-SIDE]


def _synthesise(detail: Picture, known: Mask, wanted: Mask, rng: np.random.Generator):
    """The picture with its wanted pixels painted, the gap to what is known at the seam, and the seam."""
    sizes = [(detail, known, wanted)]
    while _depth(sizes[-1][2]) > SIDE and min(sizes[-1][1].shape) >= 8 * SIDE:
        sizes.append(_half(*sizes[-1]))
    match, level = None, None
    for size in reversed(sizes):
        coarse, level = level, _Level(*size)
        if not len(level.pixels) or not len(level.sources):
            level = coarse
            continue
        if match is None:
            match = level.start(rng)
        else:
            match = _refined(coarse, match, level, rng)
        for _ in range(ROUNDS[coarse is not None]):
            match = level.improve(match, rng)
            level.paint(match, level.weights(match, 1))
        if size is sizes[0]:
            level.paint(match, level.weights(match, 8))
            return level.cropped(level.now), *level.gap(match)
    edge = wanted & _dilated(known, 1)
    return membrane(detail, known, wanted), np.zeros_like(detail), edge


def _refined(coarse: _Level, match: Int64[ndarray, "N"], fine: _Level, rng: np.random.Generator):
    """Matches of the coarser level taken over to the next, and its picture painted by them."""
    everywhere = np.full(len(coarse.now), -1)
    everywhere[coarse.pixels] = match
    rows, columns = np.divmod(fine.pixels, fine.width)
    rows, columns = rows - SIDE, columns - SIDE
    above = everywhere[coarse.place(rows // 2, columns // 2)]
    r, c = np.divmod(above, coarse.width)
    new = fine.place((r - SIDE) * 2 + rows % 2, (c - SIDE) * 2 + columns % 2)
    lost = (above < 0) | ~fine.source[new]
    new[lost] = fine.sources[rng.integers(len(fine.sources), size=int(lost.sum()))]
    fine.paint(new, np.where(lost, np.float32(1e-6), fine.trust[fine.pixels]))
    return new


def _half(detail: Picture, known: Mask, wanted: Mask) -> tuple[Picture, Mask, Mask]:
    """A picture of half the size; a pixel is known where half of it is, or more."""
    h, w = (n + n % 2 for n in known.shape)
    border = [(0, h - known.shape[0]), (0, w - known.shape[1])]

    def mean(values: ndarray) -> ndarray:
        padded = np.pad(values, border + [(0, 0)] * (values.ndim - 2))
        return padded.reshape(h // 2, 2, w // 2, 2, *values.shape[2:]).mean((1, 3))

    share = mean(known.astype(np.float32))
    half = share >= 0.5
    colour = mean(detail * known[..., None]) / np.maximum(share, 1e-6)[..., None]
    return np.where(half[..., None], colour, 0).astype(np.float32), half, (mean(wanted.astype(np.float32)) > 0) & ~half


def _depth(wanted: Mask) -> float:
    """How far the innermost wanted pixel is from the border of the wanted part."""
    return float(cv2.distanceTransform(np.pad(wanted, 1).astype(np.uint8), cv2.DIST_L2, 3).max())


def _dilated(mask: Mask, by: int) -> Mask:
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * by + 1, 2 * by + 1))
    return cv2.dilate(mask.astype(np.uint8), kernel) > 0
