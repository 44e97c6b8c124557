"""One writer at a time: a lock that the system releases when its process ends, in whatever way.

Written here rather than taken from `filelock`, which on disks without flock falls back to a marker file that
a killed process leaves behind.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from nerf_insert.errors import InputError, RunError
from nerf_insert.io.files import ADVICE, sweep

LOCK = ".lock"  # its name in the folder, where it stays
BUSY = (errno.EAGAIN, errno.EWOULDBLOCK, errno.EACCES, errno.EDEADLK)


@contextmanager
def only_writer(folder: Path, subfolders: Sequence[str] = ()) -> Iterator[None]:
    """Hold the lock of `folder` while the block lasts.

    The folder is made where it is missing, and removed again if the block leaves nothing in it. What writers
    that were killed left half written in it is removed first.

    Args:
        folder: The folder to lock.
        subfolders: Folders in it that are swept of half-written files as well.

    Raises:
        InputError: Another process holds the lock.
        RunError: The folder cannot be written to.
    """
    is_new = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = open(folder / LOCK, "a")  # open until the block ends: closing it releases the lock
    except OSError as error:
        advice = ADVICE.get(error.errno or 0, "choose another folder")
        raise RunError(f"cannot write into {folder}: {error.strerror}; {advice}") from None
    try:
        with handle:
            if not _take(handle):
                raise InputError(f"another NeRF-Insert is working on {folder}: wait for it or stop it")
            for swept in (folder, *(folder / name for name in subfolders)):
                sweep(swept)
            yield
    finally:
        if is_new:
            with suppress(OSError):
                if os.listdir(folder) == [LOCK]:
                    os.unlink(folder / LOCK)
                    folder.rmdir()


def _take(handle: IO) -> bool:
    """Try to take the lock. Succeeds always where the disk knows no locks, as some network disks."""
    try:
        import fcntl
    except ImportError:  # Windows
        return _take_on_windows(handle)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in BUSY
    return True


def _take_on_windows(handle: IO) -> bool:
    import msvcrt

    handle.seek(0)
    try:
        msvcrt.locking(handle.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
    except OSError as error:
        return error.errno not in BUSY
    return True
