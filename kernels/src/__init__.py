"""The operations of a hash-grid radiance field, each with several backends.

    hash_encode         multiresolution hash encoding (Instant NGP, arXiv 2201.05989, section 3)
    mlp                 the small network behind it
    march               rays through an occupancy grid, into packed samples
    merge               packed samples of two sources over the same rays into one list
    composite           packed samples into color, accumulation and depth (arXiv 2003.08934, equation 3)
    transmittance       the fraction of light that reaches each sample
    median_depth        where half of the light is stopped
    render_rays         all of these at once: rays through a field, to pixels
    query_along         encoding and networks at once, along rays as far as light reaches
    project             Gaussian splats into an image (arXiv 2308.04079)
    rasterize           projected splats into color, accumulation and depth
    splat_hits          the splats that each pixel meets
    splat_density       the splats' density and color at points
    ray_hits            the splats that rays of no camera meet
    spherical_harmonics the splats' colors
    distortion_loss     how far apart along a ray its weights lie (arXiv 2111.12077, equation 15)

The module of an operation checks its arguments and calls the function of the same name in a backend:

                        reference   cpu   triton   tcnn
    hash_encode         x           x     x        x
    mlp                 x           x     x        x
    march               x           x     x
    merge               x           x
    composite           x           x     x
    transmittance       x           x     x
    median_depth        x           x     x
    distortion_loss     x           x
    render_rays         x           x
    query_along         x           x
    splats (all)        x           x

`reference` (the backend named "torch") is plain PyTorch, in any dtype on any device, and defines the meaning.
`cpu` is compiled by Numba when first used and cached on disk, `triton`, for GPUs, by Triton; `tcnn` is
tiny-cuda-nn where that is installed. `dispatch` chooses; what a backend lacks comes from the next one.
Parameters mean the same in all of them. NERF_INSERT_KERNELS or `use_backend` forces a backend,
NERF_INSERT_PRECISION or `use_precision` the precision on GPUs.
"""

from nerf_insert.kernels.compositing import Composite, composite, distortion_loss, median_depth, transmittance
from nerf_insert.kernels.dispatch import active_backend, use_backend
from nerf_insert.kernels.hashgrid import GridSpec, HashedGridSpec, hash_encode, new_table
from nerf_insert.kernels.marching import march
from nerf_insert.kernels.mlp import mlp
from nerf_insert.kernels.precision import use_precision
from nerf_insert.kernels.rendering import (
    FieldWeights,
    RenderedRays,
    query_along,
    render_rays,
    renders_in_one_pass,
)
from nerf_insert.kernels.samples import Samples, merge
from nerf_insert.kernels.splat_cells import SplatCells, splat_cells, splat_density
from nerf_insert.kernels.splatting import (
    ImagePlane,
    Projected,
    Raster,
    RasterPlan,
    SplatHits,
    plan_raster,
    project,
    rasterize,
    ray_hits,
    spherical_harmonics,
    splat_hits,
)

__all__ = [
    "Composite",
    "FieldWeights",
    "GridSpec",
    "HashedGridSpec",
    "ImagePlane",
    "Projected",
    "Raster",
    "RasterPlan",
    "RenderedRays",
    "Samples",
    "SplatCells",
    "SplatHits",
    "active_backend",
    "composite",
    "distortion_loss",
    "hash_encode",
    "march",
    "median_depth",
    "merge",
    "mlp",
    "new_table",
    "plan_raster",
    "project",
    "query_along",
    "rasterize",
    "ray_hits",
    "render_rays",
    "renders_in_one_pass",
    "spherical_harmonics",
    "splat_cells",
    "splat_density",
    "splat_hits",
    "transmittance",
    "use_backend",
    "use_precision",
]
