"""Compiled merging of packed samples (see `kernels.samples`). A task is a block of rays."""

from __future__ import annotations

from numba import njit

jit = njit(cache=True, nogil=True, error_model="numpy")


@jit
def merge(task, block, one, one_offsets, two, two_offsets, order):
    """Merge two lists of keys, each ascending along each ray, into the order of both."""
    count = one.shape[0]
    for ray in range(task * block, min((task + 1) * block, one_offsets.shape[0] - 1)):
        i, end = one_offsets[ray], one_offsets[ray + 1]
        j, two_end = two_offsets[ray], two_offsets[ray + 1]
        for k in range(i + j, end + two_end):
            if j == two_end or (i < end and one[i] <= two[j]):
                order[k] = i
                i += 1
            else:
                order[k] = count + j
                j += 1
