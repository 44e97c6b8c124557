"""The peak memory of this process."""

from __future__ import annotations

import sys


def peak_memory() -> dict[str, float]:
    """Return the peak so far in gigabytes (10^9 bytes): "ram" and, where a GPU was used, "gpu".

    A figure that the system does not tell is left out.
    """
    peak = {}
    try:
        import resource
    except ImportError:  # Windows
        pass
    else:
        unit = 1 if sys.platform == "darwin" else 1024  # bytes there, kilobytes elsewhere
        peak["ram"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9, 2)
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available() and torch.cuda.max_memory_allocated():
        peak["gpu"] = round(torch.cuda.max_memory_allocated() / 1e9, 2)
    return peak
