"""Filling holes with copied patches.

Coarse to fine, each pixel of a hole is matched with a place in the known part whose surroundings look the
same, and takes the mean of what the matched patches around it show (Wexler et al., "Space-time completion
of video", PAMI 2007). Matches are found by propagation and random trials (Barnes et al., "PatchMatch",
SIGGRAPH 2009) and by trying the shifts under which the picture repeats itself, which carry on tiles and
stripes (He and Sun, "Statistics of patch offsets", ECCV 2012).

h and w are the picture's height and width, N a number of pixels; pixels are numbered row by row.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Int64, Shaped
from numba import njit
from numpy import ndarray
from scipy.fft import irfft2, next_fast_len, rfft2
from scipy.ndimage import binary_erosion, distance_transform_edt

SIDE = 3  # pixels from a patch's middle to its border
DEEP = 20  # pixels from the middle of a hole to its border, at most, at the coarsest level
SHIFTS = 12  # by which the picture repeats itself, tried at every pixel
ROUNDS = (20, 4)  # of matching and taking means: at the coarsest level, at the others
ATTEMPTS = 2  # of which the best is taken
TRIALS = 4  # random places around a match that are tried in a round

Picture = Float32[ndarray, "h w 3"]
Mask = Bool[ndarray, "h w"]
Numbers = Int64[ndarray, " N"]


class Painted(NamedTuple):
    picture: Picture  # with the wanted pixels painted
    gap: Picture  # by how much known pixels beside wanted ones exceed what would be painted there
    seam: Mask  # which pixels those are
    unlikeness: float  # how badly the patches fit, in the mean


def synthesize(picture: Picture, known: Mask, wanted: Mask, seed: int) -> Painted | None:
    """The picture with its wanted pixels painted from its known ones. None where no patch is known as a
    whole."""
    sizes = [(picture, known, wanted)]
    while _depth(sizes[-1][2]) > DEEP and min(sizes[-1][1].shape) >= 8 * SIDE:
        sizes.append(_half(*sizes[-1]))
    attempts = [_attempt(sizes, np.random.default_rng((seed, k))) for k in range(ATTEMPTS)]
    if None in attempts:
        return None
    level = min(attempts, key=lambda level: level.unlikeness())
    unlikeness = level.unlikeness()
    level.paint(level.weights(sharpness=8))
    return Painted(level.cropped(level.now), *level.gap(), unlikeness)


def _attempt(sizes: list[tuple[Picture, Mask, Mask]], rng: np.random.Generator) -> _Level | None:
    level = None
    for size in reversed(sizes):
        coarser, level = level, _Level(*size)
        if not len(level.sources) or not len(level.pixels):
            level = None
            continue
        level.start(rng) if coarser is None else level.go_on(coarser, rng)
        for _ in range(ROUNDS[coarser is not None]):
            level.improve(rng)
            level.paint(level.weights())
    return level


class _Level:
    """One size of the picture, with a border of SIDE void pixels all around; pixels go by number.

    `pixels` are those whose patch holds a wanted one, and `match` says which source each is like.
    """

    def __init__(self, picture: Picture, known: Mask, wanted: Mask):
        self.shifts = repeats(picture, known, wanted)
        self.shape = known.shape
        known, wanted, inside = (np.pad(m, SIDE) for m in (known, wanted, np.ones(self.shape, bool)))
        self.width = known.shape[1]
        self.now = np.pad(picture, [(SIDE, SIDE), (SIDE, SIDE), (0, 0)]).reshape(-1, 3)
        span = np.arange(-SIDE, SIDE + 1)
        self.patch = (span[:, None] * self.width + span).ravel()
        self.known, self.wanted = known.ravel(), wanted.ravel()
        self.source = binary_erosion(known, np.ones((2 * SIDE + 1,) * 2)).ravel()
        self.sources = self.source.nonzero()[0]
        covers = np.zeros(known.size, bool)
        covers[(self.wanted.nonzero()[0][:, None] + self.patch).ravel()] = True
        self.pixels = (covers & inside.ravel()).nonzero()[0]
        away = distance_transform_edt(~known).ravel()
        self.trust = np.where(self.known | self.wanted, 1.2 ** -np.minimum(away, 40), 0).astype(np.float32)
        self.match = np.zeros(len(self.pixels), np.int64)

    def start(self, rng: np.random.Generator) -> None:
        """First matches: by the best of the shifts that lead to a source, else at random."""
        self.match = self._any_source(len(self.pixels), rng)
        left = np.ones(len(self.pixels), bool)
        for shift in self.shifts:
            moved = self._moved(self.pixels, *shift)
            take = left & self.source[moved]
            self.match[take], left = moved[take], left & ~take
        self.paint(np.where(left, np.float32(1e-6), np.float32(1)))

    def go_on(self, coarser: _Level, rng: np.random.Generator) -> None:
        """First matches: those of the level of half the size."""
        everywhere = np.full(len(coarser.now), -1)
        everywhere[coarser.pixels] = coarser.match
        rows, columns = self._place(self.pixels)
        above = everywhere[coarser._number(rows // 2, columns // 2)]
        matched_rows, matched_columns = coarser._place(above)
        self.match = self._number(2 * matched_rows + rows % 2, 2 * matched_columns + columns % 2)
        lost = (above < 0) | ~self.source[self.match]
        self.match[lost] = self._any_source(int(lost.sum()), rng)
        self.paint(np.where(lost, np.float32(1e-6), self.trust[self.pixels]))

    def improve(self, rng: np.random.Generator) -> None:
        """Take better matches: what the neighbors' say, the shifts, and places around."""
        best = self._cost(self.match)
        everywhere = np.full(len(self.now), -1)

        def attempt(candidate: Numbers) -> None:
            allowed = (candidate >= 0) & (candidate != self.match)
            index = (allowed & self.source[candidate]).nonzero()[0]
            cost = self._cost(candidate[index], index)
            better = cost < best[index]
            index, cost = index[better], cost[better]
            self.match[index], best[index] = candidate[index], cost

        for step in (-1, 1, -self.width, self.width):
            everywhere[self.pixels] = self.match
            neighbor = everywhere[self.pixels + step]
            attempt(np.where(neighbor >= 0, neighbor - step, -1))
        for shift in self.shifts:
            attempt(self._moved(self.pixels, *shift))
        reach = max(self.shape) / 4
        for _ in range(TRIALS):
            row, column = np.round(rng.uniform(-reach, reach, (2, len(self.pixels)))).astype(np.int64)
            attempt(self._moved(self.match, row, column))
            reach = max(reach / 3, 1.5)

    def unlikeness(self) -> float:
        """How badly the patches fit, in the mean."""
        return float(self._cost(self.match).mean())

    def weights(self, sharpness: float = 1) -> Float32[ndarray, " N"]:
        """How much to believe each match: more near what is known, and where patches are alike."""
        cost = self._cost(self.match)
        spread = np.percentile(cost, 75) / sharpness + 1e-8
        return (self.trust[self.pixels] * np.exp(-cost / (2 * spread)) + 1e-9).astype(np.float32)

    def paint(self, weight: Float32[ndarray, " N"], where: Bool[ndarray, " P"] | None = None) -> None:
        """The wanted pixels, or others, become the weighted means of what the patches over them show."""
        match, weights = np.zeros(len(self.now), np.int64), np.zeros(len(self.now), np.float32)
        match[self.pixels], weights[self.pixels] = self.match, weight
        where = self.wanted if where is None else where
        _means(self.now, self.patch, where.nonzero()[0], match, weights)

    def gap(self) -> tuple[Picture, Mask]:
        """At the known pixels beside wanted ones, by how much they exceed what the patches show there;
        and which pixels those are."""
        beside = np.zeros(self.known.shape, bool)
        step = np.array([-self.width - 1, -self.width, -self.width + 1, -1, 1])
        step = np.concatenate([step, -step[:3]])
        beside[(self.wanted.nonzero()[0][:, None] + step).ravel()] = True
        beside &= self.known
        known = self.now.copy()
        self.paint(self.weights(sharpness=8), beside)
        self.now, gap = known, known - self.now
        return self.cropped(gap), self.cropped(beside[:, None])[..., 0]

    def cropped(self, values: Shaped[ndarray, "P c"]) -> Shaped[ndarray, "h w c"]:
        return values.reshape(-1, self.width, values.shape[-1])[SIDE:-SIDE, SIDE:-SIDE]

    def _cost(self, match: Numbers, index: Numbers | slice = slice(None)) -> Float32[ndarray, " N"]:
        return _costs(self.now, self.trust, self.patch, self.pixels[index], match)

    def _any_source(self, count: int, rng: np.random.Generator) -> Numbers:
        return self.sources[rng.integers(len(self.sources), size=count)]

    def _place(self, pixels: Numbers) -> tuple[Numbers, Numbers]:
        rows, columns = np.divmod(pixels, self.width)
        return rows - SIDE, columns - SIDE

    def _number(self, rows: Numbers, columns: Numbers) -> Numbers:
        """The pixels in these rows and columns, those outside the picture brought to its border."""
        h, w = self.shape
        return (rows.clip(0, h - 1) + SIDE) * self.width + columns.clip(0, w - 1) + SIDE

    def _moved(self, pixels: Numbers, row: int | Numbers, column: int | Numbers) -> Numbers:
        rows, columns = self._place(pixels)
        return self._number(rows + row, columns + column)


@njit(cache=True, nogil=True)
def _costs(now, trust, patch, pixels, match):
    """How unlike the patches around pixels and around their matches are, [N]: mean squared differences."""
    costs = np.empty(len(pixels), np.float32)
    for i in range(len(pixels)):
        total, weights = np.float32(0), np.float32(0)
        for offset in patch:
            p, q = pixels[i] + offset, match[i] + offset
            error = np.float32(0)
            for c in range(3):
                error += (now[p, c] - now[q, c]) ** 2
            total += trust[p] * error
            weights += trust[p]
        costs[i] = total / weights
    return costs


@njit(cache=True, nogil=True)
def _means(now, patch, where, match, weights):
    """Pixels `where` become the weighted means of what the matched patches over them show."""
    for p in where:
        r, g, b, share = np.float32(0), np.float32(0), np.float32(0), np.float32(1e-12)
        for offset in patch:
            w, q = weights[p - offset], match[p - offset] + offset
            r, g, b, share = r + w * now[q, 0], g + w * now[q, 1], b + w * now[q, 2], share + w
        now[p, 0], now[p, 1], now[p, 2] = r / share, g / share, b / share


def repeats(picture: Picture, known: Mask, wanted: Mask) -> list[tuple[int, int]]:
    """The shifts (rows, columns) under which what is known around the wanted pixels fits best onto what
    is known elsewhere, best first; only such that lead from wanted pixels to known ones."""
    h, w = known.shape
    size = (next_fast_len(2 * h - 1, real=True), next_fast_len(2 * w - 1, real=True))

    def correlate(a: ndarray, b: ndarray) -> ndarray:  # sum over x of a(x) b(x + shift), for every shift
        return irfft2(np.conj(rfft2(a, size)) * rfft2(b, size), size)

    reach = max(np.sqrt(wanted.sum()), 2 * SIDE)
    b = known.astype(np.float64)
    a = b * (distance_transform_edt(~wanted) < reach)
    pairs = correlate(a, b)
    error = np.zeros(size)
    for c in range(picture.shape[-1]):
        v = picture[..., c] * b
        error += correlate(a * v * v, b) + correlate(a, v * v) - 2 * correlate(a * v, v)
    covered = correlate(wanted.astype(np.float64), b) / max(wanted.sum(), 1)
    fits = (pairs > 0.25 * a.sum()) & (covered > 0.15)
    error = np.where(fits, error.clip(0) / pairs.clip(1), np.inf)
    rows, columns = (np.minimum(np.arange(n), n - np.arange(n)) for n in size)
    error[(rows[:, None] <= SIDE) & (columns[None] <= SIDE)] = np.inf
    found = []
    while len(found) < SHIFTS and np.isfinite(error.min()):
        row, column = np.unravel_index(np.argmin(error), size)
        found.append((int(row - size[0] * (row > h)), int(column - size[1] * (column > w))))
        error[np.ix_((row + np.arange(-2, 3)) % size[0], (column + np.arange(-2, 3)) % size[1])] = np.inf
    return found


def _half(picture: Picture, known: Mask, wanted: Mask) -> tuple[Picture, Mask, Mask]:
    """A picture of half the size; a pixel is known where half of it is, or more."""
    border = [(0, n % 2) for n in known.shape]

    def mean(values: ndarray) -> ndarray:
        padded = np.pad(values, border + [(0, 0)] * (values.ndim - 2))
        h, w = padded.shape[:2]
        return padded.reshape(h // 2, 2, w // 2, 2, *values.shape[2:]).mean((1, 3))

    share = mean(known.astype(np.float32))
    half = share >= 0.5
    color = mean(picture * known[..., None]) / np.maximum(share, 1e-6)[..., None]
    picture = np.where(half[..., None], color, 0).astype(np.float32)
    return picture, half, (mean(wanted.astype(np.float32)) > 0) & ~half


def _depth(wanted: Mask) -> float:
    """How far the innermost wanted pixel is from the border of the wanted part."""
    return float(distance_transform_edt(np.pad(wanted, 1)).max())
