"""Compiled rasterization of splats (see `kernels.splatting`).

A splat in an image is a row of numbers, see `splat_numbers`. A task of `forward`, `hits` and `backward` is a
tile of TILE x TILE pixels with the pixels that are asked for in it, sorted by their row; each splat of the
tile is applied to those rows that it reaches. The inner loops run over pixels and hold no branches, so that
LLVM turns them into vectors. Gradients of the pairs of tiles and splats are written side by side and added up
afterwards: no two tasks write to the same memory, and the number of threads changes no result.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

jit = njit(cache=True, nogil=True, error_model="numpy")
vectors = njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "reassoc", "nsz", "arcp"})

TILE = 16  # pixels
GRADIENTS = 9  # mean (2), conic (3), opacity, rgb (3)
CHECK = 8  # splats after which a tile is looked at whether its pixels are all opaque

F0, F1, HALF = np.float32(0), np.float32(1), np.float32(0.5)
MAX_ALPHA, MIN_ALPHA = np.float32(0.999), np.float32(1 / 255)
STOP = np.float32(1e-4)
LIMIT = np.float32(6)  # above the q / 2 at which any alpha falls below MIN_ALPHA, ln 255 = 5.54
EIGHTH, MIDDLE, SCALE = np.float32(0.125), np.float32(0.375), np.float32(math.exp(-0.375))
C2, C3, C4 = np.float32(1 / 2), np.float32(1 / 6), np.float32(1 / 24)
C5, C6, C7 = np.float32(1 / 120), np.float32(1 / 720), np.float32(1 / 5040)


@njit(inline="always")
def _exp_minus(s):
    """Return exp(-s) for s in 0..LIMIT, to 1e-6 of the value: the eighth power of a polynomial."""
    y = MIDDLE - EIGHTH * s
    p = F1 + y * (F1 + y * (C2 + y * (C3 + y * (C4 + y * (C5 + y * (C6 + y * C7))))))
    p = p * SCALE
    p = p * p
    p = p * p
    return p * p


@jit
def _tiles(means, extents, i, columns, rows):
    """Return the first and last tile that a splat reaches, along x and along y."""
    return (
        max(0, int((means[i, 0] - extents[i, 0]) // TILE)),
        min(columns - 1, int((means[i, 0] + extents[i, 0]) // TILE)),
        max(0, int((means[i, 1] - extents[i, 1]) // TILE)),
        min(rows - 1, int((means[i, 1] + extents[i, 1]) // TILE)),
    )


@jit
def _reaches(means, conics, opacities, i, column, row):
    """Tell whether a splat's alpha can reach MIN_ALPHA in a tile.

    The smallest q over the tile is 0 inside, or lies on one of the edges facing the center.
    """
    x0, y0 = column * TILE - np.float64(means[i, 0]), row * TILE - np.float64(means[i, 1])
    x1, y1 = x0 + TILE, y0 + TILE
    if x0 <= 0 and x1 >= 0 and y0 <= 0 and y1 >= 0:
        return True
    a, b, c = np.float64(conics[i, 0]), np.float64(conics[i, 1]), np.float64(conics[i, 2])
    least = np.inf
    if x0 > 0 or x1 < 0:
        x = x0 if x0 > 0 else x1
        y = min(max(-b * x / c, y0), y1)
        least = a * x * x + 2 * b * x * y + c * y * y
    if y0 > 0 or y1 < 0:
        y = y0 if y0 > 0 else y1
        x = min(max(-b * y / a, x0), x1)
        least = min(least, a * x * x + 2 * b * x * y + c * y * y)
    return least <= 2 * math.log(np.float64(opacities[i]) * 255) + 1e-3


@jit
def count_pairs(_, order, means, conics, opacities, extents, columns, rows, counts):
    """Count the splats of each tile."""
    for i in order:
        first, last, top, bottom = _tiles(means, extents, i, columns, rows)
        for row in range(top, bottom + 1):
            for column in range(first, last + 1):
                if _reaches(means, conics, opacities, i, column, row):
                    counts[row * columns + column] += 1


@jit
def list_pairs(_, order, means, conics, opacities, extents, columns, rows, places, splats):
    """List the splats of each tile in their order; `places` says where each tile's next one goes."""
    for i in order:
        first, last, top, bottom = _tiles(means, extents, i, columns, rows)
        for row in range(top, bottom + 1):
            for column in range(first, last + 1):
                if _reaches(means, conics, opacities, i, column, row):
                    tile = row * columns + column
                    splats[places[tile]] = i
                    places[tile] += 1


@jit
def _pixels(tile, tile_offsets, pixel_order, pixels, top):
    """Return a tile's pixels, x and y, and where each of its rows of pixels begins."""
    first, last = tile_offsets[tile], tile_offsets[tile + 1]
    x, y = np.empty(last - first, np.float32), np.empty(last - first, np.float32)
    starts = np.zeros(TILE + 1, np.int64)
    for k in range(last - first):
        x[k], y[k] = pixels[pixel_order[first + k], 0], pixels[pixel_order[first + k], 1]
        starts[min(max(int(y[k]) - top, 0), TILE - 1) + 1] += 1
    for k in range(TILE):
        starts[k + 1] += starts[k]
    return x, y, starts


@jit
def _rows(row, top, starts):
    """Return the first and the end of the pixels that a splat can reach."""
    low = min(max(int(row[1] - row[13]) - top, 0), TILE - 1)
    high = min(max(int(row[1] + row[13]) - top, 0), TILE - 1)
    return starts[low], starts[high + 1]


@vectors
def _apply(row, index, x, y, front, alive, met, red, green, blue, depth):
    """Composite one splat in pixels side by side; `met` gets the number of the last one that counted."""
    mx, my, a, b, c, opacity = row[0], row[1], row[2], row[3], row[4], row[5]
    r, g, u, z, sx, sy = row[6], row[7], row[8], row[9], row[10], row[11]
    a, c = HALF * a, HALF * c
    for k in range(len(x)):
        dx, dy = x[k] - mx, y[k] - my
        s = a * dx * dx + c * dy * dy + b * dx * dy
        s = s if s < LIMIT else LIMIT
        alpha = opacity * _exp_minus(s)
        alpha = alpha if alpha < MAX_ALPHA else MAX_ALPHA
        alpha = alpha if alpha >= MIN_ALPHA else F0
        before = front[k]
        behind = before * (F1 - alpha)
        going = alive[k] if behind > STOP else F0
        alive[k] = going
        met[k] = index if going > F0 else met[k]
        weight = alpha * before * going
        red[k] += weight * r
        green[k] += weight * g
        blue[k] += weight * u
        behind = behind if going > F0 else before
        at = z + sx * dx + sy * dy
        depth[k] = at if (before > HALF) & (behind <= HALF) else depth[k]
        front[k] = behind


@vectors
def _any(values):
    most = F0
    for k in range(len(values)):
        most = values[k] if values[k] > most else most
    return most > F0


@jit
def forward(tile, columns, offsets, splats, data, tile_offsets, pixel_order, pixels, out):
    """Composite a tile's pixels: `out` gets rgb, transmittance, depth, and how many splats were met."""
    top = tile // columns * TILE
    x, y, starts = _pixels(tile, tile_offsets, pixel_order, pixels, top)
    count = len(x)
    if count == 0:
        return
    front, alive = np.ones(count, np.float32), np.ones(count, np.float32)
    red, green, blue = np.zeros(count, np.float32), np.zeros(count, np.float32), np.zeros(count, np.float32)
    depth, met = np.full(count, np.inf, np.float32), np.zeros(count, np.float32)
    begin = offsets[tile]
    for pair in range(begin, offsets[tile + 1]):
        row = data[splats[pair]]
        i, j = _rows(row, top, starts)
        if i < j:
            index = np.float32(pair - begin + 1)
            parts = front[i:j], alive[i:j], met[i:j], red[i:j], green[i:j], blue[i:j], depth[i:j]
            _apply(row, index, x[i:j], y[i:j], *parts)
        if pair % CHECK == 0 and not _any(alive):
            break
    first = tile_offsets[tile]
    for k in range(count):
        pixel = pixel_order[first + k]
        out[pixel, 0], out[pixel, 1], out[pixel, 2] = red[k], green[k], blue[k]
        out[pixel, 3], out[pixel, 4], out[pixel, 5] = front[k], depth[k], met[k]


@jit
def hits(tile, columns, offsets, splats, data, tile_offsets, pixel_order, pixels, certain):
    """Return what a tile's pixels meet: splats, alphas, depths, pixel by pixel, and how many each."""
    top = tile // columns * TILE
    x, y, starts = _pixels(tile, tile_offsets, pixel_order, pixels, top)
    count, pairs = len(x), offsets[tile + 1] - offsets[tile]
    counts = np.zeros(count, np.int64)
    if count == 0 or pairs == 0:
        return np.zeros(0, np.int64), np.zeros(0, np.float32), np.zeros(0, np.float32), counts
    capacity = 32 * count
    splat, alphas = np.empty(capacity, np.int64), np.empty(capacity, np.float32)
    depths, owner = np.empty(capacity, np.float32), np.empty(capacity, np.int64)
    front = np.ones(count, np.float32)
    limits = np.empty(count, np.float32)
    for k in range(count):
        limits[k] = certain[pixel_order[tile_offsets[tile] + k]]
    found = 0
    for pair in range(offsets[tile], offsets[tile + 1]):
        row = data[splats[pair]]
        i, j = _rows(row, top, starts)
        if found + j - i > capacity:
            capacity = 2 * capacity + count
            splat, alphas = _grown(splat, capacity), _grown(alphas, capacity)
            depths, owner = _grown(depths, capacity), _grown(owner, capacity)
        for k in range(i, j):
            if front[k] <= STOP:
                continue
            dx, dy = x[k] - row[0], y[k] - row[1]
            s = HALF * (row[2] * dx * dx + row[4] * dy * dy) + row[3] * dx * dy
            if s >= LIMIT:
                continue
            alpha = min(row[5] * _exp_minus(s), MAX_ALPHA)
            if alpha < MIN_ALPHA:
                continue
            at = row[9] + row[10] * dx + row[11] * dy
            behind = front[k] * (F1 - alpha) if at < limits[k] else front[k]
            if behind <= STOP:  # as in the raster, the splat that would end the pixel does not count
                front[k] = F0
                continue
            front[k] = behind
            splat[found], alphas[found], depths[found], owner[found] = splats[pair], alpha, at, k
            found += 1
            counts[k] += 1
        if pair % CHECK == 0 and front.max() <= STOP:
            break
    places = np.zeros(count, np.int64)
    for k in range(count - 1):
        places[k + 1] = places[k] + counts[k]
    order = np.empty(found, np.int64)
    for k in range(found):
        order[places[owner[k]]] = k
        places[owner[k]] += 1
    return splat[:found][order], alphas[:found][order], depths[:found][order], counts


@jit
def ray_hits(task, block, means, whitening, radii, opacities, origins, directions, near):
    """Return what a block of rays meets: splats, alphas, distances, ray by ray, and how many each."""
    first, last = task * block, min((task + 1) * block, origins.shape[0])
    counts = np.zeros(last - first, np.int64)
    capacity, found = 64 * block, 0
    splat, alphas = np.empty(capacity, np.int64), np.empty(capacity, np.float32)
    distances = np.empty(capacity, np.float64)
    for ray in range(first, last):
        dx, dy, dz = directions[ray, 0], directions[ray, 1], directions[ray, 2]
        begin = found
        for i in range(means.shape[0]):
            x, y, z = (
                means[i, 0] - origins[ray, 0],
                means[i, 1] - origins[ray, 1],
                means[i, 2] - origins[ray, 2],
            )
            along = x * dx + y * dy + z * dz
            radius = radii[i]
            if along < -radius or x * x + y * y + z * z - along * along > radius * radius * np.float32(1.001):
                continue
            dot = size = square = 0.0
            for k in range(3):
                u = np.float64(whitening[i, k, 0]) * x + whitening[i, k, 1] * y + whitening[i, k, 2] * z
                w = np.float64(whitening[i, k, 0]) * dx + whitening[i, k, 1] * dy + whitening[i, k, 2] * dz
                dot += u * w
                size += w * w
                square += u * u
            distance = dot / max(size, 1e-30)
            square = max(square - distance * dot, 0.0)
            alpha = min(opacities[i] * math.exp(-0.5 * square), np.float64(MAX_ALPHA))
            if not (alpha >= MIN_ALPHA and distance > near):
                continue
            if found == capacity:
                capacity *= 2
                splat, alphas = _grown(splat, capacity), _grown(alphas, capacity)
                distances = _grown(distances, capacity)
            splat[found], alphas[found], distances[found] = i, alpha, distance
            found += 1
        counts[ray - first] = found - begin
        order = np.argsort(distances[begin:found], kind="mergesort")
        splat[begin:found] = splat[begin:found][order]
        alphas[begin:found] = alphas[begin:found][order]
        distances[begin:found] = distances[begin:found][order]
    return splat[:found], alphas[:found], distances[:found], counts


@jit
def _grown(values, capacity):
    more = np.empty(capacity, values.dtype)
    more[: len(values)] = values
    return more


@vectors
def _retrace(row, index, x, y, front, met, gr, gg, gb, ga, behind, sums):
    """Go back over one splat in pixels side by side and add up the gradients of its numbers."""
    mx, my, a, b, c, opacity = row[0], row[1], row[2], row[3], row[4], row[5]
    r, g, u = row[6], row[7], row[8]
    t0 = t1 = t2 = t3 = t4 = t5 = t6 = t7 = t8 = F0
    for k in range(len(x)):
        dx, dy = x[k] - mx, y[k] - my
        s = HALF * (a * dx * dx + c * dy * dy) + b * dx * dy
        s = s if s < LIMIT else LIMIT
        fall = _exp_minus(s)
        full = opacity * fall
        alpha = full if full < MAX_ALPHA else MAX_ALPHA
        alpha = alpha if full >= MIN_ALPHA else F0
        alpha = alpha if index <= met[k] else F0
        through = F1 - alpha
        before = front[k] / through
        weight = alpha * before
        q = gr[k] * r + gg[k] * g + gb[k] * u + ga[k]
        slope = q * before - behind[k] / through
        slope = slope if alpha > F0 else F0
        behind[k] += q * weight
        front[k] = before
        t6 += weight * gr[k]
        t7 += weight * gg[k]
        t8 += weight * gb[k]
        slope = slope if full < MAX_ALPHA else F0
        t5 += slope * fall
        slope *= -full
        t0 -= slope * (a * dx + b * dy)
        t1 -= slope * (b * dx + c * dy)
        t2 += HALF * slope * dx * dx
        t3 += slope * dx * dy
        t4 += HALF * slope * dy * dy
    sums[0], sums[1], sums[2], sums[3], sums[4] = t0, t1, t2, t3, t4
    sums[5], sums[6], sums[7], sums[8] = t5, t6, t7, t8


@jit
def backward(tile, columns, offsets, splats, data, tile_offsets, pixel_order, pixels, out, grad, sums):
    """Write the gradients of a tile's pairs to `sums`.

    `out` is that of `forward`, `grad` the gradients of rgb and opacity.
    """
    top = tile // columns * TILE
    x, y, starts = _pixels(tile, tile_offsets, pixel_order, pixels, top)
    count = len(x)
    begin = offsets[tile]
    sums[begin : offsets[tile + 1]] = F0
    if count == 0:
        return
    front, met, behind = np.empty(count, np.float32), np.empty(count, np.float32), np.zeros(count, np.float32)
    gr, gg = np.empty(count, np.float32), np.empty(count, np.float32)
    gb, ga = np.empty(count, np.float32), np.empty(count, np.float32)
    for k in range(count):
        pixel = pixel_order[tile_offsets[tile] + k]
        front[k], met[k] = out[pixel, 3], out[pixel, 5]
        gr[k], gg[k], gb[k], ga[k] = grad[pixel, 0], grad[pixel, 1], grad[pixel, 2], grad[pixel, 3]
    for pair in range(begin + int(met.max()) - 1, begin - 1, -1):
        row = data[splats[pair]]
        i, j = _rows(row, top, starts)
        if i < j:
            index = np.float32(pair - begin + 1)
            parts = front[i:j], met[i:j], gr[i:j], gg[i:j], gb[i:j], ga[i:j], behind[i:j]
            _retrace(row, index, x[i:j], y[i:j], *parts, sums[pair])


@jit
def add_pairs(task, block, splats, sums, gradients):
    """Add up the gradients of the pairs of each splat: a task has some of the numbers of a row."""
    for pair in range(len(splats)):
        splat = splats[pair]
        for k in range(task * block, min((task + 1) * block, sums.shape[1])):
            gradients[splat, k] += sums[pair, k]
