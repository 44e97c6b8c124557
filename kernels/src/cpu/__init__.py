"""Kernels compiled by Numba for the processor."""
