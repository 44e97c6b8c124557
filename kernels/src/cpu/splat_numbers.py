"""What the CPU backend computes of each splat by itself: its projection, its color, its density at points.

A splat in an image is a row of ROW float32: one cache line (see `kernels.splatting`).
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

jit = njit(cache=True, nogil=True, error_model="numpy")

ROW = 16  # mean (2), conic (3), opacity, rgb (3), z, slopes (2), extents (2), 2 unused
F0 = np.float32(0)


@jit
def project(
    task, block, means, scales, quaternions, opacities, view, size, constants, antialiased, rows, depths
):
    """Project a block of splats into `rows` (mean, conic, opacity, z, slopes, extents) and `depths`.

    `view`: rotation, row by row, and center; `size`: fx, fy, cx, cy, width, height; `constants`: near, blur,
    margin.
    """
    r00, r01, r02, r10, r11, r12, r20, r21, r22, ox, oy, oz = view
    fx, fy, cx, cy, width, height = size
    near, blur, margin = constants
    left, right = -(cx + margin * width) / fx, (width - cx + margin * width) / fx
    above, below = -(cy + margin * height) / fy, (height - cy + margin * height) / fy
    for i in range(task * block, min((task + 1) * block, means.shape[0])):
        rows[i, 12] = F0
        rows[i, 13] = F0
        px, py, pz = means[i, 0] - ox, means[i, 1] - oy, means[i, 2] - oz
        z = r20 * px + r21 * py + r22 * pz
        depths[i] = z
        reach = 2 * math.log(max(np.float64(opacities[i]) * 255, 1e-30))
        if not (z > near and reach > 0):
            continue
        x = (r00 * px + r01 * py + r02 * pz) / z
        y = (r10 * px + r11 * py + r12 * pz) / z
        w, qx, qy, qz = (
            np.float64(quaternions[i, 0]),
            np.float64(quaternions[i, 1]),
            np.float64(quaternions[i, 2]),
            np.float64(quaternions[i, 3]),
        )
        length = math.sqrt(w * w + qx * qx + qy * qy + qz * qz)
        w, qx, qy, qz = w / length, qx / length, qy / length, qz / length
        tx, ty = min(max(x, left), right), min(max(y, above), below)
        jx, jy = fx / z, fy / z
        # the rows of J W, and what the splat's axes, scaled, become in the image and along z
        u0, u1, u2 = jx * (r00 - tx * r20), jx * (r01 - tx * r21), jx * (r02 - tx * r22)
        v0, v1, v2 = jy * (r10 - ty * r20), jy * (r11 - ty * r21), jy * (r12 - ty * r22)
        a = b = c = across_u = across_v = 0.0
        for k in range(3):
            if k == 0:
                e0 = 1 - 2 * (qy * qy + qz * qz)
                e1 = 2 * (qx * qy + w * qz)
                e2 = 2 * (qx * qz - w * qy)
            elif k == 1:
                e0 = 2 * (qx * qy - w * qz)
                e1 = 1 - 2 * (qx * qx + qz * qz)
                e2 = 2 * (qy * qz + w * qx)
            else:
                e0 = 2 * (qx * qz + w * qy)
                e1 = 2 * (qy * qz - w * qx)
                e2 = 1 - 2 * (qx * qx + qy * qy)
            s = np.float64(scales[i, k])
            eu = s * (u0 * e0 + u1 * e1 + u2 * e2)
            ev = s * (v0 * e0 + v1 * e1 + v2 * e2)
            ez = s * (r20 * e0 + r21 * e1 + r22 * e2)
            a += eu * eu
            b += eu * ev
            c += ev * ev
            across_u += eu * ez
            across_v += ev * ez
        sharp = a * c - b * b
        a += blur
        c += blur
        determinant = max(a * c - b * b, 1e-10)
        opacity = np.float64(opacities[i])
        if antialiased:
            opacity *= math.sqrt(max(sharp / determinant, 0.0) + 1e-24)
            reach = 2 * math.log(max(opacity * 255, 1e-30))
            if reach <= 0:
                continue
        mx, my = fx * x + cx, fy * y + cy
        hx, hy = math.sqrt(reach * a), math.sqrt(reach * c)
        if not (mx + hx > 0 and mx - hx < width and my + hy > 0 and my - hy < height):
            continue
        if not (hx < 1e9 and hy < 1e9):
            continue
        ca, cb, cc = c / determinant, -b / determinant, a / determinant
        rows[i, 0], rows[i, 1] = mx, my
        rows[i, 2], rows[i, 3], rows[i, 4] = ca, cb, cc
        rows[i, 5] = opacity
        rows[i, 9] = z
        rows[i, 10], rows[i, 11] = ca * across_u + cb * across_v, cb * across_u + cc * across_v
        rows[i, 12], rows[i, 13] = hx, hy


@jit
def _basis(x, y, z, count, basis):
    """Write the first `count` spherical harmonics of a direction of length one."""
    k1, k2 = math.sqrt(3 / (4 * math.pi)), math.sqrt(15 / (4 * math.pi))
    k20, k30 = math.sqrt(5 / (16 * math.pi)), math.sqrt(7 / (16 * math.pi))
    k33, k32, k31 = math.sqrt(35 / 32 / math.pi), math.sqrt(105 / 4 / math.pi), math.sqrt(21 / 32 / math.pi)
    basis[0] = math.sqrt(1 / (4 * math.pi))
    if count > 1:
        basis[1], basis[2], basis[3] = -k1 * y, k1 * z, -k1 * x
    if count > 4:
        basis[4], basis[5], basis[6] = k2 * x * y, -k2 * y * z, k20 * (3 * z * z - 1)
        basis[7], basis[8] = -k2 * x * z, 0.5 * k2 * (x * x - y * y)
    if count > 9:
        basis[9], basis[10] = -k33 * y * (3 * x * x - y * y), k32 * x * y * z
        basis[11], basis[12] = -k31 * y * (5 * z * z - 1), k30 * z * (5 * z * z - 3)
        basis[13], basis[14] = -k31 * x * (5 * z * z - 1), 0.5 * k32 * z * (x * x - y * y)
        basis[15] = -k33 * x * (x * x - 3 * y * y)


@jit
def _color(basis, coefficients):
    """Return the color of a splat, given the harmonics of the direction to it."""
    red = green = blue = 0.5
    for k in range(coefficients.shape[0]):
        red += basis[k] * coefficients[k, 0]
        green += basis[k] * coefficients[k, 1]
        blue += basis[k] * coefficients[k, 2]
    return max(red, 0.0), max(green, 0.0), max(blue, 0.0)


@jit
def colors(task, block, means, center, coefficients, rgb):
    """Write the colors of a block of splats seen from `center`."""
    basis = np.empty(16)
    for i in range(task * block, min((task + 1) * block, means.shape[0])):
        x, y, z = means[i, 0] - center[0], means[i, 1] - center[1], means[i, 2] - center[2]
        length = max(math.sqrt(x * x + y * y + z * z), 1e-12)
        _basis(x / length, y / length, z / length, coefficients.shape[1], basis)
        rgb[i, 0], rgb[i, 1], rgb[i, 2] = _color(basis, coefficients[i])


@jit
def density(
    task,
    block,
    points,
    directions,
    means,
    whitening,
    optical_depth,
    sh,
    origin,
    levels,
    keys,
    splats,
    grid,
    out,
):
    """Write density and color at a block of points; `grid`: reach, bits and level offset of `splat_cells`."""
    reach, bits, shift = grid
    last = (1 << bits) - 2
    basis = np.empty(16)
    for m in range(task * block, min((task + 1) * block, points.shape[0])):
        px, py, pz = np.float64(points[m, 0]), np.float64(points[m, 1]), np.float64(points[m, 2])
        dx, dy, dz = directions[m, 0], directions[m, 1], directions[m, 2]
        _basis(np.float64(dx), np.float64(dy), np.float64(dz), sh.shape[1], basis)
        total = red = green = blue = 0.0
        for level in levels:
            size = 2.0**level
            key = level + shift
            for p, o in ((px, origin[0]), (py, origin[1]), (pz, origin[2])):
                cell = min(max(math.floor((p - np.float64(o)) / size), -1.0), float(last))
                key = (key << bits) | (np.int64(cell) + 1)
            k = np.searchsorted(keys, key)
            while k < len(keys) and keys[k] == key:
                i = splats[k]
                k += 1
                x, y, z = px - means[i, 0], py - means[i, 1], pz - means[i, 2]
                square = along = 0.0
                for a in range(3):
                    u = whitening[i, a, 0] * x + whitening[i, a, 1] * y + whitening[i, a, 2] * z
                    w = whitening[i, a, 0] * dx + whitening[i, a, 1] * dy + whitening[i, a, 2] * dz
                    square += u * u
                    along += w * w
                if square >= reach * reach:
                    continue
                share = optical_depth[i] * math.sqrt(along / (2 * math.pi)) * math.exp(-0.5 * square)
                r, g, b = _color(basis, sh[i])
                total += share
                red += share * r
                green += share * g
                blue += share * b
        scale = 1 / max(total, 1e-20)
        out[m, 0] = total
        out[m, 1] = min(red * scale, 1.0)
        out[m, 2] = min(green * scale, 1.0)
        out[m, 3] = min(blue * scale, 1.0)
