"""Makes glibc keep freed memory in the process.

glibc returns tensors of 32 MB and more to the system when they are freed. A training step that allocates them
again pays a page fault for every 4 KB: half the time of a small MLP's layer, on the machines tried.
"""

from __future__ import annotations

import ctypes
import sys
from functools import cache

# From glibc's malloc.h
TRIM_THRESHOLD, TOP_PAD, MMAP_MAX = -1, -2, -4


@cache
def keep_memory() -> bool:
    """Tell glibc to reuse freed memory, for the whole process; return False where there is no glibc.

    The process then keeps as much memory as it ever needed, up to 2 GB of it unused.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    settings = ((MMAP_MAX, 0), (TRIM_THRESHOLD, 2**31 - 1), (TOP_PAD, 64 << 20))
    return mallopt is not None and all([mallopt(name, value) == 1 for name, value in settings])
