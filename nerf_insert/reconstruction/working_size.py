"""The size of the photographs in a capture: what the machine can train on."""

from __future__ import annotations

import psutil

from nerf_insert.runtime.devices import device

CPU_PIXELS, GPU_PIXELS = 1.0e6, 2.1e6  # of one photograph
MEMORY_SHARE = 0.25  # of the free memory that the photographs may take while a scene is trained
BYTES_PER_PIXEL = 24  # of a photograph with a lens of its own, while a scene is trained


def pixel_limit(photographs: int, wanted: float | None = None) -> float:
    """Return how many pixels a photograph may have.

    Args:
        photographs: How many there are.
        wanted: Megapixels that the user asks for; 0 is no limit.
    """
    if wanted is not None:
        return wanted * 1e6 or float("inf")
    fits = MEMORY_SHARE * psutil.virtual_memory().available / BYTES_PER_PIXEL / max(1, photographs)
    return min(GPU_PIXELS if device().type == "cuda" else CPU_PIXELS, fits)


def fit_size(size: tuple[int, int], limit: float) -> tuple[int, int]:
    """Return (width, height), scaled down to at most `limit` pixels."""
    scale = min(1.0, (limit / (size[0] * size[1])) ** 0.5)
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))
