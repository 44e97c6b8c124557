"""Readers of mesh files, which run in a process of their own (`worker`). They import no torch."""
