"""What is measured, and how: `python -m benchmarks.NAME` (see each)."""

import nerf_insert  # noqa: F401  # before any of them loads torch: it says how OpenMP's threads are to wait
