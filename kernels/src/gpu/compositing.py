"""Volume rendering of packed samples for GPUs, in Triton (see `kernels.compositing`).

A program is a block of rays, which walk along their samples side by side. Numbers are float32.
"""

# pyright: reportArgumentType=false
# (Triton's annotations describe the compiled language, not what Python passes)

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def _opacity(t):
    """1 - exp(-t) of an optical depth t, accurate to the last digits where t is tiny."""
    small = t * (1 - t / 2 * (1 - t / 3 * (1 - t / 4 * (1 - t / 5))))
    return tl.where(t < 0.05, small, 1 - tl.exp(-t))


@triton.jit
def _rays(offsets, rays, BLOCK: tl.constexpr):
    """A program's rays, their first samples and how many they have."""
    ray = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = ray < rays
    first = tl.load(offsets + ray, mask=inside, other=0)
    return ray, inside, first, tl.load(offsets + ray + 1, mask=inside, other=0) - first


@triton.jit
def forward(optical_depth, rgb, distances, offsets, front, sums, rays, BLOCK: tl.constexpr):
    """Also leaves the share of light in front of each sample, for the backward."""
    ray, inside, first, count = _rays(offsets, rays, BLOCK)
    r = tl.zeros([BLOCK], tl.float32)
    g = tl.zeros([BLOCK], tl.float32)
    b = tl.zeros([BLOCK], tl.float32)
    total = tl.zeros([BLOCK], tl.float32)
    depth = tl.zeros([BLOCK], tl.float32)
    before = tl.full([BLOCK], 1.0, tl.float32)
    for k in range(tl.max(count, 0)):
        here = k < count
        i = first + k
        t = tl.load(optical_depth + i, mask=here, other=0.0)
        tl.store(front + i, before, mask=here)
        weight = before * _opacity(t)
        r += weight * tl.load(rgb + 3 * i, mask=here, other=0.0)
        g += weight * tl.load(rgb + 3 * i + 1, mask=here, other=0.0)
        b += weight * tl.load(rgb + 3 * i + 2, mask=here, other=0.0)
        total += weight
        depth += weight * tl.load(distances + i, mask=here, other=0.0)
        before = before * tl.exp(-t)
    tl.store(sums + 5 * ray, r, mask=inside)
    tl.store(sums + 5 * ray + 1, g, mask=inside)
    tl.store(sums + 5 * ray + 2, b, mask=inside)
    tl.store(sums + 5 * ray + 3, total, mask=inside)
    tl.store(sums + 5 * ray + 4, depth, mask=inside)


@triton.jit
def backward(
    optical_depth,
    rgb,
    distances,
    offsets,
    front,
    grad,
    grad_optical_depth,
    grad_rgb,
    rays,
    BLOCK: tl.constexpr,
):
    """With q = d loss / d weight: d loss / d thickness_i = q_i T_(i+1) - sum over j > i of q_j weight_j."""
    ray, inside, first, count = _rays(offsets, rays, BLOCK)
    gr = tl.load(grad + 5 * ray, mask=inside, other=0.0)
    gg = tl.load(grad + 5 * ray + 1, mask=inside, other=0.0)
    gb = tl.load(grad + 5 * ray + 2, mask=inside, other=0.0)
    gt = tl.load(grad + 5 * ray + 3, mask=inside, other=0.0)
    gd = tl.load(grad + 5 * ray + 4, mask=inside, other=0.0)
    hidden = tl.zeros([BLOCK], tl.float32)  # sum of q_j weight_j over what lies behind
    for k in range(tl.max(count, 0)):  # back to front
        here = k < count
        i = first + (count - 1 - k)
        t = tl.load(optical_depth + i, mask=here, other=0.0)
        before = tl.load(front + i, mask=here, other=0.0)
        weight = before * _opacity(t)
        q = gt + gd * tl.load(distances + i, mask=here, other=0.0)
        q += gr * tl.load(rgb + 3 * i, mask=here, other=0.0)
        q += gg * tl.load(rgb + 3 * i + 1, mask=here, other=0.0)
        q += gb * tl.load(rgb + 3 * i + 2, mask=here, other=0.0)
        tl.store(grad_optical_depth + i, q * (before * tl.exp(-t)) - hidden, mask=here)
        tl.store(grad_rgb + 3 * i, weight * gr, mask=here)
        tl.store(grad_rgb + 3 * i + 1, weight * gg, mask=here)
        tl.store(grad_rgb + 3 * i + 2, weight * gb, mask=here)
        hidden += q * weight


@triton.jit
def transmittance(optical_depth, offsets, result, rays, BLOCK: tl.constexpr):
    """Write the fraction of light that reaches the front of each sample to `result` [M]."""
    _ray, _inside, first, count = _rays(offsets, rays, BLOCK)
    depth = tl.zeros([BLOCK], tl.float32)
    for k in range(tl.max(count, 0)):
        here = k < count
        tl.store(result + first + k, tl.exp(-depth), mask=here)
        depth += tl.load(optical_depth + first + k, mask=here, other=0.0)


@triton.jit
def median_depth(optical_depth, distances, offsets, median, rays, BLOCK: tl.constexpr):
    """Write the distance at which half of a ray's light is stopped, or infinity, to `median` [N]."""
    ray, inside, first, count = _rays(offsets, rays, BLOCK)
    depth = tl.zeros([BLOCK], tl.float32)
    found = tl.full([BLOCK], float("inf"), tl.float32)
    for k in range(tl.max(count, 0)):
        here = k < count
        after = depth + tl.load(optical_depth + first + k, mask=here, other=0.0)
        crosses = here & (depth <= 0.6931471805599453) & (after > 0.6931471805599453)
        found = tl.where(crosses, tl.load(distances + first + k, mask=here, other=0.0), found)
        depth = after
    tl.store(median + ray, found, mask=inside)
