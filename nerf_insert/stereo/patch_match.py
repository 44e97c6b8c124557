"""Compiled PatchMatch stereo of one image against several others.

Every pixel of the reference image holds a plane, as what it does to inverse depth: its value `w` at the
pixel's center and its growth per pixel to the right and down, which is constant on a plane. A plane is good
where it takes the window around the pixel to patches of the other images that look the same (normalized
cross correlation, so faint textures count as much as strong ones and exposure does not). Good planes spread
to neighbors and are changed at random (PatchMatch stereo, Bleyer et al. 2011; on a checkerboard and against
several images as in Gipuma, Galliani et al. 2015).

Geometry is that of homogeneous coordinates: pixel (u, v) with inverse depth w is seen in another image at
A (u, v, 1) + b w. Inverse depth 0 is infinity and nothing special. H and W are the reference image's size, K
is the number of other images.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

jit = njit(cache=True, nogil=True, error_model="numpy", fastmath=True)

HALF = 2  # samples of a window on each side of its center
SIDE = 2 * HALF + 1
SAMPLES = SIDE * SIDE
CANDIDATES = 12  # planes tried at a pixel in one round
WORST = 2.0  # cost of a patch that is not in the other image
NOISE = (0.5 / 255) ** 2  # variance that is taken for noise
LIKE = 0.15  # difference of brightness at which a pixel's weight in a window has fallen to 1/e
THROUGH = 0.1  # relative difference of inverse depth of what is seen behind a surface
STEEPEST = 0.25  # least cosine between a plane's normal and the line of sight


@jit
def _random(state):
    """Return the next state of a generator and a number in 0..1 (splitmix64)."""
    state = np.uint64(state + np.uint64(0x9E3779B97F4A7C15))
    z = state
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z = z ^ (z >> np.uint64(31))
    return state, float(z >> np.uint64(11)) / 9007199254740992.0


@jit
def _window(image, valid, x, y, values, weights):
    """Fill in the window around a pixel and its weights, which add up to 1; return mean and variance."""
    height, width = image.shape
    center, total, mean = image[y, x], 0.0, 0.0
    i = 0
    for dy in range(-HALF, HALF + 1):
        row = min(max(y + dy, 0), height - 1)
        for dx in range(-HALF, HALF + 1):
            column = min(max(x + dx, 0), width - 1)
            value = image[row, column]
            weight = math.exp(-abs(value - center) / LIKE) if valid[row, column] else 0.0
            values[i], weights[i] = value, weight
            total += weight
            mean += weight * value
            i += 1
    total = max(total, 1e-9)
    mean /= total
    variance = 0.0
    for i in range(SAMPLES):
        weights[i] /= total
        variance += weights[i] * (values[i] - mean) ** 2
    return mean, variance


@jit
def _cost_in(other, height, width, a, b, u, v, w, right, down, values, weights, mean, variance):
    """Return 1 - the normalized cross correlation of a window with its patch in another image."""
    x0 = a[0, 0] * u + a[0, 1] * v + a[0, 2] + b[0] * w
    y0 = a[1, 0] * u + a[1, 1] * v + a[1, 2] + b[1] * w
    z0 = a[2, 0] * u + a[2, 1] * v + a[2, 2] + b[2] * w
    if z0 <= 1e-6:
        return WORST
    px, py = x0 / z0, y0 / z0
    if not (px >= 0 and py >= 0 and px < width and py < height):
        return WORST
    xr, yr, zr = a[0, 0] + b[0] * right, a[1, 0] + b[1] * right, a[2, 0] + b[2] * right
    xd, yd, zd = a[0, 1] + b[0] * down, a[1, 1] + b[1] * down, a[2, 1] + b[2] * down
    total = square = product = 0.0
    i = 0
    for dy in range(-HALF, HALF + 1):
        for dx in range(-HALF, HALF + 1):
            z = z0 + dx * zr + dy * zd
            if z <= 1e-6:
                return WORST
            x = (x0 + dx * xr + dy * xd) / z - 0.5
            y = (y0 + dx * yr + dy * yd) / z - 0.5
            x = min(max(x, 0.0), width - 1.001)
            y = min(max(y, 0.0), height - 1.001)
            column, row = int(x), int(y)
            fx, fy = x - column, y - row
            top = other[row, column] * (1 - fx) + other[row, column + 1] * fx
            bottom = other[row + 1, column] * (1 - fx) + other[row + 1, column + 1] * fx
            value = top * (1 - fy) + bottom * fy
            weighted = weights[i] * value
            total += weighted
            square += weighted * value
            product += weighted * values[i]
            i += 1
    spread = max(square - total * total, 0.0)
    return 1 - (product - mean * total) / math.sqrt((variance + NOISE) * (spread + NOISE))


@jit
def _cost(others, sizes, a, b, best_of, u, v, w, right, down, values, weights, mean, variance, costs):
    """Return the mean cost in the `best_of` images that a plane fits best: others may be occluded."""
    for k in range(others.shape[0]):
        costs[k] = _cost_in(
            others[k], sizes[k, 0], sizes[k, 1], a[k], b[k],
            u, v, w, right, down, values, weights, mean, variance,
        )  # fmt: skip
    for i in range(best_of):  # partial selection sort
        least = i
        for j in range(i + 1, len(costs)):
            if costs[j] < costs[least]:
                least = j
        costs[i], costs[least] = costs[least], costs[i]
    total = 0.0
    for i in range(best_of):
        total += costs[i]
    return total / best_of


@jit
def _random_plane(state, u, v, lens, nearest):
    """Return the generator's state and a random plane.

    Half of the planes lie beyond the distance 1, evenly in inverse depth, half nearer, evenly in depth.
    """
    state, r = _random(state)
    w = 2 * r if r < 0.5 else 1 / (1 - (2 * r - 1) * (1 - nearest))
    kx, ky = (u - lens[2]) / lens[0], (v - lens[3]) / lens[1]
    length = math.sqrt(kx * kx + ky * ky + 1)
    nx = ny = 0.0
    nz = 1.0
    for _ in range(8):
        state, r = _random(state)
        state, s = _random(state)
        z = 1 - r
        side = math.sqrt(1 - z * z)
        x, y, z = side * math.cos(2 * math.pi * s), side * math.sin(2 * math.pi * s), z
        if (x * kx + y * ky + z) / length > STEEPEST:
            nx, ny, nz = x, y, z
            break
    facing = nx * kx + ny * ky + nz
    return state, w, w * nx / (lens[0] * facing), w * ny / (lens[1] * facing)


@jit
def _candidate(i, state, planes, valid, x, y, lens, nearest, change):
    """Return the generator's state and the i-th plane to try at a pixel, of `CANDIDATES`; w < 0: none.

    First come those of eight neighbors of the other color, then a random one, then changes of its own.
    """
    if i < 8:
        far = 1 if i < 4 else 3
        dx = far * (1 if i % 4 == 0 else -1 if i % 4 == 1 else 0)
        dy = far * (1 if i % 4 == 2 else -1 if i % 4 == 3 else 0)
        column, row = x + dx, y + dy
        inside = 0 <= column < valid.shape[1] and 0 <= row < valid.shape[0]
        if not inside or not valid[row, column]:
            return state, -1.0, 0.0, 0.0
        w, right, down = planes[row, column, 0], planes[row, column, 1], planes[row, column, 2]
        return state, w - right * dx - down * dy, right, down
    if i == 8:
        return _random_plane(state, x + 0.5, y + 0.5, lens, nearest)
    w, right, down = planes[y, x, 0], planes[y, x, 1], planes[y, x, 2]
    state, r = _random(state)
    changed = w * (1 + 0.2 * change * (2 * r - 1))
    if i > 9:
        state, r = _random(state)
        state, q = _random(state)
        right += change * (2 * r - 1) * w / lens[0]
        down += change * (2 * q - 1) * w / lens[1]
    return state, changed, right, down


@jit
def match(image, valid, lens, others, sizes, a, b, best_of, nearest, planes, cost, rounds, tries, seed):
    """Improve the planes of an image; `planes` [H, W, 3] and `cost` [H, W] are read and written.

    Args:
        image: Brightness, [H, W].
        valid: Pixels that count, bool [H, W].
        lens: fx, fy, cx, cy of the reference image, in pixels.
        others: Brightness of the other images, [K, height, width], padded.
        sizes: Their heights and widths, [K, 2].
        a: [K, 3, 3], see above.
        b: [K, 3], see above.
        best_of: Number of images, of K, whose cost counts.
        nearest: Least depth of random planes.
        planes: w, growth to the right, growth down.
        cost: Cost of the planes.
        rounds: Rounds over the whole image.
        tries: Random planes for each pixel before the first round.
        seed: Random seed.
    """
    height, width = image.shape
    values, weights = np.empty(SAMPLES), np.empty(SAMPLES)
    costs = np.empty(others.shape[0])
    for turn in range(-1, 2 * rounds):  # at first all pixels, then one color of the checkerboard at a time
        change = 0.5 ** (turn // 2 + 1)
        for y in range(height):
            for x in range(width):
                if not valid[y, x] or (turn >= 0 and (x + y + turn) % 2):
                    continue
                mean, variance = _window(image, valid, x, y, values, weights)
                u, v = x + 0.5, y + 0.5
                state = np.uint64(((seed * 64 + turn + 1) * height + y) * width + x)
                state, _ = _random(state)
                for i in range(-1 if turn < 0 else 0, tries if turn < 0 else CANDIDATES):
                    w, right, down = planes[y, x, 0], planes[y, x, 1], planes[y, x, 2]
                    if i >= 0 and turn < 0:
                        state, w, right, down = _random_plane(state, u, v, lens, nearest)
                    elif i >= 0:
                        state, w, right, down = _candidate(
                            i, state, planes, valid, x, y, lens, nearest, change
                        )
                    if not (w >= 0 and w * nearest <= 1):
                        continue
                    new = _cost(
                        others, sizes, a, b, best_of, u, v, w, right, down,
                        values, weights, mean, variance, costs,
                    )  # fmt: skip
                    if new < cost[y, x] or i < 0:  # at first what its own plane costs at this size
                        planes[y, x, 0], planes[y, x, 1], planes[y, x, 2] = w, right, down
                        cost[y, x] = new


@jit
def finer(planes, height, width):
    """Return planes for an image of another size: each pixel's is that of the pixel that covered it."""
    rows, columns = planes.shape[:2]
    out = np.empty((height, width, 3))
    sy, sx = rows / height, columns / width
    for y in range(height):
        for x in range(width):
            v, u = (y + 0.5) * sy, (x + 0.5) * sx
            row, column = min(int(v), rows - 1), min(int(u), columns - 1)
            w, right, down = planes[row, column, 0], planes[row, column, 1], planes[row, column, 2]
            out[y, x, 0] = max(0.0, w + right * (u - column - 0.5) + down * (v - row - 0.5))
            out[y, x, 1], out[y, x, 2] = right * sx, down * sy
    return out


@jit
def count_agreeing(planes, cost, worst, valid, others, costs, sizes, a, b, tolerance, agreeing):
    """Count in how many other images the surface of a pixel is where their own planes have it.

    Those that look through it to a surface behind count against it.

    Args:
        planes: Of the reference image, [H, W, 3].
        cost: Their cost.
        worst: Cost above which a plane counts for nothing.
        valid: Pixels that count.
        others: Inverse depth in the other images, [K, height, width], padded.
        costs: Cost there.
        sizes: Their heights and widths, [K, 2].
        a: [K, 3, 3].
        b: [K, 3].
        tolerance: Relative difference of depth up to which they agree.
        agreeing: Written, int [H, W].
    """
    height, width = cost.shape
    for y in range(height):
        for x in range(width):
            agreeing[y, x] = 0
            if not valid[y, x] or cost[y, x] > worst:
                continue
            u, v, w = x + 0.5, y + 0.5, planes[y, x, 0]
            for k in range(others.shape[0]):
                z = a[k, 2, 0] * u + a[k, 2, 1] * v + a[k, 2, 2] + b[k, 2] * w
                if z <= 1e-6:
                    continue
                px = (a[k, 0, 0] * u + a[k, 0, 1] * v + a[k, 0, 2] + b[k, 0] * w) / z
                py = (a[k, 1, 0] * u + a[k, 1, 1] * v + a[k, 1, 2] + b[k, 1] * w) / z
                if not (px >= 0 and py >= 0 and px < sizes[k, 1] and py < sizes[k, 0]):
                    continue
                row, column = int(py), int(px)
                if costs[k, row, column] > worst:
                    continue
                # z counts in units of this image's depth, so w / z is the inverse depth in the other
                if abs(w / z - others[k, row, column]) <= tolerance * max(w / z, 0.02):
                    agreeing[y, x] += 1
                elif others[k, row, column] < (1 - THROUGH) * w / z:
                    agreeing[y, x] -= 1


@jit
def drop_edges(planes, known, jump, kept):
    """Keep the known pixels in whose window no other surface is known.

    A window that shows two surfaces takes on the depth of the nearer one, also behind its edge.

    Args:
        planes: [H, W, 3].
        known: bool [H, W].
        jump: Relative difference of inverse depth, from a pixel's plane to another pixel's, that is an edge.
        kept: Written, bool [H, W].
    """
    height, width = known.shape
    for y in range(height):
        for x in range(width):
            kept[y, x] = known[y, x]
            for row in range(max(0, y - HALF), min(height, y + HALF + 1)):
                for column in range(max(0, x - HALF), min(width, x + HALF + 1)):
                    if not (kept[y, x] and known[row, column]):
                        continue
                    dx, dy, there = column - x, row - y, planes[row, column, 0]
                    w = planes[y, x, 0] + planes[y, x, 1] * dx + planes[y, x, 2] * dy
                    w2 = there - planes[row, column, 1] * dx - planes[row, column, 2] * dy
                    off = min(abs(w - there), abs(w2 - planes[y, x, 0]))
                    if off > jump * max(there, planes[y, x, 0]):
                        kept[y, x] = False
