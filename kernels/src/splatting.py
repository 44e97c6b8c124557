"""Rasterization of 3D Gaussians (arXiv 2308.04079; EWA splatting, Zwicker et al. 2001).

N splats, P pixels, K coefficients of spherical harmonics a color channel. World coordinates are the caller's;
an `ImagePlane` has OpenCV's camera axes (+x right, +y down, looking along +z) and pixel coordinates whose
first pixel has its center at (0.5, 0.5).

A splat's projection is the Gaussian with covariance J W Sigma W' J' + blur I, J being the derivative of the
perspective projection at its center. Its opacity in a pixel is alpha = opacity exp(-q / 2), q the squared
Mahalanobis distance, at most 0.999; below 1/255 it is taken as none. Splats are composited in the order of
their centers' z; a pixel stops before its transmittance falls below 1e-4. These are the constants of the
reference implementation as gsplat has it. Unlike there, a splat is seen by every pixel in which its alpha
reaches 1/255, not just in tiles within three standard deviations: a pixel does not depend on the tiles.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from nerf_insert.kernels.dispatch import implementation

NEAR = 0.01  # z below which splats are left out, world units
BLUR = 0.3  # variance that every projection gets, square pixels
MAX_ALPHA = 0.999
MIN_ALPHA = 1 / 255
MIN_TRANSMITTANCE = 1e-4
MARGIN = 0.15  # of the image's size, beyond which the derivative is that at the margin


class ImagePlane(NamedTuple):
    """A pinhole camera without distortion.

    Attributes:
        rotation: From the world's axes to the camera's.
        center: The camera's center, world coordinates.
        fx: Focal length along x, pixels.
        fy: Focal length along y, pixels.
        cx: Principal point, pixels.
        cy: Principal point, pixels.
        width: Pixels.
        height: Pixels.
    """

    rotation: Float[Tensor, "3 3"]
    center: Float[Tensor, "3"]
    fx: float
    fy: float
    cx: float
    cy: float
    width: int
    height: int


class Projected(NamedTuple):
    """N splats in an image.

    Attributes:
        means: Their centers, pixels.
        conics: The inverse covariance [[a, b], [b, c]] as a, b, c, per square pixel.
        depths: z of their centers, world units.
        opacities: Opacities at their centers.
        slopes: How z of the splat's densest point along a ray changes with the pixel, world units per pixel.
        extents: Half the size of the box in which alpha reaches 1/255, pixels; 0 for splats not in the image.
    """

    means: Float[Tensor, "N 2"]
    conics: Float[Tensor, "N 3"]
    depths: Float[Tensor, " N"]
    opacities: Float[Tensor, " N"]
    slopes: Float[Tensor, "N 2"]
    extents: Float[Tensor, "N 2"]


class Raster(NamedTuple):
    """P pixels.

    Attributes:
        rgb: Color without background.
        accumulation: Opacity, 0..1.
        depth: z at which half of the light is stopped, world units; infinity if it never is.
    """

    rgb: Float[Tensor, "P 3"]
    accumulation: Float[Tensor, " P"]
    depth: Float[Tensor, " P"]


class SplatHits(NamedTuple):
    """M splats met by P pixels, in the order in which they are composited.

    Attributes:
        splat: The splat's number.
        alpha: Its opacity in the pixel.
        depth: z of its densest point along the pixel's ray, world units.
        offsets: Where each pixel's splats begin, and the end of the last one's.
    """

    splat: Int64[Tensor, " M"]
    alpha: Float[Tensor, " M"]
    depth: Float[Tensor, " M"]
    offsets: Int64[Tensor, " P_plus_1"]


def project(
    means: Float[Tensor, "N 3"],
    scales: Float[Tensor, "N 3"],
    quaternions: Float[Tensor, "N 4"],
    opacities: Float[Tensor, " N"],
    plane: ImagePlane,
    antialiased: bool = False,
) -> Projected:
    """Project splats into an image. Gradients go to all tensors but the plane, none from `extents`.

    Args:
        means: Centers, world coordinates.
        scales: Standard deviations along the splats' axes, world units.
        quaternions: Rotations w, x, y, z from the splats' axes to the world's, of any length.
        opacities: Opacities, 0..1.
        plane: The image.
        antialiased: Lower the opacity of what the blur makes larger (Mip-Splatting, arXiv 2311.16493,
            equation 10).
    """
    arguments = (means, scales, quaternions, opacities, plane, antialiased)
    return implementation("project", means)(*arguments)


def spherical_harmonics(
    directions: Float[Tensor, "N 3"], coefficients: Float[Tensor, "N K 3"]
) -> Float[Tensor, "N 3"]:
    """Return the splats' colors: 0.5 plus the harmonics, at least 0.

    Args:
        directions: From the camera to the splats, of any length.
        coefficients: Constant first.
    """
    return implementation("spherical_harmonics", coefficients)(directions, coefficients)


class RasterPlan(NamedTuple):
    """Which splats each tile of an image may show, front to back.

    Attributes:
        order: The visible splats in the order of their depth.
        offsets: Where each tile's splats begin in `splats`, tiles row by row, and the end of the last one's.
        splats: Numbers of splats.
        columns: Tiles side by side.
        rows: Tiles one above the other.
        side: Pixels along each side of a tile.
    """

    order: Int64[Tensor, " V"]
    offsets: Int64[Tensor, " tiles_plus_1"]
    splats: Tensor  # int32 [pairs]
    columns: int
    rows: int
    side: int

    def most_hits(self, pixels: Float[Tensor, "P 2"]) -> Int64[Tensor, " P"]:
        """Return how many splats each pixel can meet at most: those of its tile."""
        cell = pixels.long() // self.side
        tile = cell[:, 1].clamp(0, self.rows - 1) * self.columns + cell[:, 0].clamp(0, self.columns - 1)
        return self.offsets.diff()[tile]


@torch.no_grad()
def plan_raster(projected: Projected, width: int, height: int) -> RasterPlan:
    """Sort splats by depth and assign them to the tiles of an image of `width` times `height` pixels."""
    return implementation("plan_raster", projected.means)(projected, width, height)


def rasterize(
    projected: Projected, rgb: Float[Tensor, "N 3"], pixels: Float[Tensor, "P 2"], plan: RasterPlan
) -> Raster:
    """Composite splats in pixels.

    Gradients go to the projected means, conics and opacities and to the colors, none to or from depths.

    Args:
        projected: The splats.
        rgb: Their colors.
        pixels: Pixel coordinates within the image that `plan` was made for.
        plan: That of the same projection.
    """
    return implementation("rasterize", rgb)(projected, rgb, pixels.detach(), plan)


@torch.no_grad()
def splat_hits(
    projected: Projected, pixels: Float[Tensor, "P 2"], plan: RasterPlan, certain: Float[Tensor, " P"]
) -> SplatHits:
    """List the splats that each pixel meets.

    Args:
        projected: The splats.
        pixels: Pixel coordinates within the image that `plan` was made for.
        plan: That of the same projection.
        certain: z up to which everything met hides what is behind: a pixel's list ends where the
            transmittance of what it has met before that z would fall below 1e-4.
    """
    return implementation("splat_hits", projected.means)(projected, pixels, plan, certain)


@torch.no_grad()
def ray_hits(
    means: Float[Tensor, "N 3"],
    whitening: Float[Tensor, "N 3 3"],
    opacities: Float[Tensor, " N"],
    origins: Float[Tensor, "R 3"],
    directions: Float[Tensor, "R 3"],
) -> SplatHits:
    """List the splats that rays of no camera meet, in the order in which they meet them.

    A ray sees a splat where it is densest along the ray, with no projection and no blur. Every ray looks at
    every splat.

    Args:
        means: Centers.
        whitening: Matrices that turn offsets into standard deviations along the splats' axes.
        opacities: Opacities, 0..1.
        origins: Where the R rays start.
        directions: Of length one.

    Returns:
        What the rays meet; `depth` is the distance along the ray.
    """
    arguments = (means, whitening, opacities, origins, directions)
    return implementation("ray_hits", means)(*arguments)
