"""Spreads a compiled kernel over threads.

Numba's own pools (OpenMP, workqueue) are not used: a second OpenMP runtime beside torch's stalls both,
and workqueue may not be entered from two threads at once, as a web page does. Kernels release the
GIL, so plain Python threads do: they sleep when idle, and each takes the next task when it has
finished one, so a core that is busy with something else delays no more than one task.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import torch

_lock = threading.Lock()
_pool: ThreadPoolExecutor | None = None
_size = 0


def run(kernel: Callable, tasks: int, *arguments) -> list:
    """What kernel(task, *arguments) returns for each task in 0..tasks-1.

    They run on at most torch.get_num_threads() threads. The first tasks start first: put the longest
    there. Tasks may not write to the same memory.
    """
    results = [None] * tasks
    queue = iter(range(tasks))  # next() on it is atomic under the GIL
    helpers = min(torch.get_num_threads(), tasks) - 1
    futures = _submit(helpers, _work, kernel, queue, results, arguments)
    try:
        _work(kernel, queue, results, arguments)
    finally:
        for future in futures:
            if not future.cancel():
                future.result()
    return results


def _work(kernel: Callable, queue: Iterator[int], results: list, arguments: tuple) -> None:
    for task in queue:
        results[task] = kernel(task, *arguments)


def _submit(helpers: int, work: Callable, *arguments) -> list[Future]:
    """Begin the same work on so many threads. A pool that is too small ends when its work is done."""
    global _pool, _size
    with _lock:
        if _pool is None or _size < helpers:
            if _pool is not None:
                _pool.shutdown(wait=False)
            _size = max(helpers, (os.cpu_count() or 1) - 1, 1)
            _pool = ThreadPoolExecutor(_size, "nerf-insert-kernels")
        return [_pool.submit(work, *arguments) for _ in range(helpers)]


def _forget() -> None:
    """A forked child has none of its parent's threads."""
    global _pool, _lock
    _pool, _lock = None, threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
