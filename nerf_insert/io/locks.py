"""One writer at a time: a lock that the system releases when its process ends, in whatever way."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from nerf_insert.errors import InputError, RunError
from nerf_insert.io.files import ADVICE, sweep

BUSY = (errno.EAGAIN, errno.EWOULDBLOCK, errno.EACCES, errno.EDEADLK)


@contextmanager
def only_writer(folder: Path) -> Iterator[None]:
    """Nobody else holds `folder`, a scene's, for as long as the block lasts; what writers that were killed
    left half written in it, or in its base/, is removed.

    Raises InputError if another process holds it, RunError if it cannot be written to.
    """
    is_new = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = open(folder / ".lock", "a")  # open until the block ends: closing it releases the lock
    except OSError as error:
        advice = ADVICE.get(error.errno or 0, "choose another folder")
        raise RunError(f"cannot write into {folder}: {error.strerror}; {advice}") from None
    try:
        with handle:
            if not _take(handle):
                raise InputError(f"another NeRF-Insert is working on {folder}: wait for it or stop it")
            sweep(folder)
            sweep(folder / "base")
            yield
    finally:
        if is_new:
            with suppress(OSError):
                if os.listdir(folder) == [".lock"]:  # nothing came of it
                    os.unlink(folder / ".lock")
                    folder.rmdir()


def _take(handle: IO) -> bool:
    """Whether the lock is ours now. Where the disk knows no locks, as some network disks, it always is."""
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
