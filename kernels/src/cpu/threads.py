"""Runs a compiled kernel on several threads.

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
from typing import Any

import torch

_lock = threading.Lock()
_pool: ThreadPoolExecutor | None = None
_size = 0


def run(kernel: Callable[..., Any], tasks: int, *arguments: Any) -> list[Any]:
    """Call kernel(task, *arguments) for each task in 0..tasks-1 and return the results in order.

    Tasks run on at most torch.get_num_threads() threads. They start in order, so put the longest first. They
    must not write to the same memory.
    """
    results: list[Any] = [None] * tasks
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


def _work(
    kernel: Callable[..., Any], queue: Iterator[int], results: list[Any], arguments: tuple[Any, ...]
) -> None:
    for task in queue:
        results[task] = kernel(task, *arguments)


def _submit(helpers: int, work: Callable[..., None], *arguments: Any) -> list[Future[None]]:
    """Start the same work on `helpers` threads. A pool that is too small ends when its work is done."""
    global _pool, _size
    with _lock:
        if _pool is None or _size < helpers:
            if _pool is not None:
                _pool.shutdown(wait=False)
            _size = max(helpers, (os.cpu_count() or 1) - 1, 1)
            _pool = ThreadPoolExecutor(_size, "nerf-insert-kernels")
        return [_pool.submit(work, *arguments) for _ in range(helpers)]


def _forget() -> None:
    """Drop the pool in a forked child, which has none of its parent's threads."""
    global _pool, _lock
    _pool, _lock = None, threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
