"""Writing SOG files (PlayCanvas' "spatially ordered Gaussians", version 2).

A zip of lossless WebP images, a pixel a splat, and meta.json. Centers have 16 bits a coordinate after
sign(x) ln(1 + |x|); scales and constant colors are bytes into a codebook of 256 numbers; higher SH
coefficients are 16-bit labels into a palette, whose numbers are bytes into another codebook; quaternions are
their three smallest components.
"""

from __future__ import annotations

import io
import json
import math
import zipfile
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from PIL import Image
from torch import Tensor

from nerf_insert.splats.splats import Splats

CODES = 256
PALETTE = 1 << 12  # at most, of higher SH coefficients; each splat has its own entry where there are fewer
PER_ROW = 64  # palette entries side by side
ITERATIONS = 6
SAMPLE = 1 << 17  # numbers that a codebook is made from
AT_ONCE = 1 << 10


def write_sog(path: Path, splats: Splats) -> None:
    """Write splats to a SOG file, in Morton order of their centers."""
    splats = splats[morton_order(splats.means)]
    width = 4 * math.ceil(math.sqrt(splats.count) / 4)
    height = 4 * math.ceil(splats.count / width / 4)
    images: dict[str, bytes] = {}

    def keep(name: str, columns: UInt8[Tensor, "N C"]) -> str:
        """Keep an image of N pixels; missing channels are 255."""
        pixels = np.full((height * width, 4), 255, np.uint8)
        pixels[: len(columns), : columns.shape[1]] = columns.numpy()
        images[name] = _webp(pixels.reshape(height, width, 4))
        return name

    logs = splats.means.double().sign() * splats.means.double().abs().log1p()
    low, high = logs.amin(0), logs.amax(0)
    steps = ((logs - low) / (high - low).clamp_min(1e-12) * 65535).round().long()
    meta = {
        "version": 2,
        "asset": {"generator": "NeRF-Insert"},
        "count": splats.count,
        "means": {
            "mins": low.tolist(),
            "maxs": high.tolist(),
            "files": [
                keep("means_l.webp", (steps & 255).byte()),
                keep("means_u.webp", (steps >> 8).byte()),
            ],
        },
        "quats": {"files": [keep("quats.webp", smallest_three(splats.quaternions))]},
    }
    book, codes = codebook(splats.log_scales)
    meta["scales"] = {"codebook": book, "files": [keep("scales.webp", codes)]}
    book, codes = codebook(splats.sh[:, 0])
    opacity = (splats.opacities * 255).round().byte()[:, None]
    meta["sh0"] = {"codebook": book, "files": [keep("sh0.webp", torch.cat([codes, opacity], 1))]}
    if splats.degree:
        centers, labels = palette(splats.sh[:, 1:].flatten(1))
        book, codes = codebook(centers)
        rows = math.ceil(len(codes) / PER_ROW)
        table = np.full((rows * PER_ROW, splats.sh.shape[1] - 1, 4), 255, np.uint8)
        table[: len(codes), :, :3] = codes.view(len(codes), -1, 3).numpy()
        images["shN_centroids.webp"] = _webp(table.reshape(rows, -1, 4))
        keep("shN_labels.webp", torch.stack([labels & 255, labels >> 8, labels * 0], 1).byte())
        meta["shN"] = {
            "count": len(codes),
            "bands": splats.degree,
            "codebook": book,
            "files": ["shN_centroids.webp", "shN_labels.webp"],
        }
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as bundle:
        for name, data in {"meta.json": json.dumps(meta).encode(), **images}.items():
            bundle.writestr(zipfile.ZipInfo(name), data)


def morton_order(points: Float[Tensor, "N 3"]) -> Int64[Tensor, " N"]:
    """Return the order of points along a Morton curve through their bounding box, 10 bits an axis."""
    low, high = points.amin(0), points.amax(0)
    cells = ((points - low) / (high - low).clamp_min(1e-12) * 1023).long()
    code = torch.zeros_like(cells[:, 0])
    for bit in range(10):
        for axis in range(3):
            code |= (cells[:, axis] >> bit & 1) << (3 * bit + axis)
    return code.argsort(stable=True)


def smallest_three(quaternions: Float[Tensor, "N 4"]) -> UInt8[Tensor, "N 4"]:
    """Return the three smallest components of unit quaternions as bytes, and which one was left out."""
    unit = torch.nn.functional.normalize(quaternions, dim=1)
    largest = unit.abs().argmax(1)
    unit = unit * torch.where(unit.gather(1, largest[:, None]) < 0, -1.0, 1.0)
    rest = unit[torch.arange(4) != largest[:, None]].view(-1, 3)
    codes = ((rest * math.sqrt(2) * 0.5 + 0.5) * 255).round().clamp(0, 255)
    return torch.cat([codes, 252 + largest[:, None]], 1).byte()


def codebook(values: Float[Tensor, "N C"]) -> tuple[list[float], UInt8[Tensor, "N C"]]:
    """Return 256 numbers and, for each value, the index of the nearest: k-means in one dimension."""
    flat = values.reshape(-1).double()
    some = flat[:: 1 + len(flat) // SAMPLE].sort().values
    book = some[torch.linspace(0, len(some) - 1, CODES).round().long()].unique()
    for _ in range(ITERATIONS):
        nearest = torch.bucketize(some, (book[1:] + book[:-1]) / 2)
        counts = torch.bincount(nearest, minlength=len(book))
        sums = torch.zeros_like(book).index_add_(0, nearest, some)
        book = torch.where(counts > 0, sums / counts.clamp_min(1), book).sort().values
    codes = torch.bucketize(flat, (book[1:] + book[:-1]) / 2).view(values.shape)
    return [*book.tolist(), *[float(book[-1])] * (CODES - len(book))], codes.byte()


def palette(rows: Float[Tensor, "N D"]) -> tuple[Float[Tensor, "P D"], Int64[Tensor, " N"]]:
    """Return typical rows and which of them stands for each: k-means, started at a random choice."""
    if len(rows) <= PALETTE:
        return rows, torch.arange(len(rows))
    generator = torch.Generator().manual_seed(0)
    order = torch.randperm(len(rows), generator=generator)
    centers, some = rows[order[:PALETTE]].clone(), rows[order[: 8 * PALETTE]]
    for _ in range(ITERATIONS // 2):
        labels = nearest_row(some, centers)
        counts = torch.bincount(labels, minlength=PALETTE)[:, None]
        sums = torch.zeros_like(centers).index_add_(0, labels, some)
        centers = torch.where(counts > 0, sums / counts.clamp_min(1), centers)
    return centers, nearest_row(rows, centers)


def nearest_row(rows: Float[Tensor, "N D"], centers: Float[Tensor, "P D"]) -> Int64[Tensor, " N"]:
    """Return the index of the center nearest to each row."""
    squares = (centers**2).sum(1) / 2
    return torch.cat([(squares - part @ centers.T).argmin(1) for part in rows.split(AT_ONCE)])


def _webp(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "WEBP", lossless=True, exact=True, quality=50, method=2)
    return buffer.getvalue()
