"""Exemplar-based hole filling: PatchMatch with multi-scale voting.

Coarse to fine, each pixel of a hole is matched with a pixel of the known part whose surroundings look the
same, and takes the mean of what the matched patches around it show (Wexler et al., "Space-time completion
of video", PAMI 2007). Matches are found by propagation and random trials (Barnes et al., "PatchMatch",
SIGGRAPH 2009) and by trying the shifts under which the image repeats itself, which continue tiles and
stripes (He and Sun, "Statistics of patch offsets", ECCV 2012).

h and w are the image's height and width, N a number of pixels; pixels are numbered row by row.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, cast, no_type_check

import numpy as np
from jaxtyping import Bool, Float32, Int64, Shaped
from numba import njit
from numpy import ndarray
from scipy.fft import irfft2, next_fast_len, rfft2
from scipy.ndimage import binary_erosion

from nerf_insert.geometry.masks import inner_distance

PATCH_RADIUS = 3  # pixels from a patch's center to its border
MAX_HOLE_RADIUS = 20  # pixels from the middle of a hole to its border at the coarsest level
MAX_SHIFTS = 12  # by which the image repeats itself, tried at every pixel
ITERATIONS = (20, 4)  # of matching and voting: at the coarsest level, at the others
ATTEMPTS = 2  # of which the best is taken
TRIALS = 4  # random pixels around a match that are tried in an iteration
MIN_OVERLAP = 0.25  # of the known surroundings with known pixels, for a shift to be tried
MIN_SHIFT_COVERAGE = 0.15  # of the wanted pixels with known ones, for a shift to be tried

Image = Float32[ndarray, "h w 3"]
Mask = Bool[ndarray, "h w"]
Numbers = Int64[ndarray, " N"]
Scale = tuple[ndarray, ndarray, ndarray]  # image, known, wanted, of one size


class Synthesis(NamedTuple):
    """An image with its hole filled."""

    image: Image  # with the wanted pixels filled
    gap: Image  # by how much known pixels beside wanted ones exceed what would be filled in there
    seam: Mask  # those known pixels
    cost: float  # mean squared difference of the matched patches


def synthesize(image: Image, known: Mask, wanted: Mask, seed: int) -> Synthesis | None:
    """Fill an image's wanted pixels from its known ones.

    Args:
        image: Values of any scale; pixels that are neither known nor wanted are not read.
        known: Where values may be copied from.
        wanted: Where to fill.
        seed: Random seed of the search.

    Returns:
        The filled image; None if no patch is known as a whole.
    """
    sizes: list[Scale] = [(image, known, wanted)]
    while _hole_radius(sizes[-1][2]) > MAX_HOLE_RADIUS and min(sizes[-1][1].shape) >= 8 * PATCH_RADIUS:
        sizes.append(_half(*sizes[-1]))
    attempts = [_attempt(sizes, np.random.default_rng((seed, k))) for k in range(ATTEMPTS)]
    if any(level is None for level in attempts):
        return None
    level = min((level for level in attempts if level is not None), key=_Level.cost)
    cost = level.cost()
    level.vote(level.weights(sharpness=8))
    return Synthesis(level.cropped(level.colors), *level.gap(), cost)


def _attempt(sizes: Sequence[Scale], rng: np.random.Generator) -> _Level | None:
    level = None
    for size in reversed(sizes):
        coarser, level = level, _Level(*size)
        if not len(level.sources) or not len(level.pixels):
            level = None
            continue
        level.start(rng) if coarser is None else level.refine(coarser, rng)
        for _ in range(ITERATIONS[coarser is not None]):
            level.improve(rng)
            level.vote(level.weights())
    return level


class _Level:
    """One scale of the image, with a border of PATCH_RADIUS unused pixels all around; pixels go by number.

    `sources` are the pixels whose patch is known as a whole, `pixels` those whose patch holds a wanted one,
    and `match` is the source that each of these is matched with.
    """

    def __init__(self, image: Image, known: Mask, wanted: Mask):
        self.shifts = repeats(image, known, wanted)
        self.shape = known.shape
        known, wanted, inside = (np.pad(m, PATCH_RADIUS) for m in (known, wanted, np.ones(self.shape, bool)))
        self.width = known.shape[1]
        self.colors = np.pad(
            image, [(PATCH_RADIUS, PATCH_RADIUS), (PATCH_RADIUS, PATCH_RADIUS), (0, 0)]
        ).reshape(-1, 3)
        span = np.arange(-PATCH_RADIUS, PATCH_RADIUS + 1)
        self.patch = (span[:, None] * self.width + span).ravel()
        self.known, self.wanted = known.ravel(), wanted.ravel()
        whole_patch = np.ones((2 * PATCH_RADIUS + 1,) * 2)
        self.source = np.asarray(binary_erosion(known, whole_patch), bool).ravel()
        self.sources = self.source.nonzero()[0]
        covers = np.zeros(known.size, bool)
        covers[(self.wanted.nonzero()[0][:, None] + self.patch).ravel()] = True
        self.pixels = (covers & inside.ravel()).nonzero()[0]
        away = inner_distance(~known).ravel()
        self.trust = np.where(self.known | self.wanted, 1.2 ** -np.minimum(away, 40), 0).astype(np.float32)
        self.match = np.zeros(len(self.pixels), np.int64)

    def start(self, rng: np.random.Generator) -> None:
        """Initialize matches: by the best of the shifts that lead to a source, else at random."""
        self.match = self._any_source(len(self.pixels), rng)
        left = np.ones(len(self.pixels), bool)
        for shift in self.shifts:
            moved = self._moved(self.pixels, *shift)
            take = left & self.source[moved]
            self.match[take], left = moved[take], left & ~take
        self.vote(np.where(left, np.float32(1e-6), np.float32(1)))

    def refine(self, coarser: _Level, rng: np.random.Generator) -> None:
        """Initialize matches from those of the level of half the size."""
        everywhere = np.full(len(coarser.colors), -1)
        everywhere[coarser.pixels] = coarser.match
        rows, columns = self._row_column(self.pixels)
        above = everywhere[coarser._number(rows // 2, columns // 2)]
        matched_rows, matched_columns = coarser._row_column(above)
        self.match = self._number(2 * matched_rows + rows % 2, 2 * matched_columns + columns % 2)
        lost = (above < 0) | ~self.source[self.match]
        self.match[lost] = self._any_source(int(lost.sum()), rng)
        self.vote(np.where(lost, np.float32(1e-6), self.trust[self.pixels]))

    def improve(self, rng: np.random.Generator) -> None:
        """Search better matches: by the neighbors' matches, the shifts, and pixels around the match."""
        best = self._cost(self.match)
        everywhere = np.full(len(self.colors), -1)

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

    def cost(self) -> float:
        """Return the mean squared difference of the matched patches."""
        return float(self._cost(self.match).mean())

    def weights(self, sharpness: float = 1) -> Float32[ndarray, " N"]:
        """Return a weight for each match: higher near known pixels, and where patches are alike."""
        cost = self._cost(self.match)
        spread = np.percentile(cost, 75) / sharpness + 1e-8
        return (self.trust[self.pixels] * np.exp(-cost / (2 * spread)) + 1e-9).astype(np.float32)

    def vote(self, weight: Float32[ndarray, " N"], where: Bool[ndarray, " P"] | None = None) -> None:
        """Set the wanted pixels, or others, to the weighted means of what the patches over them show."""
        match, weights = np.zeros(len(self.colors), np.int64), np.zeros(len(self.colors), np.float32)
        match[self.pixels], weights[self.pixels] = self.match, weight
        where = self.wanted if where is None else where
        _means(self.colors, self.patch, where.nonzero()[0], match, weights)

    def gap(self) -> tuple[Image, Mask]:
        """Return by how much known pixels beside wanted ones exceed what patches show; and their mask."""
        beside = np.zeros(self.known.shape, bool)
        step = np.array([-self.width - 1, -self.width, -self.width + 1, -1, 1])
        step = np.concatenate([step, -step[:3]])
        beside[(self.wanted.nonzero()[0][:, None] + step).ravel()] = True
        beside &= self.known
        known = self.colors.copy()
        self.vote(self.weights(sharpness=8), beside)
        self.colors, gap = known, known - self.colors
        return self.cropped(gap), self.cropped(beside[:, None])[..., 0]

    def cropped(self, values: Shaped[ndarray, "P c"]) -> Shaped[ndarray, "h w c"]:
        return values.reshape(-1, self.width, values.shape[-1])[
            PATCH_RADIUS:-PATCH_RADIUS, PATCH_RADIUS:-PATCH_RADIUS
        ]

    def _cost(self, match: Numbers, index: Numbers | slice = slice(None)) -> Float32[ndarray, " N"]:
        return _costs(self.colors, self.trust, self.patch, self.pixels[index], match)

    def _any_source(self, count: int, rng: np.random.Generator) -> Numbers:
        return self.sources[rng.integers(len(self.sources), size=count)]

    def _row_column(self, pixels: Numbers) -> tuple[Numbers, Numbers]:
        rows, columns = np.divmod(pixels, self.width)
        return rows - PATCH_RADIUS, columns - PATCH_RADIUS

    def _number(self, rows: Numbers, columns: Numbers) -> Numbers:
        """The pixels in these rows and columns; those outside the image are moved to its border."""
        h, w = self.shape
        return (rows.clip(0, h - 1) + PATCH_RADIUS) * self.width + columns.clip(0, w - 1) + PATCH_RADIUS

    def _moved(self, pixels: Numbers, row: int | Numbers, column: int | Numbers) -> Numbers:
        rows, columns = self._row_column(pixels)
        return self._number(rows + row, columns + column)


@njit(cache=True, nogil=True)
@no_type_check
def _costs(colors, trust, patch, pixels, match):
    """Mean squared differences of the patches around pixels and around their matches, [N]."""
    costs = np.empty(len(pixels), np.float32)
    for i in range(len(pixels)):
        total, weights = np.float32(0), np.float32(0)
        for offset in patch:
            p, q = pixels[i] + offset, match[i] + offset
            error = np.float32(0)
            for c in range(3):
                error += (colors[p, c] - colors[q, c]) ** 2
            total += trust[p] * error
            weights += trust[p]
        costs[i] = total / weights
    return costs


@njit(cache=True, nogil=True)
@no_type_check
def _means(colors, patch, where, match, weights):
    """Set pixels `where` to the weighted means of what the matched patches over them show."""
    for p in where:
        r, g, b, weight = np.float32(0), np.float32(0), np.float32(0), np.float32(1e-12)
        for offset in patch:
            w, q = weights[p - offset], match[p - offset] + offset
            r, g, b, weight = r + w * colors[q, 0], g + w * colors[q, 1], b + w * colors[q, 2], weight + w
        colors[p, 0], colors[p, 1], colors[p, 2] = r / weight, g / weight, b / weight


def repeats(image: Image, known: Mask, wanted: Mask) -> list[tuple[int, int]]:
    """Find the shifts under which an image repeats itself around its wanted pixels.

    Args:
        image: Values of any scale.
        known: Where values may be compared.
        wanted: What is to be filled; shifts have to lead from there to known pixels.

    Returns:
        At most MAX_SHIFTS shifts (rows, columns), the best first.
    """
    h, w = known.shape
    # scipy.fft is annotated with what its dispatcher returns, not with the results.
    size = tuple(cast(int, next_fast_len(2 * n - 1, real=True)) for n in (h, w))

    def correlate(a: ndarray, b: ndarray) -> ndarray:  # sum over x of a(x) b(x + shift), for every shift
        spectra = np.asarray(rfft2(a, size)), np.asarray(rfft2(b, size))
        return np.asarray(irfft2(np.conj(spectra[0]) * spectra[1], size))

    reach = max(np.sqrt(wanted.sum()), 2 * PATCH_RADIUS)
    b = known.astype(np.float64)
    a = b * (inner_distance(~wanted) < reach)
    pairs = correlate(a, b)
    error = np.zeros(size)
    for c in range(image.shape[-1]):
        v = image[..., c] * b
        error += correlate(a * v * v, b) + correlate(a, v * v) - 2 * correlate(a * v, v)
    covered = correlate(wanted.astype(np.float64), b) / max(wanted.sum(), 1)
    fits = (pairs > MIN_OVERLAP * a.sum()) & (covered > MIN_SHIFT_COVERAGE)
    error = np.where(fits, error.clip(0) / pairs.clip(1), np.inf)
    rows, columns = (np.minimum(np.arange(n), n - np.arange(n)) for n in size)
    error[(rows[:, None] <= PATCH_RADIUS) & (columns[None] <= PATCH_RADIUS)] = np.inf
    found = []
    while len(found) < MAX_SHIFTS and np.isfinite(error.min()):
        row, column = np.unravel_index(np.argmin(error), size)
        found.append((int(row - size[0] * (row > h)), int(column - size[1] * (column > w))))
        error[np.ix_((row + np.arange(-2, 3)) % size[0], (column + np.arange(-2, 3)) % size[1])] = np.inf
    return found


def _half(
    image: Image, known: Mask, wanted: Mask
) -> tuple[Float32[ndarray, "h2 w2 3"], Bool[ndarray, "h2 w2"], Bool[ndarray, "h2 w2"]]:
    """An image of half the size; a pixel is known if at least half of it is."""
    border = [(0, n % 2) for n in known.shape]

    def mean(values: ndarray) -> ndarray:
        padded = np.pad(values, border + [(0, 0)] * (values.ndim - 2))
        h, w = padded.shape[:2]
        return padded.reshape(h // 2, 2, w // 2, 2, *values.shape[2:]).mean((1, 3))

    fraction = mean(known.astype(np.float32))
    half = fraction >= 0.5
    color = mean(image * known[..., None]) / np.maximum(fraction, 1e-6)[..., None]
    image = np.where(half[..., None], color, 0).astype(np.float32)
    return image, half, (mean(wanted.astype(np.float32)) > 0) & ~half


def _hole_radius(wanted: Mask) -> float:
    """The distance of the innermost wanted pixel from the border of the wanted part."""
    return float(inner_distance(np.pad(wanted, 1)).max())
