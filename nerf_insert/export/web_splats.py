"""Splats packed for the viewer of `viewer/splat_view.js`, in a size that a page can hold.

N splats, each of 8 words of 32 bits and, above degree 0, of 4, 8 or 16 more for its harmonics:

    0..2   the mean's coordinates from `center`: floats, of which the highest 24 bits are kept
    3      the color without direction, 10 bits a channel from -1 to 2; bit 30: trained antialiased
    4, 5   logarithms of the three scales, 16 bits each, in steps of 1/64; the opacity, 8 bits
    6      the rotation: the three smaller numbers of the quaternion, 10 bits each, and which is missing
    7      layers: those that have to be shown for it (bits 0..15), and those that hide it (16..31)
    8...   one word a coefficient, 8 bits a channel: the square root, with its sign, in shares of the band's
           largest

What is written is one byte of all splats after the other, deflated: so they become smallest.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64, UInt32
from torch import Tensor

from nerf_insert.errors import InputError, warn
from nerf_insert.kernels.splatting import MIN_ALPHA
from nerf_insert.splats.splats import SH_C0, SH_COUNTS, Splats

MAX_SPLATS = 2_000_000  # what the textures that every WebGL 2 device has can hold
HARMONICS_TEXELS = (0, 1, 2, 4)  # of 4 words each, by degree
STEP = 1 / 64  # of a scale's logarithm
LOW, RANGE = -1.0, 3.0  # of a color
CHUNK = 3 << 20  # bytes; a multiple of 3, for base64


class PackedSplats(NamedTuple):
    """Splats as the viewer's textures hold them.

    Attributes:
        words: The words of each splat.
        harmonics: The words of its harmonics.
        about: What the viewer has to know besides; plain data.
    """

    words: UInt32[np.ndarray, "N 8"]
    harmonics: UInt32[np.ndarray, "N _"]
    about: dict[str, Any]

    def deflated(self) -> Iterator[bytes]:
        """Yield the splats for the viewer's `read`, in parts of `CHUNK` bytes and one that may be shorter."""
        packer, kept = zlib.compressobj(6), bytearray()
        for part in (self.words, self.harmonics):
            for plane in part.view(np.uint8).T:
                kept += packer.compress(plane.tobytes())
                while len(kept) >= CHUNK:
                    yield bytes(kept[:CHUNK])
                    del kept[:CHUNK]
        kept += packer.flush()
        for start in range(0, len(kept), CHUNK):
            yield bytes(kept[start : start + CHUNK])


def pack_splats(
    splats: Splats,
    background: Float[Tensor, "3"],
    antialiased: Bool[Tensor, " N"],
    layers: Int64[Tensor, " N"] | None = None,
) -> PackedSplats:
    """Pack splats. Those that cannot be seen are left out, and the least visible ones above `MAX_SPLATS`.

    Args:
        splats: The splats, in the viewer's world coordinates.
        background: The color behind them, sRGB.
        antialiased: Which were trained with the opacity compensation of Mip-Splatting.
        layers: The word of each splat that says with which layers it is shown; None: always.

    Raises:
        InputError: None of them can be seen.
    """
    layers = torch.zeros(splats.count, dtype=torch.int64) if layers is None else layers
    chosen = _visible(splats)
    splats, antialiased, layers = splats[chosen], antialiased[chosen], layers[chosen]
    center = splats.means.double().median(0).values
    means = (splats.means.double() - center).float().numpy()
    order = _along_a_curve(means)
    splats, means = splats[torch.from_numpy(order)], means[order]
    words = np.zeros((splats.count, 8), np.uint32)
    words[:, :3] = (np.ascontiguousarray(means).view(np.uint32) + 0x80) & 0xFFFFFF00
    base = (0.5 + SH_C0 * splats.sh[:, 0].numpy() - LOW) / RANGE
    words[:, 3] = (
        _joined(_steps(base, 0, 1023, 1023), 10) | antialiased.numpy()[order].astype(np.uint32) << 30
    )
    logs = _steps(splats.log_scales.numpy(), -0x8000, 0x7FFF, 1 / STEP) & 0xFFFF
    words[:, 4] = _joined(logs[:, :2], 16)
    words[:, 5] = logs[:, 2] | _steps(splats.opacities.numpy(), 0, 255, 255) << 16
    words[:, 6] = _rotations(splats.quaternions)
    words[:, 7] = layers.numpy()[order].astype(np.uint32)
    texels = HARMONICS_TEXELS[splats.degree]
    harmonics, bands = np.zeros((splats.count, 4 * texels), np.uint32), [0.0, 0.0, 0.0]
    for degree in range(1, splats.degree + 1):
        first, last = SH_COUNTS[degree - 1], SH_COUNTS[degree]
        part = splats.sh[:, first:last].numpy()
        bands[degree - 1] = most = float(np.abs(part).max())
        roots = np.sign(part) * np.sqrt(np.abs(part) / max(most, 1e-12))
        harmonics[:, first - 1 : last - 1] = _joined(_steps(roots, -127, 127, 127) & 0xFF, 8)
    about = {
        "count": splats.count,
        "texels": texels,
        "bands": bands,
        "center": center.tolist(),
        "background": background.tolist(),
    }
    return PackedSplats(words, harmonics, about)


def _visible(splats: Splats) -> Int64[Tensor, " M"]:
    """Return the numbers of the splats to show."""
    opacities = splats.opacities
    seen = (opacities >= MIN_ALPHA).nonzero()[:, 0]
    if not len(seen):
        raise InputError("none of the splats can be seen: all are transparent")
    if len(seen) > MAX_SPLATS:
        warn(
            f"a web page shows at most {MAX_SPLATS:,} splats: of {len(seen):,}, the smallest and most "
            "transparent ones are left out of it"
        )
        area = splats.log_scales[seen].double().topk(2, dim=1).values.sum(1)
        seen = seen[(area + opacities[seen].double().log()).topk(MAX_SPLATS).indices.sort().values]
    return seen


def _along_a_curve(points: Float[np.ndarray, "N 3"]) -> Int64[np.ndarray, " N"]:
    """Order points along a Z curve (Morton), so that neighbors in space are neighbors in memory."""
    code = np.zeros(len(points), np.int64)
    for axis in range(3):
        rank = np.empty(len(points), np.int64)  # instead of the coordinate: a few lie far outside
        rank[points[:, axis].argsort(kind="stable")] = np.arange(len(points)) * 1024 // len(points)
        for bit in range(10):
            code |= (rank >> bit & 1) << (3 * bit + axis)
    return code.argsort(kind="stable")


def _steps(values: Float[np.ndarray, "..."], low: int, high: int, factor: float) -> UInt32[np.ndarray, "..."]:
    return np.clip(np.rint(values * factor), low, high).astype(np.int32).view(np.uint32)


def _joined(parts: UInt32[np.ndarray, "*N K"], bits: int) -> UInt32[np.ndarray, "*N"]:
    """Put K numbers into one word, the first one lowest."""
    word = np.zeros(parts.shape[:-1], np.uint32)
    for k in range(parts.shape[-1]):
        word |= parts[..., k] << (bits * k)
    return word


def _rotations(quaternions: Float[Tensor, "N 4"]) -> UInt32[np.ndarray, " N"]:
    q = torch.nn.functional.normalize(quaternions.double(), dim=1).numpy()
    largest = np.abs(q).argmax(1)
    q = q * np.where(np.take_along_axis(q, largest[:, None], 1) < 0, -1, 1)
    others = np.argsort(np.arange(4) == largest[:, None], axis=1, kind="stable")[:, :3]
    three = np.take_along_axis(q, others, 1)
    steps = _steps(three, -511, 511, 511 * 2**0.5).view(np.int32) + 511
    return _joined(steps.view(np.uint32), 10) | largest.astype(np.uint32) << 30
