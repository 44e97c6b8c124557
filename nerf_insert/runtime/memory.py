"""The memory that is free, in bytes: that of the machine, or less where a control group limits it."""

from __future__ import annotations

from pathlib import Path

import psutil

CGROUP_FILES = (  # (limit, use) of version 2 and of version 1
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
)


def available_memory() -> float:
    """Return the bytes that this process may still take without swapping."""
    free = float(psutil.virtual_memory().available)
    for limit, used in CGROUP_FILES:
        try:
            left = float(Path(limit).read_text()) - float(Path(used).read_text())
        except (OSError, ValueError):  # another version, or "max"
            continue
        free = min(free, max(left, 0.0))
    return free
