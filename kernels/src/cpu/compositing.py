"""Compiled volume rendering of packed samples (see `kernels.compositing`).

A task is a block of rays. Sums are kept in float64, which costs nothing beside the exponential.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

jit = njit(cache=True, nogil=True, error_model="numpy")

# Gradients below this are written as 0. Products with them would be subnormal numbers, on which some CPUs
# take a hundred times as long, and no optimizer can tell them from 0.
NOTHING = 1e-20


@jit
def _flushed(value):
    return 0.0 if abs(value) < NOTHING else value


@jit
def forward(task, block, optical_depth, rgb, distances, offsets, sums):
    """Write color, opacity and weighted depth of a block of rays to the rows of `sums` [N, 5]."""
    for ray in range(task * block, min((task + 1) * block, sums.shape[0])):
        r = g = b = total = depth = 0.0
        before = 1.0
        for i in range(offsets[ray], offsets[ray + 1]):
            behind = before * math.exp(-np.float64(optical_depth[i]))
            weight = before - behind
            r += weight * rgb[i, 0]
            g += weight * rgb[i, 1]
            b += weight * rgb[i, 2]
            total += weight
            depth += weight * distances[i]
            before = behind
        sums[ray, 0] = r
        sums[ray, 1] = g
        sums[ray, 2] = b
        sums[ray, 3] = total
        sums[ray, 4] = depth


@jit
def backward(task, block, optical_depth, rgb, distances, offsets, grad, grad_optical_depth, grad_rgb):
    """With q = d loss / d weight: d loss / d depth_i = q_i T_(i+1) - sum over j > i of q_j weight_j."""
    for ray in range(task * block, min((task + 1) * block, grad.shape[0])):
        gr, gg, gb, gt, gd = grad[ray, 0], grad[ray, 1], grad[ray, 2], grad[ray, 3], grad[ray, 4]
        first, last = offsets[ray], offsets[ray + 1]
        before = 1.0
        for i in range(first, last):  # front to back: the weights
            behind = before * math.exp(-np.float64(optical_depth[i]))
            weight = before - behind
            grad_rgb[i, 0] = _flushed(weight * gr)
            grad_rgb[i, 1] = _flushed(weight * gg)
            grad_rgb[i, 2] = _flushed(weight * gb)
            grad_optical_depth[i] = weight
            before = behind
        behind_sum = 0.0
        for i in range(last - 1, first - 1, -1):  # back to front: what each sample hides
            weight = np.float64(grad_optical_depth[i])
            q = gr * rgb[i, 0] + gg * rgb[i, 1] + gb * rgb[i, 2] + gt + gd * distances[i]
            grad_optical_depth[i] = _flushed(q * before - behind_sum)
            behind_sum += q * weight
            before += weight


@jit
def distortion_loss(task, block, optical_depth, positions, offsets, result):
    """Write the distortion loss of a block of rays to `result` [N]."""
    for ray in range(task * block, min((task + 1) * block, result.shape[0])):
        before = 1.0
        total = moment = pairs = 0.0
        for i in range(offsets[ray], offsets[ray + 1]):
            behind = before * math.exp(-np.float64(optical_depth[i]))
            weight = before - behind
            pairs += weight * (positions[i] * total - moment)
            total += weight
            moment += weight * positions[i]
            before = behind
        result[ray] = 2 * pairs


@jit
def distortion_loss_backward(task, block, optical_depth, positions, offsets, grad, grad_optical_depth):
    """As `backward`, with q_i = 2 (sum over j of w_j |s_i - s_j|)."""
    for ray in range(task * block, min((task + 1) * block, grad.shape[0])):
        first, last = offsets[ray], offsets[ray + 1]
        before = 1.0
        total = moment = 0.0
        for i in range(first, last):
            behind = before * math.exp(-np.float64(optical_depth[i]))
            weight = before - behind
            grad_optical_depth[i] = weight
            total += weight
            moment += weight * positions[i]
            before = behind
        hidden = after = after_moment = 0.0  # of what lies behind
        for i in range(last - 1, first - 1, -1):
            weight = np.float64(grad_optical_depth[i])
            front, front_moment = total - after - weight, moment - after_moment - weight * positions[i]
            q = (
                2
                * grad[ray]
                * ((positions[i] * front - front_moment) + (after_moment - positions[i] * after))
            )
            grad_optical_depth[i] = _flushed(q * before - hidden)
            hidden += q * weight
            after += weight
            after_moment += weight * positions[i]
            before += weight


@jit
def median_depth(task, block, optical_depth, distances, offsets, median):
    """Write the distance at which half of a ray's light is stopped, or infinity, to `median` [N]."""
    for ray in range(task * block, min((task + 1) * block, median.shape[0])):
        median[ray] = np.inf
        depth = 0.0
        for i in range(offsets[ray], offsets[ray + 1]):
            depth += optical_depth[i]
            if depth > math.log(2.0):
                median[ray] = distances[i]
                break


@jit
def transmittance(task, block, optical_depth, offsets, result):
    """Write the fraction of light that reaches the front of each sample to `result` [M]."""
    for ray in range(task * block, min((task + 1) * block, offsets.shape[0] - 1)):
        depth = 0.0
        for i in range(offsets[ray], offsets[ray + 1]):
            result[i] = math.exp(-depth)
            depth += optical_depth[i]
