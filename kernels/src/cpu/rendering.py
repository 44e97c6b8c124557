"""Compiled rendering of rays through a hash-grid field, in one pass (see `kernels.rendering`).

A task is a block of rays. It keeps SLOTS rays under way: each goes a few samples on, all of these are
encoded and go through the trunk together, as one tile that stays in the cache. Samples that show in their
pixel wait until they fill a tile for the head. A ray that is opaque or has left makes room for the next one.
What is computed for a ray does not depend on the rays beside it.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from nerf_insert.kernels.cpu.hashgrid import encode_tile
from nerf_insert.kernels.cpu.marching import COARSE, three
from nerf_insert.kernels.cpu.mlp import TILE, forward_tile, tiles_of

jit = njit(cache=True, nogil=True, error_model="numpy")

BURST = 4  # samples that a ray marches on at once
SLOTS = TILE // BURST  # rays under way
MAX_LOG_DENSITY = 15.0


@jit
def _next_sample(o, d, inverse, start, far, occupancy, blocks, step):
    """Return start and end of a ray's next sample in an occupied cell; both `far` if there is none.

    `inverse` are the directions' inverses.
    """
    cells = occupancy.shape[0]
    scale = cells / 4
    while start < far:
        x, y, z = o[0] + start * d[0], o[1] + start * d[1], o[2] + start * d[2]
        size = max(abs(x), abs(y), abs(z), 1.0)
        end = min(start + step * (size * size), far)
        middle = 0.5 * (start + end)
        x, y, z = o[0] + middle * d[0], o[1] + middle * d[1], o[2] + middle * d[2]
        size = max(abs(x), abs(y), abs(z))
        if size > 1:
            nearer = 1 / size
            shrink = (2 - nearer) * nearer
            x, y, z = shrink * x, shrink * y, shrink * z
        cx = min(max(np.int64((x + 2) * scale), 0), cells - 1)
        cy = min(max(np.int64((y + 2) * scale), 0), cells - 1)
        cz = min(max(np.int64((z + 2) * scale), 0), cells - 1)
        if occupancy[cx, cy, cz]:
            if np.float32(end) > np.float32(start):
                return start, end
        elif size <= 1 and not blocks[cx // COARSE, cy // COARSE, cz // COARSE]:
            # leave the empty block at once, in whole samples, but not the cube in which all are as long
            leave = min(
                _leave(o[0], d[0], inverse[0], cx, scale),
                _leave(o[1], d[1], inverse[1], cy, scale),
                _leave(o[2], d[2], inverse[2], cz, scale),
            )
            end += max(0, math.floor((leave - end) / step - 0.5)) * step
        start = end
    return far, far


@jit
def _leave(o, d, inverse, cell, scale):
    """Return where a ray leaves, along one axis, the block that holds `cell`, or the cube [-1, 1]^3."""
    border = -2.0 + (cell // COARSE + (d > 0)) * COARSE / scale
    return (min(max(border, -1.0), 1.0) - o) * inverse if d != 0 else np.inf


@jit
def _unit(o, d, distance):
    """Return the point of a ray in the unit cube that contracted space fills."""
    x, y, z = o[0] + distance * d[0], o[1] + distance * d[1], o[2] + distance * d[2]
    size = max(abs(x), abs(y), abs(z))
    shrink = 0.25 if size <= 1 else 0.25 * (2 - 1 / size) / size
    return 0.5 + shrink * x, 0.5 + shrink * y, 0.5 + shrink * z


@jit
def _add_colors(count, head, widths, stages, weights, rays, sums):
    """Compute the colors of a tile of samples and add them, weighted, to their pixels."""
    if widths.shape[0] > 1:
        forward_tile(head, widths, stages)
    values = stages[-1]
    for i in range(count):
        for channel in range(3):
            sums[rays[i], channel] += weights[i] / (1 + math.exp(-np.float64(values[channel, i])))


@jit
def _put_colors(count, head, widths, stages, samples, rgb):
    """Compute the colors of a tile of samples and write them to the rows of `rgb`."""
    if widths.shape[0] > 1:
        forward_tile(head, widths, stages)
    values = stages[-1]
    for i in range(count):
        for channel in range(3):
            rgb[samples[i], channel] = 1 / (1 + math.exp(-np.float64(values[channel, i])))


@jit
def _put_inputs(inputs, column, found, i, geometry, view_features, ray, view_count):
    """Write what the head is told of a sample."""
    for row in range(geometry):
        inputs[row, column] = found[row + 1, i]
    for row in range(view_count):
        inputs[geometry + row, column] = view_features[ray, row]


@jit
def query(
    task,
    block,
    offsets,
    units,
    lengths,
    view_features,
    limits,
    levels,
    table,
    trunk,
    trunk_widths,
    head,
    head_widths,
    geometry,
    density,
    rgb,
):
    """Write density and color of the samples of a block of rays, as far as light reaches; else zero.

    Samples lie at the rows of `units`; those of a ray begin at its offset. `limits` are stop and density
    bias. The rest is as for `render`.
    """
    stop, bias = limits
    stages, color_stages = tiles_of(trunk_widths), tiles_of(head_widths)
    encoded, found, color_inputs = stages[0], stages[-1], color_stages[0]
    encoded[:], color_inputs[:] = 0, 0
    view_count = view_features.shape[1] if head_widths.shape[0] > 1 else 0
    points = np.zeros((3, TILE), np.float32)
    sample_of, waiting = np.empty(TILE, np.int64), 0
    slot_ray, begin = np.full(SLOTS, -1), np.zeros(SLOTS + 1, np.int64)
    light, at = np.empty(SLOTS), np.zeros(SLOTS, np.int64)
    following, last = task * block, min((task + 1) * block, offsets.shape[0] - 1)
    density[offsets[following] : offsets[last]] = 0
    rgb[offsets[following] : offsets[last]] = 0
    under_way = True
    while under_way:
        count = 0
        for slot in range(SLOTS):
            if slot_ray[slot] < 0 and following < last:
                slot_ray[slot], at[slot], light[slot] = following, offsets[following], 1.0
                following += 1
            if slot_ray[slot] >= 0:
                for i in range(at[slot], min(at[slot] + BURST, offsets[slot_ray[slot] + 1])):
                    points[0, count], points[1, count], points[2, count] = (
                        units[i, 0],
                        units[i, 1],
                        units[i, 2],
                    )
                    count += 1
            begin[slot + 1] = count
        if count > 0:
            encode_tile(levels, points, table, count, encoded)
            forward_tile(trunk, trunk_widths, stages)
        under_way = following < last
        for slot in range(SLOTS):
            ray = slot_ray[slot]
            if ray < 0:
                continue
            for i in range(begin[slot], begin[slot + 1]):
                sample = at[slot]
                at[slot] += 1
                dense = math.exp(min(np.float64(found[0, i]) + bias, MAX_LOG_DENSITY))
                behind = light[slot] * math.exp(-dense * lengths[sample])
                weight = light[slot] - behind
                light[slot] = behind
                if weight >= stop:
                    density[sample] = dense
                    _put_inputs(color_inputs, waiting, found, i, geometry, view_features, ray, view_count)
                    sample_of[waiting] = sample
                    waiting += 1
                    if waiting == TILE:
                        _put_colors(waiting, head, head_widths, color_stages, sample_of, rgb)
                        waiting = 0
                if behind < stop:
                    break
            if at[slot] >= offsets[ray + 1] or light[slot] < stop:
                slot_ray[slot] = -1
            else:
                under_way = True
    _put_colors(waiting, head, head_widths, color_stages, sample_of, rgb)


@jit
def render(
    task,
    block,
    origins,
    directions,
    view_features,
    occupancy,
    blocks,
    limits,
    levels,
    table,
    trunk,
    trunk_widths,
    head,
    head_widths,
    geometry,
    sums,
):
    """Write color, opacity and median depth of a block of rays to the rows of `sums` [N, 5].

    `limits` are step, near, far, stop and density bias; `levels` are those of `encode_tile`. The trunk's
    first output is the density, the next `geometry` go on to the color. If `head_widths` is one number, there
    is no head, and these outputs are the color.
    """
    step, near, far, stop, bias = limits
    stages, color_stages = tiles_of(trunk_widths), tiles_of(head_widths)
    encoded, found, color_inputs = stages[0], stages[-1], color_stages[0]
    encoded[:], color_inputs[:] = 0, 0
    view_count = view_features.shape[1] if head_widths.shape[0] > 1 else 0
    points = np.zeros((3, TILE), np.float32)
    lengths, middles, weights = np.empty(TILE), np.empty(TILE), np.empty(TILE)
    weight_ray, waiting = np.empty(TILE, np.int64), 0
    slot_ray, begin, light, at = (
        np.full(SLOTS, -1),
        np.zeros(SLOTS + 1, np.int64),
        np.empty(SLOTS),
        np.empty(SLOTS),
    )
    following, last = task * block, min((task + 1) * block, origins.shape[0])
    under_way = True
    while under_way:
        count = 0
        for slot in range(SLOTS):
            if slot_ray[slot] < 0 and following < last:
                slot_ray[slot], at[slot], light[slot] = following, near, 1.0
                sums[following], sums[following, 4] = 0, np.inf
                following += 1
            ray = slot_ray[slot]
            if ray >= 0:
                o, d = three(origins, ray), three(directions, ray)
                inverse = 1 / d[0], 1 / d[1], 1 / d[2]
                for _ in range(BURST):
                    start, at[slot] = _next_sample(o, d, inverse, at[slot], far, occupancy, blocks, step)
                    if start >= far:
                        break
                    lengths[count], middles[count] = at[slot] - start, 0.5 * (start + at[slot])
                    points[0, count], points[1, count], points[2, count] = _unit(o, d, middles[count])
                    count += 1
            begin[slot + 1] = count
        if count > 0:
            encode_tile(levels, points, table, count, encoded)
            forward_tile(trunk, trunk_widths, stages)
        under_way = following < last
        for slot in range(SLOTS):
            ray = slot_ray[slot]
            if ray < 0:
                continue
            for i in range(begin[slot], begin[slot + 1]):
                density = math.exp(min(np.float64(found[0, i]) + bias, MAX_LOG_DENSITY))
                behind = light[slot] * math.exp(-density * lengths[i])
                weight = light[slot] - behind
                light[slot] = behind
                if behind < 0.5 and sums[ray, 4] == np.inf:
                    sums[ray, 4] = middles[i]
                if weight >= stop:
                    sums[ray, 3] += weight
                    weights[waiting], weight_ray[waiting] = weight, ray
                    _put_inputs(color_inputs, waiting, found, i, geometry, view_features, ray, view_count)
                    waiting += 1
                    if waiting == TILE:
                        _add_colors(waiting, head, head_widths, color_stages, weights, weight_ray, sums)
                        waiting = 0
                if behind < stop:
                    break
            if at[slot] >= far or light[slot] < stop:
                slot_ray[slot] = -1
            else:
                under_way = True
    _add_colors(waiting, head, head_widths, color_stages, weights, weight_ray, sums)
