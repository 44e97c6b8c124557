"""The operations that a hash-grid radiance field is made of, each with several backends.

    hash_encode   multiresolution hash encoding (Instant NGP, arXiv 2201.05989, section 3)
    mlp           the small network behind it
    march         rays through an occupancy grid, into packed samples
    merge         packed samples of two sources over the same rays into one list
    composite     packed samples into color, accumulation and depth (arXiv 2003.08934, equation 3)
    distortion_loss  how far apart along its ray that lies which makes up a pixel

`torch` is the twin in plain PyTorch that defines the meaning; `cpu` is compiled by Numba when first used and
cached, `triton`, for GPUs, by Triton; `tcnn` is tiny-cuda-nn where that is installed. Parameters mean the
same in all of them. NERF_INSERT_KERNELS or `use_backend` forces one, NERF_INSERT_PRECISION or
`use_precision` what GPUs compute in.
"""

from nerf_insert.kernels.compositing import Composite, composite, distortion_loss, median_depth, transmittance
from nerf_insert.kernels.dispatch import active_backend, use_backend
from nerf_insert.kernels.hashgrid import GridSpec, HashedGridSpec, hash_encode, new_table
from nerf_insert.kernels.marching import march
from nerf_insert.kernels.mlp import mlp
from nerf_insert.kernels.precision import use_precision
from nerf_insert.kernels.samples import Samples, merge

__all__ = [
    "Composite",
    "GridSpec",
    "HashedGridSpec",
    "Samples",
    "active_backend",
    "composite",
    "distortion_loss",
    "hash_encode",
    "march",
    "median_depth",
    "merge",
    "mlp",
    "new_table",
    "transmittance",
    "use_backend",
    "use_precision",
]
